"""The study of the whole chain: whole runs of the same code on one machine, each held against the others.

    python tools/chain.py RUN RUN… [--plain RUN…] [--planted RUN…] [-o results/perf-cpu]

RUN are results folders of one preset. What is asked for at most is beside what was found. 5 % are planted in two ways:
in a copy of each run, in which the samples of all ideas are 5 % longer; and by `tests/benchmarks/bench_chain.py` as
real work, in runs that --planted names, of a workload that does 5 % more there than in those that --plain names (RUN,
where it names none). Of four runs or more one half is also held against the other, and all of --plain against all of
--planted, as `compare` takes several runs a side.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, permutations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import perf_tables
from tools import repeated_runs as of
from tools.perf_tables import Column, Perf, Table
from tools.repeated_runs import Count, Told, total

PLANTED = 1.05
LENGTHENED, UNCHANGED = frozenset({"links"}), frozenset({"links_plain"})  # the workloads of tests/helpers/lengthened
CALLED_SLOWER, FALSE_ROWS = "5 % planted called slower", "rows of equal code called different"
FALSE_FAILURES = "comparisons of equal code that fail on slower:5%"
ASKED = {CALLED_SLOWER: "80 % at least", FALSE_ROWS: "1 of 1000 at most", FALSE_FAILURES: "1 of 20 at most"}
_MEASURES = {
    "estimates outside the other run's interval": "12 %",
    "verdicts that differ": "1 of 27",
    "break-evens outside the other run's interval": "6 of 50",
    "rank intervals with none in common": "5 %",
    "rows that compare calls different": "1 of 1000",
    "comparisons that fail on slower:5%": "1 of 20",
}
_COUNTS = (
    Column(key="what", head="what"),
    Column(key="found", head="found", format="d"),
    Column(key="of", head="of", format="d"),
    Column(key="share", head="share", format=".1%"),
)


def evaluate(
    folders: Sequence[Path], planted: Sequence[Path] = (), command: str = "", *, plain: Sequence[Path] = ()
) -> Perf:
    """Everything about two runs or more; ValueError for fewer."""
    if len(folders) < 2:
        raise ValueError(f"the study holds runs against each other: two results folders at least, found {len(folders)}")
    runs = of.read(folders)
    pairs = {(f"run {i}", f"run {j}"): _pair(a, b) for (i, a), (j, b) in permutations(enumerate(runs, start=1), 2)}
    tables = [_all(list(pairs.values())), _each(pairs), _paths(runs), *_copies(runs)]
    if planted:
        tables.append(_real(of.read(plain) if plain else runs, of.read(planted)))
    facts: dict[str, perf_tables.Cell] = {"runs": len(runs), "runs with 5 % more work": len(planted)}
    facts |= {"runs without, for these": len(plain)} if plain else {}
    for number, told in enumerate(runs, 1):
        info, noise = told.run.info, told.summary.noise
        facts[f"run {number}"] = f"{' '.join(info.command)}, {info.started_at}, {(info.wall_s or 0) / 60:.1f} min"
        facts[f"A/A noise of run {number}"] = "unknown" if noise is None else f"{noise:.1%}".replace("%", " %")
    return Perf(name="chain", command=command, machine=perf_tables.host(runs[0].run.info), tables=tables, facts=facts)


def _pair(a: Told, b: Told) -> list[Count]:
    """The measures of `_MEASURES` in their order, of A held against B."""
    compared = of.compared(a.run.path, b.run.path)
    return [
        *(measure(a, b) for measure in (of.excluded, of.verdicts, of.break_evens, of.ranks)),
        compared.different,
        Count(int(compared.failed), 1),
    ]


def _all(pairs: Sequence[Sequence[Count]]) -> Table:
    rows = []
    for (what, most), counts in zip(_MEASURES.items(), zip(*pairs, strict=True), strict=True):
        found = total(counts)
        share = found.share if found.of else None
        rows.append({"what": what, "found": found.found, "of": found.of, "share": share, "most": most})
    columns = [*_COUNTS, Column(key="most", head="asked, at most")]
    return Table(title="Each run against each other", about="both ways", columns=columns, rows=rows)


def _each(pairs: dict[tuple[str, str], list[Count]]) -> Table:
    columns = [Column(key="a", head="interval, A"), Column(key="b", head="estimate, B")]
    columns += [Column(key=what, head=what) for what in _MEASURES]
    rows: list[dict[str, perf_tables.Cell]] = [
        {"a": a, "b": b} | dict(zip(_MEASURES, map(str, counts), strict=True)) for (a, b), counts in pairs.items()
    ]
    return Table(title="Pair by pair", columns=columns, rows=rows)


def _paths(runs: Sequence[Told]) -> Table:
    rows: list[dict[str, perf_tables.Cell]] = []
    for number, (told, losses) in enumerate(zip(runs, of.path_losses(runs), strict=True), 1):
        wrong = [loss for loss in losses if loss.loss > of.LOSS]
        worst = max(wrong, key=lambda loss: loss.loss, default=None)
        rows.append(
            {
                "run": f"run {number}",
                "rows": len(told.best),
                "others": len(losses),
                "wrong": len(wrong),
                "alone": sum(not loss.paired for loss in wrong),
                "unknown": sum(loss.loss != loss.loss for loss in losses),
                "worst": None if worst is None else worst.loss,
                "what": "" if worst is None else f"{' '.join(worst.where)}: {worst.path}, not {worst.best}",
            }
        )
    columns = [
        Column(key="run", head="run"),
        Column(key="rows", head="rows", format="d"),
        Column(key="others", head="another path than the best", format="d"),
        Column(key="wrong", head="slower by over 3 %", format="d"),
        Column(key="alone", head="of them by surveys alone", format="d"),
        Column(key="unknown", head="not to be told", format="d"),
        Column(key="worst", head="the most", format=".1%"),
        Column(key="what", head="where"),
    ]
    about = "the best of those that the runs chose, by the median over runs of paired times; asked: 1 of 43 at most"
    return Table(title="Paths by what they lose", about=about, columns=columns, rows=rows)


def _copies(runs: Sequence[Told]) -> list[Table]:
    """What `compare` makes of copies in which every idea takes 5 % longer: of one run a side, and of half the runs."""
    with tempfile.TemporaryDirectory(prefix="hwlottery-chain-") as name:
        folder = Path(name)
        copies = [
            of.scaled_copy(told.run, folder / str(number), PLANTED, of.is_idea, f"{told.run.info.run}-planted")
            for number, told in enumerate(runs)
        ]
        ideas = frozenset(where[0] for told in runs for where in told.ideas)
        single = [
            of.compared(runs[i].run.path, copies[j], ideas, "slower").different
            for i, j in permutations(range(len(runs)), 2)
        ]
        tables = [_found("5 % planted, found by compare", "of best paths with an interval", {CALLED_SLOWER: single})]
        half = len(runs) // 2
        if half > 1:
            tables.append(_found(f"{half} runs a side", "every half against what is left", _halves(runs, copies, half)))
    return tables


def _halves(runs: Sequence[Told], copies: Sequence[Path], half: int) -> dict[str, list[Count]]:
    """By what is counted, each half of the runs against the others, and against the copies of these."""
    ideas = frozenset(where[0] for told in runs for where in told.ideas)
    counts: dict[str, list[Count]] = {CALLED_SLOWER: [], FALSE_ROWS: [], FALSE_FAILURES: []}
    for chosen in combinations(range(len(runs)), half):
        others = [number for number in range(len(runs)) if number not in chosen][:half]
        a, b = ([runs[number].run.path for number in side] for side in (chosen, others))
        with _sides(a, b, [copies[number] for number in others]) as (first, second, planted):
            counts[CALLED_SLOWER].append(of.compared(first, planted, ideas, "slower").different)
            equal = of.compared(first, second)
            counts[FALSE_ROWS].append(equal.different)
            counts[FALSE_FAILURES].append(Count(int(equal.failed), 1))
    return counts


@contextmanager
def _sides(*sides: Sequence[Path]) -> Iterator[list[Path]]:
    """For each side a folder with its runs in it, as `compare` takes several; the runs are linked, not copied."""
    with tempfile.TemporaryDirectory(prefix="hwlottery-chain-") as name:
        made = [Path(name) / str(number) for number in range(len(sides))]
        for side, folders in zip(made, sides, strict=True):
            side.mkdir()
            for number, folder in enumerate(folders):
                (side / str(number)).symlink_to(folder.resolve(), target_is_directory=True)
        yield made


def _found(title: str, about: str, counts: dict[str, list[Count]]) -> Table:
    rows: list[dict[str, perf_tables.Cell]] = []
    for what, several in counts.items():
        found = total(several)
        row: dict[str, perf_tables.Cell] = {"what": what, "found": found.found, "of": found.of}
        rows.append(row | {"share": found.share if found.of else None, "asked": ASKED[what]})
    columns = [*_COUNTS, Column(key="asked", head="asked")]
    return Table(
        title=title, about=f"in a copy of the records, the samples of every idea; {about}", columns=columns, rows=rows
    )


def _real(runs: Sequence[Told], planted: Sequence[Told]) -> Table:
    """What is said of a formulation that really does 5 % more, and of the same one where it does not."""

    def called(several: Sequence[Told], verdict: str) -> Count:
        rows = [row.principal for told in several for row in told.ideas.values() if row.workload in LENGTHENED]
        return Count(sum(p is not None and p.verdict == verdict for p in rows), len(rows))

    counts = {
        "table: 5 % more work called slower": called(planted, "slower"),
        "table: 5 % more work called faster": called(planted, "faster"),
        "table: equal work called slower": called(runs, "slower"),
        "table: equal work called faster": called(runs, "faster"),
        "compare, one run a side: 5 % more work called slower": total(
            of.compared(a.run.path, b.run.path, LENGTHENED, "slower").different for a in runs for b in planted
        ),
    }
    with _sides([told.run.path for told in runs], [told.run.path for told in planted]) as (plain, longer):
        together = f"compare, {len(runs)} runs against {len(planted)}: "
        counts[f"{together}5 % more work called slower"] = of.compared(plain, longer, LENGTHENED, "slower").different
        counts[f"{together}its twin, equal work, called different"] = of.compared(plain, longer, UNCHANGED).different
    rows: list[dict[str, perf_tables.Cell]] = [
        {"what": what, "found": c.found, "of": c.of, "share": c.share if c.of else None} for what, c in counts.items()
    ]
    about = "21 products instead of 20, in one formulation that is the best path, " + _rounds([*runs, *planted])
    return Table(title="5 % more work", about=about, columns=list(_COUNTS), rows=rows)


def _rounds(runs: Sequence[Told]) -> str:
    rows = [row for told in runs for row in told.ideas.values() if row.workload in LENGTHENED]
    counts = sorted({row.principal.rounds for row in rows if row.principal is not None})
    return f"{counts[0]} to {counts[-1]} rounds a run" if counts else "in no run"


def main() -> int:
    """Print the tables; with -o, write chain.json there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="results folders of the same code and machine"
    )
    parser.add_argument("--plain", nargs="*", type=Path, default=[], metavar="RUN", help="their like without")
    parser.add_argument("--planted", nargs="*", type=Path, default=[], metavar="RUN", help="runs with 5 %% more work")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="folder to write chain.json to")
    asked = parser.parse_args()
    command = " ".join(["python tools/chain.py", *sys.argv[1:]])
    made = evaluate(asked.runs, asked.planted, command, plain=asked.plain)
    print(perf_tables.markdown(made))
    if asked.output is not None:
        perf_tables.write(asked.output, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
