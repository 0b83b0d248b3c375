"""The second engine of the fuzzer, atheris (libFuzzer), which keeps what reaches code that nothing reached before.

    python tools/fuzz_atheris.py [--inputs 500000] [--seed 1] [--only TARGET] [--corpus DIR] [-o FILE]

It sends its inputs through the targets of `tools/fuzz_targets.py`, and begins with the inputs of `tools/fuzz.py`. Each
target has a process of its own, which ends at its first fault: the input is in DIR/TARGET.faults then, and belongs in
tests/tools/corpus once it is mended. What reached something new stays in DIR/TARGET, build/fuzz where no DIR is given,
and is where the next run begins. Exit code 1 where there is a fault. FILE gets a line that `tools/faults.py --add`
reads. atheris is no dependency of the harness: `tox run -e fuzz` installs it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

CHILD = "--child"
KEPT = ROOT / "build" / "fuzz"
LONGEST_S, MEMORY_MIB, MOST_BYTES = 20, 4096, 1 << 16  # of an input; instrumented code is several times slower
_DONE = re.compile(r"^Done (\d+) (?:runs )?in ", re.MULTILINE)
_AT = re.compile(r"^#(\d+)\t", re.MULTILINE)
_WHAT = re.compile(r"^(?:AssertionError: |==\d+== ?ERROR: libFuzzer: )(.*)", re.MULTILINE)


def shares(inputs: int, only: str | None, of: Mapping[str, int]) -> dict[str, int]:
    """How many inputs each target gets, one at the least."""
    chosen = {name: share for name, share in of.items() if only in (None, name)}
    return {name: max(1, inputs * share // sum(chosen.values())) for name, share in chosen.items()}


def fuzz(target: str, inputs: int, seed: int, kept: Path) -> tuple[int, str | None]:
    """Fuzz a target in a process of its own: how many inputs it got, and the first fault."""
    from tools import fuzz_targets

    folder, faults = kept / target, kept / f"{target}.faults"
    folder.mkdir(parents=True, exist_ok=True)
    faults.mkdir(exist_ok=True)
    for data in fuzz_targets.corpus()[target]:
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    words = [f"-runs={inputs}", f"-seed={seed}", f"-timeout={LONGEST_S}", f"-rss_limit_mb={MEMORY_MIB}"]
    words += [f"-max_len={MOST_BYTES}", f"-artifact_prefix={faults}/", "-close_fd_mask=0", str(folder)]
    with tempfile.TemporaryDirectory(prefix="hwlottery-fuzz-") as place:
        command = [sys.executable, __file__, CHILD, target, place, *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode("utf-8", "replace")
    counts = [int(n) for pattern in (_DONE, _AT) for n in pattern.findall(said)]
    if done.returncode == 0 and _DONE.search(said):
        return max(counts), None
    found = _WHAT.search(said)
    return max(counts, default=0), found[1] if found else f"exit code {done.returncode}: {said[-2000:]}"


def child(target: str, place: str, *words: str) -> None:
    """Be the process of a target, which works in the folder `place`; it does not return."""
    import warnings

    import atheris

    with atheris.instrument_imports(include=["harness", "workloads", "backends"], enable_loader_override=False):
        from tools import fuzz_targets
    warnings.simplefilter("ignore")  # Python's, of the files of workloads
    sys.dont_write_bytecode = True  # a file of a workload is another at each input
    folder = Path(place).resolve()
    known = fuzz_targets.warmed(folder, target, fuzz_targets.corpus()[target])
    switch = fuzz_targets.watch(folder)

    def call(data: bytes) -> None:
        fault = fuzz_targets.fault_of(known, data, switch)
        assert fault is None, fault.splitlines()[0]

    atheris.Setup([sys.argv[0], *words], call)
    atheris.Fuzz()


def main() -> int:
    """Fuzz each target and print what was found; the exit code."""
    from tools.fuzz_targets import SHARES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1, help="1 or more: libFuzzer takes the time for 0")
    parser.add_argument("--only", choices=[*SHARES])
    parser.add_argument("--corpus", type=Path, default=KEPT, metavar="DIR")
    parser.add_argument("-o", type=Path, dest="out", metavar="FILE", help="gets a line for tools/faults.py --add")
    options = parser.parse_args()
    tried, faults = {}, 0
    for target, inputs in shares(options.inputs, options.only, SHARES).items():
        tried[target], what = fuzz(target, inputs, options.seed, options.corpus.resolve())
        print(f"{target}: {tried[target]} inputs", file=sys.stderr, flush=True)
        if what is not None:
            faults += 1
            print(json.dumps({"target": target, "what": what}), flush=True)
    if options.out:
        line = {"engine": "atheris", "seed": options.seed, "inputs": dict(sorted(tried.items())), "faults": faults}
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(*sys.argv[2:])
    sys.exit(main())
