"""The answer in words: at most six sentences that a person would say after reading the table, each by a rule.

A rule says something of figures whose intervals decide it, and nothing else: nothing inside a tie, nothing of a figure
without an interval, nothing where there is nothing to say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from backends.discovery import backends
from harness.figures.break_even import BreakEven
from harness.figures.ceilings import Ceilings
from harness.figures.table_rows import Against, Row
from harness.records.points import point_name

MOST = 6


@dataclass(frozen=True, slots=True)
class Told:
    """One headline row and its figures against its principal twin, of which the verdict is sure.

    `name` is the idea and what tells its headline points apart: `unstructured_sparse at n=128`.
    """

    row: Row
    against: Against
    place: str
    name: str

    @property
    def speed_up(self) -> float:
        """Its speed-up, known where the verdict is."""
        return self.against.speed_up or 0.0


def answer(rows: Sequence[Row], sweeps: Sequence[BreakEven], limits: Ceilings | None = None) -> list[str]:
    """The sentences, the most telling first; none where nothing is sure. `limits` are those that blame is by."""
    headlines = [row for row in rows if row.headline] or list(rows)
    places, names = _Places(headlines), _Names(headlines)
    sure = [
        Told(row, against, places.of(row), names.of(row))
        for row in headlines
        if (against := row.principal) is not None
        and against.kind != "itself"
        and against.verdict in ("faster", "slower")
        and None not in (against.speed_up_low, against.speed_up_high)
    ]
    rules: tuple[Callable[[], str | None], ...] = (
        lambda: _who_pays(headlines, sure),
        lambda: _largest_gain(sure),
        lambda: _dearest(sure),
        lambda: _to_blame(sure, limits is not None and limits.beyond),
        lambda: _no_path(headlines, places),
        lambda: _depends_on_the_place(sure),
        lambda: _where_sparsity_pays(sweeps, places),
    )
    return [said for rule in rules if (said := rule()) is not None][:MOST]


class _Places:
    """Names of where rows ran: the framework's title, with the device and the run where these differ."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._titles = {name: backend.title for name, backend in backends()[0].items()}
        self._devices = len({row.device for row in rows}) > 1
        self._runs = {run: f"run {n}" for n, run in enumerate(sorted({row.run for row in rows}), 1)}

    def of(self, row: Row | BreakEven) -> str:
        """`PyTorch`, `PyTorch on cuda`, `PyTorch on cpu in run 2`."""
        name = self._titles.get(row.backend, row.backend)
        name += f" on {row.device}" if self._devices else ""
        return name + (f" in {self._runs.get(row.run, row.run)}" if len(self._runs) > 1 else "")


class _Names:
    """Names of points: by the axes in which the headline rows of a workload differ, the same however many are shown."""

    def __init__(self, rows: Sequence[Row]) -> None:
        values: dict[tuple[str, str], set[object]] = defaultdict(set)
        for row in rows:
            for axis, value in row.params.items():
                values[row.workload, axis].add(value)
        self._differ = {place for place, seen in values.items() if len(seen) > 1}

    def of(self, row: Row) -> str:
        """The workload, and where there are several the point."""
        params = {axis: value for axis, value in row.params.items() if (row.workload, axis) in self._differ}
        at = ", ".join(point_name({axis: value}) for axis, value in params.items())
        return row.workload + (f" at {at}" if at else "")


# -- the rules ---------------------------------------------------------------------------------------------------------
def _who_pays(headlines: Sequence[Row], sure: Sequence[Told]) -> str | None:
    """How many ideas are faster at every headline point in every place, and how many slower."""
    tried: dict[str, int] = defaultdict(int)
    for row in headlines:
        if row.principal is not None and row.principal.kind != "itself":
            tried[row.workload] += 1
    verdicts: dict[str, list[str | None]] = defaultdict(list)
    for told in sure:
        verdicts[told.row.workload].append(told.against.verdict)
    faster, slower = (
        [name for name, count in tried.items() if verdicts[name] == [wanted] * count] for wanted in ("faster", "slower")
    )
    if len(tried) < 2 or not (faster or slower):
        return None
    parts = [f"{_number(len(faster))} faster ({', '.join(faster)})"] if faster else []
    parts += [f"{_number(len(slower))} slower ({', '.join(slower)})"] if slower else []
    rest = len(tried) - len(faster) - len(slower)
    of_rest = f"; {rest} depend on the point or the place, or cannot be told from a tie" if rest else ""
    return f"Of {len(tried)} ideas, {' and '.join(parts)} than the dense twin wherever they were tried{of_rest}."


def _largest_gain(sure: Sequence[Told]) -> str | None:
    """The speed-up that is surely largest of all, beside what its fewer FLOP promise."""
    gains = [told for told in sure if told.against.verdict == "faster"]
    if not gains:
        return None
    best = max(gains, key=lambda told: told.against.speed_up_low or 0.0)
    ratio = best.against.work_ratio
    promise = f", of the {brief(1 / ratio)} that its FLOP promise" if ratio and 1 / ratio > 1.05 * best.speed_up else ""
    span = _span(best.against.speed_up_low, best.against.speed_up_high)
    gain = f"{brief(best.speed_up)} times the dense twin's speed{span}{promise}"
    return f"The largest gain is {best.name} in {best.place}: {gain}."


def _dearest(sure: Sequence[Told]) -> str | None:
    """Where a useful FLOP surely costs most."""
    told = _of_largest_tax(sure)
    if told is None:
        return None
    a = told.against
    return (
        f"A useful FLOP costs most in {told.name} in {told.place}: {brief(a.tax or 0.0)} times what it costs in the "
        f"dense twin{_span(a.tax_low, a.tax_high)}."
    )


def _of_largest_tax(sure: Sequence[Told]) -> Told | None:
    dear = [told for told in sure if told.against.tax_low is not None and told.against.tax_low > 1]
    return max(dear, key=lambda told: told.against.tax_low or 0.0, default=None)


_CEILINGS = {
    "matmul": "dense rate",
    "bandwidth": "bandwidth",
    "vector": "rate outside of dense products",
    "gather": "rate of gathers",
    "scatter": "rate of scatters",
    "launch": "cost of a launch",
}


def _to_blame(sure: Sequence[Told], beyond: bool) -> str | None:
    """Whose more than half of the largest tax is, as factors go: the machine's or not, by intervals that lie apart.

    `beyond`: there are ceilings beyond the dense rate and the bandwidth.
    """
    told = _of_largest_tax(sure)
    if told is None:
        return None
    a = told.against
    hardware, software = (a.hardware_tax_low, a.hardware_tax_high), (a.software_tax_low, a.software_tax_high)
    if None in hardware or None in software:
        return None
    (hard_low, hard_high), (soft_low, soft_high) = ((low or 0.0, high or inf) for low, high in (hardware, software))
    if soft_low > max(hard_high, 1):
        wasted = a.wasted or 1.0
        done = f"; computing what is not needed explains a factor of {brief(wasted)}" if wasted > 1.5 else ""
        cost = f"must cost {brief(a.hardware_tax or 1.0)} times" if hard_low > 1.05 else "need cost no more than"
        rates = "the rates measured on this machine" if beyond else "this machine's dense rate and bandwidth alone"
        others = "" if beyond else ", or of gathers and launches, whose rates were not measured here"
        return f"By {rates}, such a FLOP {cost} a dense one: more than half of that tax is software's{others}{done}."
    if hard_low > max(soft_high, 1):
        limit = _CEILINGS.get(a.bound_by or "", "dense rate")
        return f"More than half of that tax is the machine's {limit}: no software takes it away."
    return None


def _no_path(headlines: Sequence[Row], places: _Places) -> str | None:
    """Ideas of which no formulation ran in some place."""
    none = list(dict.fromkeys(f"{row.workload} in {places.of(row)}" for row in headlines if row.path is None))
    if not none:
        return None
    more = f" and {len(none) - 3} more" if len(none) > 3 else ""
    return f"No formulation ran of {', '.join(none[:3])}{more}."


def _depends_on_the_place(sure: Sequence[Told]) -> str | None:
    """The point that is surely faster in one place and surely slower in another, by the largest gap."""
    points: dict[tuple[str, ...], list[Told]] = defaultdict(list)
    for told in sure:
        points[told.row.workload, told.row.point, told.row.mode, told.row.dtype].append(told)
    found: list[tuple[float, Told, Told]] = []
    for several in points.values():
        best, worst = (pick(several, key=lambda told: told.speed_up) for pick in (max, min))
        if best.against.verdict == "faster" and worst.against.verdict == "slower":
            found.append((best.speed_up / worst.speed_up, best, worst))
    if not found:
        return None
    _, best, worst = max(found, key=lambda pair: pair[0])
    return (
        f"Who wins depends on the place: {best.name} runs at {brief(best.speed_up)} times the dense twin's speed in "
        f"{best.place} and at {brief(worst.speed_up)} times in {worst.place}."
    )


def _where_sparsity_pays(sweeps: Sequence[BreakEven], places: _Places) -> str | None:
    """Below (or above) which value of its axis an idea pays, of the sweep that crosses in most places."""
    groups: dict[tuple[str, ...], list[BreakEven]] = defaultdict(list)
    for sweep in sweeps:
        if sweep.verdict == "crosses" and None not in (sweep.value, sweep.low, sweep.high) and not sweep.unknown:
            groups[sweep.workload, sweep.point, sweep.mode, sweep.dtype, sweep.axis, str(sweep.above)].append(sweep)
    if not groups:
        return None
    (workload, *_), several = max(groups.items(), key=lambda item: len(item[1]))
    side = "above" if several[0].above else "below"
    at = [f"{brief(s.value or 0.0)} in {places.of(s)}{_span(s.low, s.high)}" for s in several[:4]]
    return f"{workload} beats its dense twin {side} {several[0].axis} {', '.join(at)}."


# -- words -------------------------------------------------------------------------------------------------------------
def brief(value: float) -> str:
    """A number for a sentence, never with an exponent below a million: 4.1, 11, 0.96, 1300."""
    return f"{float(f'{value:.2g}'):g}"


def _span(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({brief(low)} to {brief(high)})"


def _number(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"
