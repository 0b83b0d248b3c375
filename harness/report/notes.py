"""The lines below a table: how to read it, how cases ended, break-even, ceilings, what did not run or is suspect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from backends.device import is_ahead_of_time
from harness.figures import left_out
from harness.figures.break_even import BreakEven
from harness.figures.ceilings import UNITS, Ceiling
from harness.figures.datasheets import Datasheet
from harness.figures.estimates import EstimateRow
from harness.figures.modelled import ModelledRow
from harness.figures.portability import Failure
from harness.figures.summary import Row, Summary
from harness.records.outcomes import outcome
from harness.records.text import shorten
from harness.report.chips_text import READS_CHIPS
from harness.report.constants import constants, headlines, twins_line
from harness.report.modelled_rows_text import READS_MODELLED
from harness.report.wording import (
    FEWEST_PRINTED,
    READS,
    Where,
    outcome_cell,
    percent,
    quantity,
    reads_estimated,
    significant,
)
from harness.stats.intervals import FEWEST

# What lines begin with that say how to read a table and nothing of one run.
READING = (
    "speed-up =",
    "estimated:",
    "across chips:",
    "modelled:",
    "cases:",
    "runs:",
    "constant in all rows:",
    "dense twins:",
)  # not of this run alone
_MOST_GAPS = 6  # named in a line; JSON has all
_MOST_FAILURES = 6  # in the short form


def footer(summary: Summary) -> list[str]:
    """The lines below the table: how to read it, how many cases ended how, break-even, ceilings, what did not run."""
    rows = [*summary.rows, *summary.dense]
    lines = [READS] if summary.rows else []
    lines += reads_estimated(row.device for row in summary.estimates)
    lines += [READS_CHIPS] if summary.chips else []
    lines += [READS_MODELLED] if summary.modelled else []
    lines += _long_compilations(summary)
    lines += [line for line in (constants(summary.rows), twins_line(summary.rows)) if line]
    lines.append(_cases(summary))
    lines += _left_out(summary)
    lines += _suspects(summary)
    lines += _precision(summary, rows)
    where = Where(rows)
    if len(where.runs) > 1:
        lines.append("runs: " + ", ".join(f"{short} = {run}" for run, short in where.runs.items()) + ".")
    for even in summary.break_even:
        place = f"{even.backend} {even.device} {even.dtype}{where.run(even.run)}"
        lines.append(f"break-even: {even.workload} [{even.point}] {even.mode}, {place}: {even.sentence}.")
    lines += [f"ceiling{where.run(ceiling.run)}: {_ceiling(ceiling)}." for ceiling in _top(summary.ceilings)]
    lines += [f"datasheet{where.run(datasheet.run)}: {_datasheet(datasheet)}." for datasheet in summary.datasheets]
    for p in summary.portability:
        if p.missing:
            gaps = [f"{m.workload} {m.mode} at {m.points - m.points_ok} of {m.points} points" for m in p.missing]
            gaps = gaps if len(gaps) <= _MOST_GAPS else [*gaps[:_MOST_GAPS], f"and {len(gaps) - _MOST_GAPS} more"]
            does = "compiles" if is_ahead_of_time(p.device) else "runs"
            lines.append(
                f"portability: {p.backend} {p.device}{where.run(p.run)} {does} {p.ok} of {p.total} workloads and "
                f"modes; no path: {'; '.join(gaps)}."
            )
    for moved in [shift for shift in summary.lottery if shift.shift][:3]:
        at = ", ".join(f"{rank} on {place}" for place, rank in moved.ranks.items() if rank is not None)
        ranks = f"{moved.shift} rank{'s' if moved.shift != 1 else ''} at least"
        lines.append(f"lottery: {moved.workload} [{moved.point}] {moved.mode} moves by {ranks}: {at}.")
    if any(shift.ranked for shift in summary.lottery) and not any(shift.shift for shift in summary.lottery):
        lines.append("lottery: no idea's rank by speed-up moves between places by more than the intervals allow.")
    lines += [f"{f.status} ×{f.cases} ({', '.join(f.backends)}): {_explained(f)}" for f in summary.failures]
    return lines


def disturbed(summary: Summary) -> list[str]:
    """What the machine did beside a run, by the run's own notes: nothing in its tables is sure then."""
    return [f"DISTURBED: {said}." for said in summary.disturbed]


def short(summary: Summary) -> list[str]:
    """What stands below the matrix: how the cases ended, what is suspect, how sure it is, break-even, and failures.

    What a framework says that it does not do is counted, not told: `--all` has its words, and the ceilings.
    """
    rows = [*summary.rows, *summary.dense]
    where = Where(rows)
    lines = [_cases(summary), *_left_out(summary), *_suspects(summary), *_precision(summary, rows, marks=False)]
    lines += _long_compilations(summary)
    if len(where.runs) > 1:
        lines.append("runs: " + ", ".join(f"{short} = {run}" for run, short in where.runs.items()) + ".")
    lines += _break_even(summary.break_even, where)
    failures = _failures(summary, where)
    lines += failures[:_MOST_FAILURES]
    lines += [f"and {len(failures) - _MOST_FAILURES} failures more."] if len(failures) > _MOST_FAILURES else []
    return [*lines, "all figures, with times, best paths, memory, energy, ceilings and what ran where: report --all."]


def _long_compilations(summary: Summary) -> list[str]:
    """What took the compiler of a device that is not there over a minute, by name."""
    found = [
        f"{row.workload}/{formulation} {row.mode} on {row.backend} {row.device} {seconds:.0f} s"
        for row in summary.estimates
        for formulation, seconds in row.long_compilations.items()
    ]
    return [f"over a minute in the compiler: {', '.join(found)}."] if found else []


def _failures(summary: Summary, where: Where) -> list[str]:
    """Why a cell of the matrix has a word instead of figures, and what failed although it should have run."""
    out = [
        f"no path: {row.workload} {row.mode} on {where.of(row)}: {shorten(outcome_cell(row), 200)}"
        for row in headlines(summary.rows)
        if row.path is None
    ]
    without: list[EstimateRow | ModelledRow] = [*headlines(summary.estimates), *headlines(summary.modelled)]
    out += [
        f"no path: {row.workload} {row.mode} on {row.backend} {row.device}: "
        + shorten(f"{row.outcome}; {row.reason or 'no reason was recorded'}", 200)
        for row in without
        if row.path is None
    ]
    return out + [
        f"{f.status} ×{f.cases}, such as {f.example}: {_explained(f)}"
        for f in summary.failures
        if f.status != "unsupported"
    ]


def _explained(failure: Failure) -> str:
    """The reason in the framework's words, and what to do where a rule knows it."""
    do = f" To do: {failure.do}." if failure.do else ""
    return f"{shorten(failure.reason, 160)}{'.' if do else ''}{do}"


def _break_even(found: Sequence[BreakEven], where: Where) -> list[str]:
    """A line for each sweep, with what was found in every place; of its point, what tells the sweeps apart."""
    points: dict[str, list[set[str]]] = defaultdict(list)
    for even in found:
        points[even.workload].append(set(even.point.split(",")))
    sweeps: dict[str, list[BreakEven]] = defaultdict(list)
    for even in found:
        same = set.intersection(*points[even.workload])
        axes = [part for part in even.point.split(",") if part not in same]
        sweeps[" ".join([even.workload, *axes, even.mode])].append(even)
    lines = []
    for name, several in sweeps.items():
        said: dict[str, list[str]] = defaultdict(list)  # what several places share is said once
        for e in several:
            start = f"faster than dense {'above' if e.above else 'below'} {e.axis} "
            shared = start if e.sentence.startswith(start) else ""
            said[shared].append(f"{e.sentence.removeprefix(shared)} on {_place(e, several, where)}")
        parts = [f"{shared}{', '.join(places)}" for shared, places in said.items()]
        lines.append(f"break-even: {name} is {'; '.join(parts)}.")
    return lines


def _place(even: BreakEven, beside: Sequence[BreakEven], where: Where) -> str:
    parts = [even.backend]
    parts += [even.device] if len({e.device for e in beside}) > 1 else []
    parts += [even.dtype] if len({e.dtype for e in beside}) > 1 else []
    return " ".join(parts) + where.run(even.run)


def _cases(summary: Summary) -> str:
    return f"cases: {outcome(summary.outcomes) if len(summary.outcomes) > 1 else _only(summary.outcomes)}."


def _left_out(summary: Summary) -> list[str]:
    said = left_out.sentence(summary.left_out)
    return [] if said is None else [f"left out: {said}."]


def _suspects(summary: Summary) -> list[str]:
    return [f"suspect: {s.workload} [{s.point}] {s.mode} {s.dtype}: {s.sentence}." for s in summary.suspects]


def _only(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{status} {count}" for status, count in outcomes.items())


def _precision(summary: Summary, rows: Sequence[Row], *, marks: bool = True) -> list[str]:
    """How sure the figures are; `marks` are those of cells that have intervals and shares."""
    lines = []
    several = [row.processes for row in rows if row.time_low_s is not None and row.processes >= FEWEST_PRINTED]
    if several and marks:
        fewest, most = min(several), max(several)
        count = f"{fewest}" if fewest == most else f"{fewest}–{most}"
        note = f"[…] = 95 % interval over {count} fresh processes: "
        few, boot = f"Student's t on their logarithms below {FEWEST}", "bootstrap of their median"
        note += {(True, True): few, (False, False): boot}.get((fewest < FEWEST, most < FEWEST), f"{few}, else {boot}")
        lines.append(f"{note}. That of a speed-up is over groups and over the paths that may be the best.")
    timed = sum(row.processes > 0 for row in rows)
    for number, words in ((1, "a single process"), (2, "two processes")):
        few_of = sum(row.processes == number for row in rows)
        if few_of:
            lines.append(f"{few_of} of {timed} times are of {words} and have no interval.")
    if any(row.principal and row.principal.verdict == "tie" for row in rows):
        noise = (
            "" if summary.noise is None else f", or the difference is inside the A/A noise of {percent(summary.noise)}"
        )
        lines.append(f"tie: the interval holds 1{noise}.")
    elif summary.noise is not None and not marks:
        lines.append(f"noise: the same case against itself differs by up to {percent(summary.noise)} here (A/A).")
    lines += _power(summary)
    drifting = [row.steady for row in rows] + [row.principal.ratio_steady for row in rows if row.principal]
    if marks and False in drifting:
        lines.append("*: a trend from slice to slice: this time, or this ratio, had not settled.")
    if marks and any(row.share_suspect for row in rows):
        lines.append("?: faster than a ceiling measured in this run allows, so the ceiling or the time is suspect.")
    return lines


def _power(summary: Summary) -> list[str]:
    """What the table can find, and how often it finds what is not there."""
    if summary.detectable is None or summary.false_call is None:
        return []
    rows = sum(row.principal is not None and row.principal.detectable is not None for row in summary.rows)
    return [
        f"power: a difference of {percent(summary.detectable)} would be found in 4 of 5 runs like this, in half of the "
        f"rows; more rounds find less. Did none of the {rows} rows differ, one or more would still be called faster or "
        f"slower in {percent(summary.false_call)} of runs."
    ]


def _top(found: Sequence[Ceiling]) -> list[Ceiling]:
    """Every ceiling, but of each device's streams the fastest and the largest working set only."""
    out = [c for c in found if c.kind == "matmul"]
    for place in dict.fromkeys((c.run, c.device) for c in found):
        streams = [c for c in found if c.kind == "bandwidth" and (c.run, c.device) == place]
        if streams:
            out += dict.fromkeys((max(streams, key=lambda c: c.per_s), streams[-1]))
    return [*out, *(c for c in found if c.kind not in ("matmul", "bandwidth"))]


def _ceiling(ceiling: Ceiling) -> str:
    c = ceiling
    size = "" if c.working_set_bytes is None else f"{significant(c.working_set_bytes / 2**20)} MiB"
    if c.kind == "matmul":
        said = f"{c.dtype} dense product {quantity(c.per_s, 'FLOP/s')}"
    elif c.kind == "vector":
        said = f"{c.dtype} outside of dense products {quantity(c.per_s, 'FLOP/s')}"
    elif c.kind == "bandwidth":
        said = f"memory {quantity(c.per_s, 'B/s')} at {size}"
    elif c.kind == "launch":
        said = f"a launch {quantity(1 / c.per_s, 's')}"
    else:
        preposition = "from" if c.kind == "gather" else "to"
        said = f"{c.kind} {quantity(c.per_s, UNITS[c.kind])} of {c.row_bytes} B {preposition} {size}"
    return f"{c.device} {said} ({c.path})"


def _datasheet(datasheet: Datasheet) -> str:
    """What the maker says, beside what the run measured."""
    said = [f"{dtype} {quantity(rate, 'FLOP/s')}" for dtype, rate in datasheet.peak_flop_per_s.items()]
    said += [f"memory {quantity(datasheet.bandwidth_bytes_per_s, 'B/s')}"] if datasheet.bandwidth_bytes_per_s else []
    said += [f"{datasheet.memory_bytes / 2**30:.0f} GiB"] if datasheet.memory_bytes else []
    said += [f"{datasheet.tdp_w:g} W"] if datasheet.tdp_w else []
    share = f", one of its {datasheet.devices} devices" if datasheet.devices > 1 else ""
    return f"{datasheet.device} is {datasheet.name}{share}; its maker says {', '.join(said)} (never used as the limit)"
