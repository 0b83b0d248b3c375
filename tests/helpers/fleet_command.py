"""Stands for Python in a fleet's commands: `-m harness run --resume --out DIR …` writes numbered lines, and no more.

What it does is told by its environment: FAKE_LINES how many, FAKE_PAUSE_S between them, FAKE_CODE how it ends,
FAKE_SOURCES the digests in its run.json; with FAKE_UNTIL it goes on until that file is there, for a line at least.
FAKE_EVIDENCE is a folder in which it keeps its lines by process. A run that was stopped goes on behind its last line.
Copied by the tests.
"""

import json
import os
import signal
import sys
import time


def main() -> int:
    words = sys.argv[1:]
    assert words[:4] == ["-m", "harness", "run", "--resume"], words
    out = words[words.index("--out") + 1]
    code = int(os.environ.get("FAKE_CODE", "0"))
    if code == 2:
        print("error: nothing can be run here; install something", file=sys.stderr)
        return 2
    os.makedirs(out, exist_ok=True)
    info = {
        "schema": 1,
        "run": "fake",
        "started_at": "2026-11-01T00:00:00Z",
        "ended_at": None,
        "command": words,
        "machine": {"python": "3"},
        "versions": {"numpy": os.environ.get("FAKE_NUMPY", "2")},
        "settings": {},
        "sources": json.loads(os.environ.get("FAKE_SOURCES", "{}")),
    }
    tell(out, info)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    path = os.path.join(out, "records.jsonl")
    with open(path, "a+b") as file:
        file.seek(0)
        before = file.read().count(b"\n")
        for number in numbers(before):
            line = json.dumps({"line": number, "of": os.path.basename(out), "pid": os.getpid()}).encode() + b"\n"
            if evidence := os.environ.get("FAKE_EVIDENCE"):
                with open(os.path.join(evidence, str(os.getpid())), "ab") as kept:
                    kept.write(line)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            time.sleep(float(os.environ.get("FAKE_PAUSE_S", "0")))
    os.makedirs(os.path.join(out, "logs"), exist_ok=True)
    with open(os.path.join(out, "logs", "case.txt"), "w") as file:
        file.write("what failed\n")
    tell(out, {**info, "ended_at": "2026-11-01T00:01:00Z"})
    return code


def numbers(before: int):
    until = os.environ.get("FAKE_UNTIL")
    if until is None:
        yield from range(before, int(os.environ.get("FAKE_LINES", "5")))
    while until is not None and (before == 0 or not os.path.exists(until)):
        yield before
        before += 1


def tell(out: str, info: dict) -> None:
    with open(os.path.join(out, "run.partial"), "w") as file:
        json.dump(info, file)
    os.replace(os.path.join(out, "run.partial"), os.path.join(out, "run.json"))


if __name__ == "__main__":
    sys.exit(main())
