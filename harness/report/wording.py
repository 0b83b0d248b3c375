"""Figures and facts as text: quantities with units and intervals, the cells of a row.

Unknown is "–", never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from backends.device import GPU_AHEAD, TPU_AHEAD, Device
from harness.records.text import shorten

if TYPE_CHECKING:  # scipy comes with them, and whoever only wants words does without
    from harness.figures.portability import Portability, PortabilityCell
    from harness.figures.summary import Against, Row

# How older records name the peak of TensorFlow's own allocator on the host, which leaves out what lies beside it.
ALLOCATOR_ON_HOST = "peak of the framework's own allocator on the host"
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
READS_ESTIMATED_GPU = (
    "estimated: nothing of it was run. ideal time = of each kernel of a GPU's program the longer of FLOP and bytes at "
    "the card's published rates, and a launch; estimated tax = its ratio to the dense twin's / useful-FLOP ratio, a "
    "lower bound (≥) where the work of some kernel is unknown. kernels = how many are launched, and which of them are "
    "calls of libraries or made by Triton."
)

FEWEST_PRINTED = 3  # processes, or groups, whose interval is printed
_PREFIXES = {9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "µ", -9: "n", -12: "p"}


def reads_estimated(devices: Iterable[str]) -> list[str]:
    """How figures of these devices that are compiled for are read, a sentence for each kind of them."""
    kinds = {Device.parse(device).kind for device in devices}
    return [words for kind, words in ((TPU_AHEAD, READS_ESTIMATED), (GPU_AHEAD, READS_ESTIMATED_GPU)) if kind in kinds]


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


def times(value: float | None, low: float | None, high: float | None) -> str:
    """A factor with its interval: `1.02× [0.97, 1.05]`."""
    if value is None:
        return UNKNOWN
    number = significant(value)
    return f"{number}×{_interval(number, low, high)}"


def spread(low: float | None, high: float | None, values: int) -> tuple[float | None, float | None]:
    """An interval as it may be printed: none of fewer than three values, for what two differ by says nothing.

    Student's t of two runs from nothing to a thousandfold, which is true and of no use.
    """
    return (low, high) if values >= FEWEST_PRINTED else (None, None)


def speed_up_cell(against: Against | None) -> str:
    """1/T with its interval, `tie` where it is one, and * where the ratio had a trend."""
    if against is None:
        return UNKNOWN
    text = times(against.speed_up, *spread(against.speed_up_low, against.speed_up_high, against.rounds))
    if against.speed_up is None:
        return text
    return text + (" tie" if against.verdict == "tie" else "") + (" *" if against.ratio_steady is False else "")


def detectable_cell(against: Against | None) -> str:
    """The difference that would be called in 4 of 5 runs."""
    return UNKNOWN if against is None or against.detectable is None else percent(against.detectable)


def percent(share: float) -> str:
    """A share to two digits: `4.1 %`."""
    return f"{significant(100 * share, 2)} %"


def tax_cell(against: Against | None) -> str:
    """T/W with its interval."""
    if against is None:
        return UNKNOWN
    return times(against.tax, *spread(against.tax_low, against.tax_high, against.rounds))


def time_cell(row: Row) -> str:
    """The time with its interval; * where a window had a trend."""
    time = quantity(row.time_s, "s", *spread(row.time_low_s, row.time_high_s, row.processes))
    return time + (" *" if row.steady is False else "")


def memory_cell(row: Row) -> str:
    """Peak memory in MiB: of resident pages, or by an allocator, which is said, for the two are not comparable."""
    if row.memory_bytes is None:
        return UNKNOWN
    source = row.memory_source or ""
    by_allocator = source.startswith(("device: ", f"host: {ALLOCATOR_ON_HOST}"))
    return f"{significant(row.memory_bytes / 2**20)} MiB{' allocator' if by_allocator else ''}"


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
