"""How long runs let their user wait, by their own records: for the first pair, for every idea, and to the end.

    python tools/waits.py RUN… [--more RUN] [-o results/perf-cpu]

With --more, what one more idea adds: that run is as the first one was, with an idea more.

A pair is an idea and its principal dense twin in one group. An idea has a speed-up with an interval once it had as many
pairs as an interval needs; the figure is of the headline point that waits longest, and of each framework that has it.
A process says when it was started and how long it took, in seconds and fractions of them.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.figures.twins import FEWEST_PAIRS
from harness.records.record import Record, Trial
from harness.records.store import Run, load
from tools import perf_tables
from tools.perf_tables import Cell, Column, Perf, Table

COLUMNS = [
    Column(key="run", head="run"),
    Column(key="cases", head="cases", format="d"),
    Column(key="cold", head="compiled cold", format=".0%"),
    Column(key="first_s", head="first pair, s", format=".0f"),
    Column(key="rows", head="ideas × frameworks", format="d"),
    Column(key="every_s", head="all with an interval, s", format=".0f"),
    Column(key="without", head="without one", format="d"),
    Column(key="whole_s", head="whole, s", format=".0f"),
]


def table(runs: Sequence[Run]) -> Table:
    """A line a run."""
    title, about = "How long a run lets its user wait", "from the start of the command's own clock"
    return Table(title=title, about=about, columns=COLUMNS, rows=[row(run) for run in runs])


def adds(without: Run, more: Run) -> Table:
    """What one idea adds to a preset: to the time until everything has an interval, and to the whole."""
    before, after = row(without), row(more)
    names = {"every_s": "all with an interval", "whole_s": "whole"}
    rows: list[dict[str, Cell]] = []
    for key, name in names.items():
        was, is_now = before[key], after[key]
        added = is_now - was if isinstance(was, float) and isinstance(is_now, float) else None
        rows.append({"until": name, "without_s": was, "with_s": is_now, "adds_s": added})
    heads = {"until": "until", "without_s": "without it, s", "with_s": "with it, s", "adds_s": "adds, s"}
    columns = [Column(key=key, head=head, format="" if key == "until" else ".0f") for key, head in heads.items()]
    ideas = f"{before['rows']} rows of ideas × frameworks, and {after['rows']} with it"
    about = f"{' '.join(without.info.command)}: {ideas}"
    return Table(title="What one more idea of four formulations adds", about=about, columns=columns, rows=rows)


def row(run: Run) -> dict[str, Cell]:
    """The waits of one run, which was not resumed; seconds since it began."""
    began = datetime.fromisoformat(run.info.started_at)
    pairs = {place: sorted(ends) for place, ends in _pairs(run.records).items()}
    first = [ends[0] for ends in pairs.values() if ends]
    known = [ends[FEWEST_PAIRS - 1] for ends in pairs.values() if len(ends) >= FEWEST_PAIRS]
    states = [t.compile_cache for t in map(_first, run.records) if t is not None and t.compile_cache is not None]
    return {
        "run": " ".join(run.info.command),
        "cases": sum(not record.control for record in run.records),
        "cold": states.count("cold") / len(states) if states else None,
        "first_s": (min(first) - began).total_seconds() if first else None,
        "rows": len(pairs),
        "every_s": (max(known) - began).total_seconds() if known else None,
        "without": len(pairs) - len(known),
        "whole_s": run.info.wall_s,
    }


def _first(record: Record) -> Trial | None:
    trials = record.time.trials if record.time is not None and not record.control else ()
    return min(trials, key=lambda trial: trial.started_at, default=None)


def _pairs(records: Iterable[Record]) -> dict[tuple[str, ...], list[datetime]]:
    """By idea and place, when each group that held the idea and its principal twin had ended."""
    groups: dict[tuple[object, ...], dict[int, datetime]] = defaultdict(dict)
    ideas: dict[tuple[str, ...], tuple[tuple[object, ...], tuple[object, ...]]] = {}
    for record in records:
        c = record.case
        if record.control or record.time is None or record.status != "ok":
            continue
        own = _point(c.workload, c.params, c.mode, c.dtype, c.backend, c.device)
        for trial in record.time.trials:
            if trial.heat is not None and trial.round:
                ended = datetime.fromisoformat(trial.started_at) + timedelta(seconds=trial.wall_s)
                groups[own][trial.heat] = max(ended, groups[own].get(trial.heat, ended))
        twin = record.twins[0] if record.twins else None
        if record.headline and twin is not None and twin.workload != c.workload:
            other = _point(twin.workload, twin.params, twin.mode, twin.dtype or c.dtype, c.backend, c.device)
            ideas[tuple(map(str, own))] = (own, other)
    return {
        place: [max(groups[own][heat], groups[twin][heat]) for heat in groups[own].keys() & groups[twin].keys()]
        for place, (own, twin) in ideas.items()
    }


def _point(workload: str, params: Mapping[str, object], *place: str) -> tuple[object, ...]:
    return (workload, tuple(sorted(params.items())), *place)


def main() -> int:
    """Print the table; with -o, write waits.json there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="results folders")
    parser.add_argument("--more", type=Path, metavar="RUN", help="the first run again, with one more idea")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="folder to write waits.json to")
    asked = parser.parse_args()
    runs = [load(folder) for folder in asked.runs]
    command = " ".join(["python tools/waits.py", *sys.argv[1:]])
    tables = [table(runs)] + ([] if asked.more is None else [adds(runs[0], load(asked.more))])
    made = Perf(name="waits", command=command, machine=perf_tables.host(runs[0].info), tables=tables)
    print(perf_tables.markdown(made))
    if asked.output is not None:
        perf_tables.write(asked.output, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
