"""Hostile and broken files by the hundred thousand: whatever is read of others ends in a value or one sentence.

    python tools/fuzz.py [--inputs 1000000] [--seed 0] [--only TARGET] [-o FILE]

Mutations of a small corpus (`tests/tools/corpus/`, which is kept, a stored run, and what comes with the harness) go
through everything that reads files or words of others (`tools/fuzz_targets.py`). A fault is an exception that no user
should see, more than LONGEST_S for an input, memory beyond a limit, or whatever runs code, starts a process or opens a
file outside the folder at hand. Each fault is printed with its target and input, which belongs in the corpus once it
is mended. Exit code 1 where one is. `tools/fuzz_atheris.py` is a second engine, which looks at the code that is
reached. FILE gets a line that `tools/faults.py --add` reads.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools import fuzz_targets  # noqa: E402
from tools.fuzz_targets import PIECES, SHARES  # noqa: E402

LONGEST_S = 5.0  # of the processor for an input: a machine that is busy beside is no fault
WAITING_S = (
    3600.0  # and by the clock: an input that waits for something for ever is one, and a fuzzer that is paused not
)
MEMORY_BYTES = 8 << 30
MOST_FAULTS = 50


class TooLongError(Exception):
    """An input took longer than it may."""


def mutated(seed: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """One to four changes: a piece put in, bytes cut or repeated or flipped, a tail of another input."""
    out = bytearray(seed)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(out))
        match draw.randrange(6):
            case 0:
                out[at:at] = draw.choice(PIECES)
            case 1:
                del out[at : at + draw.randint(1, 20)]
            case 2:
                out[at : at + draw.randint(1, 8)] = draw.choice(PIECES)
            case 3:
                out[at:at] = out[at : at + draw.randint(1, 60)] * draw.randint(1, 5)
            case 4 if at < len(out):
                out[at] ^= 1 << draw.randrange(8)
            case _:
                other = draw.choice(others)
                out[at:] = other[draw.randint(0, len(other)) :]
    return bytes(out[: 1 << 20])


def _too_long(*_: object) -> None:
    raise TooLongError


def run(
    count: int, seed: int, only: str | None = None, tried: Counter[str] | None = None
) -> Iterator[tuple[str, bytes, str]]:
    """Try `count` inputs; yields each fault as its target, the input and what happened. `tried` counts by target."""
    draw = random.Random(seed)
    seeds = fuzz_targets.corpus()
    with tempfile.TemporaryDirectory(prefix="hwlottery-fuzz-") as place:
        folder = Path(place).resolve()
        chosen = {name: share for name, share in SHARES.items() if only in (None, name)}
        known = {name: fuzz_targets.warmed(folder, name, seeds[name]) for name in chosen}
        switch = fuzz_targets.watch(folder)
        signal.signal(signal.SIGPROF, _too_long)
        signal.signal(signal.SIGALRM, _too_long)
        for name in draw.choices([*chosen], [*chosen.values()], k=count):
            data = mutated(draw.choice(seeds[name]), seeds[name], draw)
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            signal.setitimer(signal.ITIMER_REAL, WAITING_S)
            try:
                fault = fuzz_targets.fault_of(known[name], data, switch)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            if tried is not None:
                tried[name] += 1
            if fault is not None:
                yield name, data, fault


def main() -> int:
    """Fuzz and print what was found; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*SHARES])
    parser.add_argument("-o", type=Path, dest="out", metavar="FILE", help="gets a line for tools/faults.py --add")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("ignore")  # Python's, of the files of workloads
    sys.dont_write_bytecode = True  # a file of a workload is another at each input
    began, faults = time.monotonic(), 0
    tried: Counter[str] = Counter()
    for name, data, what in run(options.inputs, options.seed, options.only, tried):
        faults += 1
        print(json.dumps({"target": name, "what": what, "input": data[:4096].decode("latin-1")}), flush=True)
        if faults == MOST_FAULTS:
            break
    seconds = time.monotonic() - began
    print(f"{tried.total()} inputs, seed {options.seed}, {faults} faults, {seconds:.0f} s", file=sys.stderr)
    if options.out:
        with options.out.open("a") as file:
            line = {
                "engine": "mutations",
                "seed": options.seed,
                "inputs": dict(sorted(tried.items())),
                "faults": faults,
            }
            file.write(json.dumps(line) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
