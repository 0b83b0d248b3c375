"""Figures and facts as text: quantities with units and intervals, the cells of a row, the lines below a table.

Unknown is "–", never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from backends.device import is_ahead_of_time
from harness.figures.ceilings import Ceiling
from harness.figures.datasheets import Datasheet
from harness.figures.portability import Portability, PortabilityCell
from harness.figures.summary import Against, Row, Summary
from harness.records.outcomes import outcome
from harness.stats.intervals import FEWEST

UNKNOWN = "–"
NOTHING = "There are no records here, so nothing was measured; run `hwlottery run` first."
NO_IDEA = "None of the records is of an idea with a dense twin, so there is no tax to show."
READS = (
    "speed-up = dense twin's time / idea's time: above 1 the idea pays here. "
    "tax = time ratio / useful-FLOP ratio: what a useful FLOP costs off the dense path, 1 = no penalty."
)
READS_ESTIMATED = (
    "estimated: nothing of it was run. ideal time = XLA's cost model on a perfect chip; estimated tax = its ratio to "
    "the dense twin's / useful-FLOP ratio. cycles = what the TPU compiler reckoned with, and the share of the "
    "instructions that carry such a number: loops of gathers and scatters carry none, so a tax by cycles may be a "
    "lower bound (≥)."
)

_MOST_GAPS = 6  # named in a line; JSON has all
_PREFIXES = {9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "µ", -9: "n", -12: "p"}


def significant(value: float, digits: int = 3) -> str:
    """`value` to so many significant digits, zeros kept, never in exponents: 0.500, 20.0, 1234."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    exponent = math.floor(math.log10(abs(round(value, digits - 1 - exponent))))  # 9.996 is 10.0
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def quantity(value: float | None, unit: str, low: float | None = None, high: float | None = None) -> str:
    """Engineering notation with the interval in the value's own unit: `1.23 ms [1.20, 1.31]`."""
    if value is None:
        return UNKNOWN
    power = 0
    if value:
        power = max(-12, min(9, 3 * math.floor(math.log10(abs(float(f"{value:.2e}"))) / 3)))
    scale = 10.0**-power
    number = significant(value * scale)
    return f"{number} {_PREFIXES[power]}{unit}" + _interval(number, low, high, scale)


def _interval(number: str, low: float | None, high: float | None, scale: float = 1.0) -> str:
    if low is None or high is None:
        return ""
    decimals = len(number.partition(".")[2])
    return f" [{low * scale:.{decimals}f}, {high * scale:.{decimals}f}]"


def _times(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return UNKNOWN
    number = significant(value)
    return f"{number}×{_interval(number, low, high)}"


def speed_up_cell(against: Against | None) -> str:
    """1/T with its interval, and `tie` where it is one."""
    if against is None:
        return UNKNOWN
    text = _times(against.speed_up, against.speed_up_low, against.speed_up_high)
    return f"{text} tie" if against.verdict == "tie" and against.speed_up is not None else text


def tax_cell(against: Against | None) -> str:
    """T/W with its interval."""
    return UNKNOWN if against is None else _times(against.tax, against.tax_low, against.tax_high)


def time_cell(row: Row) -> str:
    """The time with its interval; * where the samples did not settle."""
    return quantity(row.time_s, "s", row.time_low_s, row.time_high_s) + (" *" if row.steady is False else "")


def memory_cell(row: Row) -> str:
    """Peak memory in MiB."""
    return UNKNOWN if row.memory_bytes is None else f"{significant(row.memory_bytes / 2**20)} MiB"


def energy_cell(row: Row) -> str:
    """Energy of a call with its bounds and its source."""
    if row.energy_j is None or row.energy_source == "none":
        return UNKNOWN
    return f"{quantity(row.energy_j, 'J', row.energy_low_j, row.energy_high_j)} {row.energy_source}"


def share_cell(row: Row) -> str:
    """Roofline share; ? where it is above the ceiling."""
    if row.roofline_share is None:
        return UNKNOWN
    if 0 < row.roofline_share < 1e-4:
        return "<0.01 %"
    return f"{significant(100 * row.roofline_share, 2)} %" + (" ?" if row.share_suspect else "")


def point_cell(row: Row) -> str:
    """The axes that tell the rows of a workload apart, and the mode."""
    return ", ".join(part for part in (row.label, row.mode) if part)


def outcome_cell(row: Row) -> str:
    """How the cases ended; why none did; what ran instead; why there is no ratio."""
    twin = row.principal
    parts = [row.outcome]
    if row.path is None and row.reason:
        parts.append(row.reason)
    if row.fallback:
        parts.append(f"ran instead: {row.fallback}")
    if twin is not None and twin.twin_path is None and row.path is not None:
        parts.append(f"no twin: {twin.twin_workload} {twin.twin_outcome}")
    return "; ".join(parts)


class Where:
    """The columns that say where a row ran; those that are the same in all rows are left out."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.runs = {run: f"run {n}" for n, run in enumerate(sorted({row.run for row in rows}), 1)}
        self.dtypes = len({row.dtype for row in rows}) > 1
        self.devices = len({row.device for row in rows}) > 1

    def of(self, row: Row) -> str:
        """The backend, with what else tells the rows apart."""
        parts = [row.backend]
        parts += [row.device] if self.devices else []
        parts += [row.dtype] if self.dtypes else []
        return " ".join(parts) + self.run(row.run)

    def run(self, run: str) -> str:
        """The short name of a run after a blank, nothing where there is one run only."""
        return f" {self.runs.get(run, run)}" if len(self.runs) > 1 else ""


# -- what ran where ----------------------------------------------------------------------------------------------------


def cells_share(p: Portability) -> str:
    """How many formulations and executions ran as asked on a backend and device, and what became of the others."""
    if p.cells_share is None:
        return UNKNOWN
    fine = ("ok", "compiled for")
    others = ", ".join(f"{count} {name}" for name, count in p.verdicts.items() if name not in fine)
    ok = sum(p.verdicts.get(name, 0) for name in fine)
    return f"{ok} of {p.cells} ({p.cells_share:.0%})" + (f"; {others}" if others else "")


def verdict_cell(c: PortabilityCell) -> str:
    """What became of one formulation in one place: the verdict, the class of failure, and the framework's words."""
    parts: list[str] = [c.verdict] if c.verdict != "failed" else []
    parts += [c.fallback] if c.fallback else []
    if c.status is not None:
        kind = f", {c.failure_class}" if c.failure_class else ""
        parts.append(f"{c.status}{kind}: {shorten(c.reason or 'no reason was recorded', 160)}")
    return "; ".join(parts)


# -- what stands below the table ---------------------------------------------------------------------------------------


def footer(summary: Summary) -> list[str]:
    """The lines below the table: how to read it, how many cases ended how, break-even, ceilings, what did not run."""
    rows = [*summary.rows, *summary.dense]
    lines = [READS] if summary.rows else []
    lines += [READS_ESTIMATED] if summary.estimates else []
    lines.append(f"cases: {outcome(summary.outcomes) if len(summary.outcomes) > 1 else _only(summary.outcomes)}.")
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
        lines.append(f"lottery: {moved.workload} [{moved.point}] {moved.mode} ranks {at}.")
    lines += [f"{f.status} ×{f.cases} ({', '.join(f.backends)}): {shorten(f.reason, 160)}" for f in summary.failures]
    return lines


def _only(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{status} {count}" for status, count in outcomes.items())


def _precision(summary: Summary, rows: Sequence[Row]) -> list[str]:
    lines = []
    several = [row.processes for row in rows if row.time_low_s is not None]
    if several:
        fewest, most = min(several), max(several)
        count = f"{fewest}" if fewest == most else f"{fewest}–{most}"
        note = f"[…] = 95 % interval over {count} fresh processes: "
        few, boot = f"Student's t on their logarithms below {FEWEST}", "bootstrap of their median"
        note += {(True, True): few, (False, False): boot}.get((fewest < FEWEST, most < FEWEST), f"{few}, else {boot}")
        lines.append(f"{note}.")
    single = sum(row.processes == 1 for row in rows)
    if single:
        lines.append(
            f"{single} of {sum(row.processes > 0 for row in rows)} times are of a single process and have no interval."
        )
    if any(row.principal and row.principal.verdict == "tie" for row in rows):
        noise = "" if summary.noise is None else f", or the difference is inside the A/A noise of {summary.noise:.0%}"
        lines.append(f"tie: the interval holds 1{noise}.")
    if any(row.steady is False for row in rows):
        lines.append("*: the samples did not settle.")
    if any(row.share_suspect for row in rows):
        lines.append("?: above the ceiling measured in this run, so the ceiling or the time is suspect.")
    return lines


def _top(found: Sequence[Ceiling]) -> list[Ceiling]:
    """Each dense rate, and of each device's streams the fastest and the largest working set."""
    out = [c for c in found if c.working_set_bytes is None]
    for place in dict.fromkeys((c.run, c.device) for c in found):
        streams = [c for c in found if c.working_set_bytes is not None and (c.run, c.device) == place]
        if streams:
            out += dict.fromkeys((max(streams, key=lambda c: c.per_s), streams[-1]))
    return out


def _ceiling(ceiling: Ceiling) -> str:
    if ceiling.working_set_bytes is None:
        return f"{ceiling.device} {ceiling.dtype} dense product {quantity(ceiling.per_s, 'FLOP/s')} ({ceiling.path})"
    size = significant(ceiling.working_set_bytes / 2**20)
    return f"{ceiling.device} memory {quantity(ceiling.per_s, 'B/s')} at {size} MiB ({ceiling.path})"


def _datasheet(datasheet: Datasheet) -> str:
    """What the maker says, beside what the run measured."""
    said = [f"{dtype} {quantity(rate, 'FLOP/s')}" for dtype, rate in datasheet.peak_flop_per_s.items()]
    said += [f"memory {quantity(datasheet.bandwidth_bytes_per_s, 'B/s')}"] if datasheet.bandwidth_bytes_per_s else []
    said += [f"{datasheet.memory_bytes / 2**30:.0f} GiB"] if datasheet.memory_bytes else []
    said += [f"{datasheet.tdp_w:g} W"] if datasheet.tdp_w else []
    share = f", one of its {datasheet.devices} devices" if datasheet.devices > 1 else ""
    return f"{datasheet.device} is {datasheet.name}{share}; its maker says {', '.join(said)} (never used as the limit)"


def shorten(text: str, most: int) -> str:
    """`text` cut to at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
