"""Hostile and broken files by the hundred thousand: whatever is read of others ends in a value or one sentence.

    python tools/fuzz.py [--inputs 1000000] [--seed 0] [--only TARGET]

Mutations of a small corpus (`tests/tools/corpus/`, which is kept, and a stored run) go through everything that reads
files or words of others. A fault is an exception that no user should see, more than LONGEST_S for an input, memory
beyond a limit, or whatever runs code, starts a process or opens a file outside the folder at hand: an audit hook
watches. Each fault is printed with its target and input, which belongs in the corpus once it is
mended. Exit code 1 where one is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
import msgspec  # noqa: E402

from harness.cli.parameters import Duration, Names, Setting  # noqa: E402
from harness.cli.publish import slower_than  # noqa: E402
from harness.errors import UserError  # noqa: E402
from harness.gate.refusal import Refusal  # noqa: E402
from harness.gate.strict_read import Alike, read_info, read_records  # noqa: E402
from harness.gate.validate import Remembered, validate  # noqa: E402
from harness.planning import learnt  # noqa: E402
from harness.records.store import load  # noqa: E402
from harness.records.text import plain, private  # noqa: E402
from workloads.common.matrix import MatrixError, Source  # noqa: E402
from workloads.common.matrix_files import read  # noqa: E402
from workloads.common.matrix_names import load as find  # noqa: E402

CORPUS = ROOT / "tests" / "tools" / "corpus"
STORED = ROOT / "results" / "quick-cpu"
LONGEST_S = 5.0  # for an input: a machine that is busy beside must not be a fault
MEMORY_BYTES = 8 << 30
SHARES = {  # of a hundred
    "smtx": 20,
    "market": 20,
    "record": 25,
    "info": 15,
    "words": 10,
    "store": 5,
    "learnt": 4,
    "folder": 1,
}
Target = Callable[[bytes], object]
_PIECES = (
    *(b"", b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"{}", b"[]", b'"', b"\\", b"\n", b"\x00", b"\xff"),
    *(b"9" * 400, b"[" * 200, b'{"a":' * 50, b"2147483647", b"2147483648", b"18446744073709551616", b"-0.0", b"1e308"),
    *(b'"../../etc/passwd"', b'"\\ud800"', b'"\xe2\x80\xae"', b"smtx:/etc/passwd", b",", b" ", b"\t", b"\r", b"=1+1"),
)


class TooLongError(Exception):
    """An input took longer than LONGEST_S."""


def mutated(seed: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """One to four changes: a piece put in, bytes cut or repeated or flipped, a tail of another input."""
    out = bytearray(seed)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(out))
        match draw.randrange(6):
            case 0:
                out[at:at] = draw.choice(_PIECES)
            case 1:
                del out[at : at + draw.randint(1, 20)]
            case 2:
                out[at : at + draw.randint(1, 8)] = draw.choice(_PIECES)
            case 3:
                out[at:at] = out[at : at + draw.randint(1, 60)] * draw.randint(1, 5)
            case 4 if at < len(out):
                out[at] ^= 1 << draw.randrange(8)
            case _:
                other = draw.choice(others)
                out[at:] = other[draw.randint(0, len(other)) :]
    return bytes(out[: 1 << 20])


def corpus() -> dict[str, list[bytes]]:
    """What is mutated, by target: the files of the corpus, and records of a stored run."""
    lines = (STORED / "records.jsonl").read_bytes().splitlines()
    few = [*sorted(lines, key=len)[:6], min((line for line in lines if b'"ok"' in line), key=len)]
    info = (STORED / "run.json").read_bytes()
    kept = {name: [f.read_bytes() for f in sorted((CORPUS / name).glob("*"))] for name in SHARES}
    made = {"record": few, "info": [info], "store": [info + b"\n\0" + b"\n".join(few)]}
    taught = msgspec.json.encode(learnt.Learnt())
    made |= {"folder": made["store"], "learnt": [taught]}
    return {name: [*made.get(name, []), *kept[name]] for name in SHARES}


def targets(folder: Path) -> Mapping[str, Target]:
    """Everything that reads what others wrote, by name; each returns a value or raises what a user is told."""
    alike, remembered = Alike(), Remembered()
    machine = {"cpu": "fuzz", "architecture": "fuzz", "cores_usable": 1}

    def smtx(data: bytes) -> object:
        (folder / "a.smtx").write_bytes(data)
        return read(Source(folder / "a.smtx"))

    def market(data: bytes) -> object:
        (folder / "a.mtx").write_bytes(data)
        return read(Source(folder / "a.mtx"))

    def record(data: bytes) -> object:
        return [_told(found) for found in read_records(folder, alike, data)]

    def info(data: bytes) -> object:
        return _told(read_info(folder, data))

    def split(data: bytes) -> tuple[bytes, bytes]:
        first, _, rest = data.partition(b"\n\0")
        return first, rest

    def store(data: bytes) -> object:
        (folder / "run.json").write_bytes(split(data)[0])
        (folder / "records.jsonl").write_bytes(split(data)[1])
        return load(folder)

    def whole(data: bytes) -> object:
        (folder / "run.json").touch()
        report = validate(folder, remembered, dict(zip(("run.json", "records.jsonl"), split(data), strict=True)))
        bad = [refusal for refusal in report.refusals if refusal.code == "unchecked"]
        assert not bad, bad
        return report

    def taught(data: bytes) -> object:
        file = learnt._file(folder, machine)
        file.write_bytes(data)
        return learnt.known(folder, machine)

    def words(data: bytes) -> object:
        text = data.decode("utf-8", "surrogateescape")
        shown = plain(private(text, {"/a/b": "<cache>"}))
        shown.encode()
        for kind in (Duration(), Names(), Setting(), slower_than, find):
            with contextlib.suppress(click.ClickException, UserError, MatrixError):
                kind(text) if not isinstance(kind, click.ParamType) else kind.convert(text, None, None)
        return shown

    return {
        "smtx": smtx,
        "market": market,
        "record": record,
        "info": info,
        "words": words,
        "store": store,
        "learnt": taught,
        "folder": whole,
    }


def _told(found: object) -> object:
    assert not isinstance(found, Refusal) or (found.what and found.remedy and "\n" not in str(found)), found
    return found


def watch(folder: Path) -> Callable[[bool], list[str]]:
    """Note what no data may do while it is watched: run code, start a process, open a file outside `folder`."""
    state: dict[str, Any] = {"on": False, "seen": []}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not state["on"]:
            return
        if event in (
            "exec",
            "compile",
            "os.system",
            "subprocess.Popen",
            "os.exec",
            "os.posix_spawn",
            "pickle.find_class",
        ):
            state["seen"].append(f"{event} {str(arguments)[:80]}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = Path(os.fsdecode(arguments[0]))
            if path.is_absolute() and not path.is_relative_to(folder) and not path.is_relative_to(sys.prefix):
                state["seen"].append(f"open {str(path)[:80]}")

    sys.addaudithook(hook)

    def switch(on: bool) -> list[str]:
        seen, state["on"], state["seen"] = state["seen"], on, []
        return list(seen)

    return switch


def _too_long(*_: object) -> None:
    raise TooLongError


def run(count: int, seed: int, only: str | None = None) -> Iterator[tuple[str, bytes, str]]:
    """Try `count` inputs; yields each fault as its target, the input and what happened."""
    draw = random.Random(seed)
    seeds = corpus()
    with tempfile.TemporaryDirectory(prefix="hwlottery-fuzz-") as place:
        folder = Path(place).resolve()
        chosen = {name: SHARES[name] for name in targets(folder) if only in (None, name)}
        known = targets(folder)
        for name in chosen:  # what is imported and made at the first call is no input's doing
            for data in seeds[name]:
                with contextlib.suppress(Exception):
                    known[name](data)
        switch = watch(folder)
        signal.signal(signal.SIGALRM, _too_long)
        names = draw.choices([*chosen], [*chosen.values()], k=count)
        for name in names:
            data = mutated(draw.choice(seeds[name]), seeds[name], draw)
            signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
            switch(True)
            fault = None
            try:
                known[name](data)
            except (UserError, MatrixError) as error:
                if not str(error) or "\n" in str(error).strip():
                    fault = f"not one sentence: {error!r}"
            except BaseException as error:
                fault = f"{type(error).__name__}: {error}"[:300]
                if isinstance(error, KeyboardInterrupt):
                    raise
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                seen = switch(False)
            fault = fault or ("; ".join(seen) or None)
            if fault is not None:
                yield name, data, fault


def main() -> int:
    """Fuzz and print what was found; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*SHARES])
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    began, faults = time.monotonic(), 0
    for name, data, what in run(options.inputs, options.seed, options.only):
        faults += 1
        print(json.dumps({"target": name, "what": what, "input": data[:4096].decode("latin-1")}), flush=True)
        if faults == 50:
            break
    seconds = time.monotonic() - began
    print(f"{options.inputs} inputs, seed {options.seed}, {faults} faults, {seconds:.0f} s", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
