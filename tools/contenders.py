"""Makes the file of contenders from stored runs: python tools/contenders.py --write RUN…; or says if it is current.

Where several runs are of one machine, what a process costs is taken from the last of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from harness.errors import UserError  # noqa: E402
from harness.planning.learning import learn  # noqa: E402
from harness.planning.learnt import FILE, Learnt, encoded, merged, packaged  # noqa: E402
from harness.records.store import load  # noqa: E402


def made(folders: Sequence[Path]) -> bytes:
    """The file that these runs make; StoreError for a folder that is no run."""
    learnt = merged(*(learn(load(folder)) for folder in folders))
    names = [Path(os.path.relpath(folder.resolve(), ROOT)).as_posix() for folder in folders]
    return encoded(Learnt(runs=names, machines=learnt.machines))


def stale(file: Path = FILE) -> list[str]:
    """What is not current of the file, a sentence each: it is made anew from the runs that it names."""
    try:
        runs = packaged(file).runs
        if file.read_bytes() == made([ROOT / run for run in runs]):
            return []
    except (OSError, msgspec.DecodeError, UserError) as error:
        return [f"{file} cannot be checked ({error}); run: python tools/contenders.py --write RUN…"]
    return [f"{file} is not current; run: python tools/contenders.py --write {' '.join(runs)}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the file is current or was written, 1 with a sentence where it is not, 2 for a folder that is no run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", nargs="+", type=Path, metavar="RUN", help="results folders to learn from")
    group.add_argument("--check", action="store_true", help="say whether it is current, exit code 1 where not")
    asked = parser.parse_args(arguments)
    if asked.write:
        try:
            FILE.write_bytes(made(asked.write))
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    found = stale()
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
