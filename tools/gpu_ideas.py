"""What tools/gpu_run.py measures and says of it: the ideas in the order in which they tell most, how long each takes.

Imports the harness, so that it is imported when what is missing on the machine has been unpacked.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from backends.discovery import backends as find_backends
from harness.errors import UserError
from harness.figures.summary import Row, summarise
from harness.planning import plan
from harness.planning.foresight import Ignorance
from harness.planning.looks import firsts
from harness.planning.plan import Ask, Planned
from harness.planning.reasons import LATE
from harness.records import store
from harness.records.record import FAILED, Record
from harness.report.wording import quantity, spread
from workloads.discovery import workloads as find_workloads

# Those of which a GPU's software has most to say come first; what is not named here follows.
ORDER = (
    *("unstructured_sparse", "block_sparse", "capsule_conv", "capsule_routing", "local_update", "forward_forward"),
    *("nm_sparse", "quantized_matmul"),  # for which GPUs have units of their own
)
# Of which it is told what ran: one name stands for several libraries and kernels.
NAMED = re.compile("csr|csc|bsr|coo|bag|dense|cusparselt|cutlass|int8|packed|float8")
UNKNOWN_S = 5.0  # of a process, until some have been measured
FIRST_ROUNDS, ROUNDS = 2, 3  # as many as `--rounds 3` has before the looks, and in all
SPARE = 1.3  # what is expected, and as much more as an idea may take
MOST_SAID = 6  # reasons of one kind
_LONGEST = 200  # characters of a reason

Seconds = Mapping[tuple[str, str], float]  # of a process, by backend and execution


@dataclass(frozen=True, slots=True)
class Step:
    """One idea in one preset with its twins and ceilings: how many cases, and about how many seconds.

    `first_s` until each of its headline points has been measured FIRST_ROUNDS times beside its twin.
    """

    preset: str
    idea: str
    cases: int
    first_s: float
    whole_s: float

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.preset}-{self.idea}"


def steps(presets: Sequence[str], backends: Sequence[str], device: str, seconds: Seconds) -> Iterator[Step]:
    """Every idea of the presets, the presets in their order and the ideas in ours."""
    found = find_workloads()[0]
    ideas = [name for name, workload in found.items() if workload.role == "idea"]
    ideas.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    for preset in presets:
        for idea in ideas:
            if preset in found[idea].presets:
                yield sized(preset, idea, backends, device, seconds)


def sized(preset: str, idea: str, backends: Sequence[str], device: str, seconds: Seconds) -> Step:
    """A step by the seconds that a process took so far."""
    ask = Ask(preset=preset, workloads=(idea,), backends=tuple(backends), devices=(device,))
    cases = plan.cases(ask, find_workloads()[0], find_backends()[0])

    def taken(of: Sequence[Planned]) -> float:
        usual = median(seconds.values()) if seconds else UNKNOWN_S
        return sum(seconds.get((planned.case.backend, planned.case.execution), usual) for planned in of)

    first = firsts(cases, Ignorance())
    once = [planned for planned in cases if planned.survey or planned in first]
    best = {planned.point: planned for planned in cases if planned.repeated}
    whole_s = taken(once) + FIRST_ROUNDS * taken(first) + ROUNDS * taken(list(best.values()))
    return Step(preset, idea, len(cases), FIRST_ROUNDS * taken(first), whole_s)


def seconds_of(folders: Sequence[Path]) -> dict[tuple[str, str], float]:
    """Seconds of a process in what was measured so far: the median of each backend and execution."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records_of(folders):
        if record.time is not None:
            key = (record.case.backend, record.case.execution)
            taken[key] += [trial.wall_s for trial in record.time.trials]
    return {key: median(values) for key, values in taken.items()}


def records_of(folders: Sequence[Path]) -> list[Record]:
    """All records of folders that can be read; what was stopped early may have none."""
    found: list[Record] = []
    for folder in folders:
        try:
            found += store.load(folder).records
        except (OSError, UserError):
            continue
    return found


def unfinished(folder: Path) -> bool:
    """Whether a run that began there was stopped, or came to the end of its time with cases left."""
    try:
        info = store.info_of(folder)
    except (OSError, UserError):
        return False
    return info.ended_at is None or (folder / ".learnt").is_dir() or LATE in info.left_out


# -- one line a finding -----------------------------------------------------------------------------------------------


def findings(records: Sequence[Record]) -> Iterator[str]:
    """What the records of an idea say: each headline row, failures, fallbacks, CUDA graphs and kernels by name."""
    outcomes = Counter(record.status for record in records)
    yield f"{len(records)} cases: {', '.join(f'{count} {status}' for status, count in outcomes.most_common())}"
    summary = summarise(records)
    yield "A/A noise unknown" if summary.noise is None else f"A/A noise {summary.noise:.1%}"
    yield from map(_row, (row for row in summary.rows if row.headline))
    yield from _reasons("failed", [r for r in records if r.status in FAILED])
    yield from _reasons("unsupported", [r for r in records if r.status == "unsupported"])
    seen = Counter(f"{r.case.backend} {r.case.execution}: {_short(r.fallback)}" for r in records if r.fallback)
    yield from (f"fallback {count}×: {words}" for words, count in seen.most_common(MOST_SAID))
    capture = Counter(str(r.settings["graph_capture"])[:60] for r in records if "graph_capture" in r.settings)
    if capture:
        yield f"CUDA graphs: {', '.join(f'{words} {count}×' for words, count in capture.most_common(MOST_SAID))}"
    for name in dict.fromkeys(_kernels(records)):
        yield f"kernels of {name}"


def _row(row: Row) -> str:
    where = f"{row.workload} {row.label} {row.mode}, {row.backend} on {row.device}"
    if row.time_s is None:
        return f"{where}: {row.outcome}: {_short(row.reason)}"
    time = quantity(row.time_s, "s", *spread(row.time_low_s, row.time_high_s, row.processes))
    against = row.principal
    if against is None or against.speed_up is None:
        return f"{where}: {row.path} {time}, and no twin to hold it against"
    tax = "" if against.tax is None else f", tax {against.tax:.3g}"
    return (
        f"{where}: {row.path} {time}; dense {against.twin_path} {quantity(against.twin_time_s, 's')}: speed-up "
        f"{against.speed_up:.3g}{tax}, {against.verdict or 'no verdict'} by {against.rounds} groups"
    )


def _reasons(what: str, records: Sequence[Record]) -> Iterator[str]:
    """Each reason once, with how often it came and a case of it."""
    cases: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        cases[f"{record.case.backend}: {record.status}: {_short(record.reason)}"].append(record)
    most = sorted(cases.items(), key=lambda entry: -len(entry[1]))
    for words, of in most[:MOST_SAID]:
        yield f"{what} {len(of)}× {words} (such as {of[0].case})"
    if most[MOST_SAID:]:
        yield f"{what} {sum(len(of) for _, of in most[MOST_SAID:])}× for {len(most) - MOST_SAID} more reasons"


def _kernels(records: Sequence[Record]) -> Iterator[str]:
    """What ran under the name of a sparse format, of a product of few bits, and of the dense twin."""
    for record in records:
        names = record.settings.get("kernels")
        if names and NAMED.search(record.case.formulation):
            yield f"{record.case.formulation}, {record.case.backend} {record.case.execution}: {_short(str(names))}"


def _short(words: str | None) -> str:
    text = " ".join((words or "no words").split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
