"""The table of faults: what was tried, how often, what was lost: `python tools/faults.py` makes results/faults.json.

A test that plants a fault says so by `@pytest.mark.fault("what was tried", "the kind", times=1)`; every passing test
of that mark is counted, `times` of it for each of its parameters. Beside them stand the runs that were killed at random
moments (`tools/kills.py`, `tools/fleet_kills.py`), and the inputs of the fuzzers (`tools/fuzz.py`,
`tools/fuzz_atheris.py`), with their seeds; those take hours, so `--add FILE…` adds what they printed or stored by
themselves. A test that failed is a fault that did harm: nothing is written then.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tools.kills import LostError, Toll, killed  # noqa: E402

FILE = ROOT / "results" / "faults.json"
KILLS, EACH = 200, 20  # in all, and of one seed
_COUNTS = ("runs", "torn", "lost", "twice", "left")  # of a toll


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A fault: its kind, what was tried, and how often without harm."""

    kind: str
    tried: str
    times: int


class Fuzzed(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a fuzzer, by target; `faults` is 0 where it is stored."""

    engine: str
    seed: int
    inputs: dict[str, int]
    faults: int


class Killed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What tools/kills.py printed of a seed; what tools/fleet_kills.py did, where `fleet` is set.

    A fleet carries stand-ins that write numbered lines, or, where `real` is set, runs that measure.
    """

    seed: int
    kills: dict[str, int]
    runs: int
    torn: int
    lost: int
    twice: int
    left: int
    fleet: bool = False
    real: bool = False


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """All faults that were tried. `kills` counts SIGKILLs by what was killed, over the runs of `seeds`."""

    rows: list[Row]
    seeds: list[int]
    kills: dict[str, int]
    runs: int
    torn: int
    lost: int
    twice: int
    left: int
    fuzzed: list[Fuzzed] = []
    fleets: list[Killed] = []


class Counting:
    """A plug-in of pytest that counts the faults of the tests that passed."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._marks: dict[str, list[tuple[str, str, int]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item], config: pytest.Config) -> None:
        """Keep only what plants a fault."""
        marked = [item for item in items if item.get_closest_marker("fault")]
        for item in marked:
            self._marks[item.nodeid] = [_read(mark) for mark in item.iter_markers("fault")]
        config.hook.pytest_deselected(items=[item for item in items if item not in marked])
        items[:] = marked

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that passed."""
        if report.when == "call" and report.passed:
            for kind, tried, times in self._marks[report.nodeid]:
                self.counts[kind, tried] += times


def _read(mark: pytest.Mark) -> tuple[str, str, int]:
    tried, kind = mark.args
    return str(kind), str(tried), int(mark.kwargs.get("times", 1))


def counted(paths: Sequence[str]) -> list[Row]:
    """Run the tests of `paths` that plant faults; SystemExit with pytest's code where one fails."""
    counting = Counting()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *paths], plugins=[counting])
    if code != 0:
        raise SystemExit(int(code))
    rows = [Row(kind=kind, tried=tried, times=times) for (kind, tried), times in counting.counts.items()]
    return sorted(rows, key=lambda row: (row.kind, row.tried))


def summed(rows: list[Row], tolls: dict[int, Toll]) -> Faults:
    """The rows with what was killed, by seed."""
    kills: Counter[str] = Counter()
    for toll in tolls.values():
        kills += toll.kills
    total = {name: sum(getattr(toll, name) for toll in tolls.values()) for name in _COUNTS}
    return Faults(rows=rows, seeds=list(tolls), kills=dict(sorted(kills.items())), **total)


def added(faults: Faults, lines: Iterable[bytes]) -> Faults:
    """The same with what other runs of kills and fuzzers stored, a JSON object a line; what is there counts once.

    SystemExit with a sentence for a line that is neither, and for a run that found a fault: it is mended and run again.
    """
    for line in lines:
        try:
            found = msgspec.json.decode(line, type=Fuzzed if b'"engine"' in line else Killed)
        except msgspec.DecodeError as error:
            raise SystemExit(f"{line[:80]!r} is of no run of kills or of a fuzzer: {error}") from None
        if isinstance(found, Fuzzed):
            if found.faults:
                raise SystemExit(
                    f"{found.engine}, seed {found.seed}, found {found.faults} faults; mend them, run it again"
                )
            alike = [f for f in faults.fuzzed if (f.engine, f.seed) == (found.engine, found.seed)]
            if not any(f.inputs.keys() & found.inputs.keys() for f in alike):
                faults = msgspec.structs.replace(faults, fuzzed=[*faults.fuzzed, found])
        elif found.fleet:
            if all(fleet.seed != found.seed for fleet in faults.fleets):
                faults = msgspec.structs.replace(faults, fleets=[*faults.fleets, found])
        elif found.seed not in faults.seeds:
            more = {name: getattr(faults, name) + getattr(found, name) for name in _COUNTS}
            kills = dict(sorted((Counter(faults.kills) + Counter(found.kills)).items()))
            faults = msgspec.structs.replace(faults, seeds=sorted([*faults.seeds, found.seed]), kills=kills, **more)
    return faults


def markdown(faults: Faults) -> str:
    """The table of the documentation."""
    killed_ = ", ".join(f"{what} {count}" for what, count in faults.kills.items())
    lines = ["| kind | what was tried | times | lost |", "| --- | --- | ---: | ---: |"]
    lines += [f"| {row.kind} | {row.tried.replace('|', chr(92) + '|')} | {row.times} | 0 |" for row in faults.rows]
    said = (
        f"{sum(faults.kills.values())} SIGKILLs at random moments of {faults.runs} runs "
        f"(seeds {_ranges(faults.seeds)}; {killed_}): {faults.torn} lines torn, {faults.lost} records lost, "
        f"{faults.twice} measured twice, {faults.left} processes or folders left."
    )
    return "\n\n".join([said, *_of_fleets(faults.fleets), *_inputs(faults.fuzzed), "\n".join(lines)])


def _of_fleets(fleets: Sequence[Killed]) -> Iterator[str]:
    """What was killed of fleets, a sentence."""
    if not fleets:
        return
    kills = sum((Counter(fleet.kills) for fleet in fleets), Counter[str]())
    total = {name: sum(getattr(fleet, name) for fleet in fleets) for name in _COUNTS}
    real = sum(sum(fleet.kills.values()) for fleet in fleets if fleet.real)
    yield (
        f"{kills.total()} SIGKILLs at random moments of what carries a fleet of two Ray nodes (seeds "
        f"{_ranges(fleet.seed for fleet in fleets)}; {', '.join(f'{w} {n}' for w, n in sorted(kills.items()))}; "
        f"{real} of them while it carried runs of NumPy, the others with stand-ins for runs), with "
        f"{total['runs']} attempts at runs: {total['torn']} lines torn, {total['lost']} lost, {total['twice']} stored "
        f"twice, {total['left']} folders left."
    )


def _inputs(fuzzed: Sequence[Fuzzed]) -> Iterator[str]:
    """What the fuzzers tried, a sentence."""
    if not fuzzed:
        return
    targets: Counter[str] = Counter()
    engines: Counter[str] = Counter()
    for run in fuzzed:
        targets.update(run.inputs)
        engines[run.engine] += sum(run.inputs.values())
    by_engine = ", ".join(
        f"{engine} {count} (seeds {_ranges([run.seed for run in fuzzed if run.engine == engine])})"
        for engine, count in sorted(engines.items())
    )
    by_target = ", ".join(f"{target} {count}" for target, count in sorted(targets.items()))
    yield (
        f"{engines.total()} hostile and broken inputs, by engine: {by_engine}; by target: {by_target}. Each ended in a "
        "value or in one sentence: no crash, no code run, no file opened outside the folder."
    )


def _ranges(seeds: Iterable[int]) -> str:
    """Whole numbers in few words: 3, 6 to 10."""
    ordered = sorted(set(seeds))
    firsts = [n for n in ordered if n - 1 not in ordered]
    lasts = [n for n in ordered if n + 1 not in ordered]
    return ", ".join(f"{a} to {b}" if a != b else f"{a}" for a, b in zip(firsts, lasts, strict=True)) or "none"


def read(path: Path = FILE) -> Faults:
    """The stored table."""
    return msgspec.json.decode(path.read_bytes(), type=Faults)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all faults and write the table; 1 where a killed run lost something."""
    import tempfile

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS, help="SIGKILLs of runs; 0 keeps the stored ones")
    parser.add_argument("--seed", type=int, default=0, help="of the first runs that are killed")
    parser.add_argument("--add", nargs="+", type=Path, metavar="FILE", help="add these runs, and try nothing")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders of tests")
    asked: Any = parser.parse_args(arguments)
    if asked.add:
        faults = added(
            read(), (line for file in asked.add for line in file.read_bytes().splitlines() if line[:1] == b"{")
        )
        return _write(faults)
    rows = counted(asked.tests)
    if asked.kills:
        tolls: dict[int, Toll] = {}
        for seed in range(asked.seed, asked.seed + -(-asked.kills // EACH)):
            with tempfile.TemporaryDirectory(prefix="kills-") as folder:
                try:
                    tolls[seed] = killed(Path(folder).resolve(), EACH, seed)
                except LostError as error:
                    print(f"seed {seed}: {error}", file=sys.stderr)
                    return 1
        faults = summed(rows, tolls)
        if FILE.exists():
            was = read()
            faults = msgspec.structs.replace(faults, fuzzed=was.fuzzed, fleets=was.fleets)
    else:
        faults = msgspec.structs.replace(read(), rows=rows)
    return _write(faults)


def _write(faults: Faults) -> int:
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(faults), indent=1) + b"\n")
    print(markdown(faults))
    return 0


if __name__ == "__main__":
    sys.exit(main())
