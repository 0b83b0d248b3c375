"""Is what is left out really not worth trying? One machine held out: learnt from the others, held against its own run.

    pytest tests/benchmarks/bench_contenders.py -s

Nothing is measured: the stored runs in `results/` that tried every path of their preset are what a run without
knowledge finds. A run that leaves out what the other machines taught is played on their records: survey, what comes
back, sweep. A row is a point of a workload in one backend; its loss is the time of the best path that was tried over
that of the best which the same run finds when it tries all. A row in which something would have been tried that the
stored run did not measure is not judged. Where all runs are of one machine, one run at a time is held out, which says
less. Beside it stand the losses of a run that knows itself, and what is left of its survey, cold, by what was learnt.

A second table holds the forecast of every stored run against what it took: as it was planned, with its compile caches
as warm as its records say, by what the other runs teach and by what it teaches itself.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from backends.discovery import backends
from harness.cli import run_command
from harness.measuring.settings import PowerModel
from harness.planning import plan, selection
from harness.planning import request as requests
from harness.planning.contenders import Choice, Contenders, to_retry
from harness.planning.durations import Durations
from harness.planning.forecast import cold_share, forecast, within_limits
from harness.planning.foresight import Experience
from harness.planning.learning import learn, point_times
from harness.planning.learnt import Learnt, machine_name, merged
from harness.planning.options import COMPILING_S, WINDOWS, Options
from harness.planning.plan import Planned
from harness.planning.reasons import FACTOR, REFUSED
from harness.planning.request import TIMEOUT_S
from harness.records.record import Case, Record
from harness.records.store import INFO, Run, load
from tools import perf_tables
from tools.perf_tables import Column, Table
from workloads.discovery import workloads

ROOT = Path(__file__).resolve().parents[2]
WHOLE = 0.95  # of a plan's survey that a run must have tried, to be one that left nothing out
WITHIN = 1.02
WITHIN_FORECAST = 0.25  # of what a run takes
FACTORS = (FACTOR, 2.5, 2.0, 1.5)
SEEDS = range(5)  # of what is tried all the same
COLUMNS = [
    Column(key="held", head="held out"),
    Column(key="learnt", head="learnt from"),
    Column(key="factor", head="left out from", format=".1f"),
    Column(key="survey", head="survey", format="d"),
    Column(key="left_out", head="left out", format=".0f"),
    Column(key="refused", head="of them refused", format=".0f"),
    Column(key="rows", head="rows", format=".0f"),
    Column(key="within", head="within 2 %", format=".1%"),
    Column(key="worst", head="worst", format=".3f"),
    Column(key="processes", head="processes by backend"),
    Column(key="all_s", head="survey, s", format=".0f"),
    Column(key="left_s", head="left of it, s", format=".0f"),
]


@dataclass(frozen=True)
class Stored:
    """A stored run that tried everything: its plan, as far as there are records, and its records by key."""

    name: str
    run: Run
    plan: list[Planned]
    records: dict[str, Record]

    @property
    def machine(self) -> str:
        return machine_name(self.run.info.machine)


@cache
def learnt_from(folder: Path) -> Learnt:
    return learn(load(folder))


def plan_of(run: Run) -> list[Planned]:
    """The plan of a run of a preset by its command line, of the frameworks that ran; empty where it was none of one."""
    cases = [r.case for r in run.records if not r.control]
    if not cases or run.info.settings.get("preset") not in plan.PRESETS:
        return []
    known = {c.workload for c in cases}
    wanted = run_command.request(run_command.run.make_context("run", run.info.command[2:]).params)
    ask = requests.ask(wanted, workloads()[0], sorted({c.backend for c in cases}))
    return [p for p in plan.cases(ask, workloads()[0], backends()[0]) if p.case.workload in known]


def stored() -> list[Stored]:
    """The runs in results/ that left nothing out, of devices on which something ran."""
    found = []
    for run in runs():
        records = {r.case.key: r for r in run.records if not r.control and r.estimate is None}
        planned = plan_of(run) if records else []
        tried = [p for p in planned if not p.survey or p.case.key in records]
        survey = sum(p.survey for p in planned)
        if survey and sum(p.survey for p in tried) >= WHOLE * survey:
            found.append(Stored(run.path.name, run, tried, records))
    return found


def runs() -> list[Run]:
    """The stored runs, and those of the folders in FORECAST_RUNS, separated as those of PATH are."""
    more = [Path(name) for name in os.environ.get("FORECAST_RUNS", "").split(os.pathsep) if name]
    folders = [folder for folder in sorted((ROOT / "results").iterdir()) if (folder / INFO).exists()]
    return [load(folder) for folder in (*folders, *more)]


def tried(run: Stored, choice: Choice) -> Collection[str]:
    """The keys of the cases that a run with this choice tries, played on the records of one that tried all."""
    survey = [p for p in run.plan if p.survey and p.case.key not in choice.left_out]
    seen = {p.case.key: run.records[p.case.key] for p in survey}
    back = {p.case.key for p in to_retry([p for p in run.plan if p.survey], choice, seen)}
    seen |= {key: run.records[key] for key in back}
    kept = [p for p in run.plan if p.case.key not in choice.left_out or p.case.key in back]
    return {*seen, *(p.case.key for p in selection.sweep(kept, seen)[0])}


def losses(run: Stored, keys: Collection[str], every: Collection[str]) -> list[float]:
    """By row, the best time of what was tried over that of `every` path tried; infinite where nothing of it ran."""
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in run.plan:
        points[planned.point].append(planned)
    out = []
    for at_point in points.values():
        wanted = [p.case.key for p in at_point if p.case.key in keys or p.case.key in every]
        if any(key not in run.records for key in wanted):
            continue
        times = point_times(run.records[key] for key in wanted)
        best = min((time for key, time in times.items() if key in every), default=None)
        if best is not None:
            out.append(min((time for key, time in times.items() if key in keys), default=float("inf")) / best)
    return out


def row(run: Stored, others: Sequence[Stored], factor: float) -> dict[str, perf_tables.Cell]:
    """One row of the table: the mean over the seeds, of the worst loss the worst."""
    learnt = merged(*(learnt_from(other.run.path) for other in others))
    contenders = Contenders(learnt, run.run.info.versions, [run.machine])
    durations = Durations(contenders)
    choices = [contenders.choose(run.plan, seed, factor) for seed in SEEDS]
    every = tried(run, Choice({}, {}))
    ratios = [loss for choice in choices for loss in losses(run, tried(run, choice), every)]
    survey = [p for p in run.plan if p.survey]
    left = [{p.case.key: c.left_out[p.case.key] for p in survey if p.case.key in c.left_out} for c in choices]
    seconds = {p.case.key: durations.seconds(p, cold=True) for p in survey}
    kept = [p for p in survey if p.case.key not in left[0]]
    by = {b: [seconds[p.case.key] for p in kept if p.case.backend == b] for b in sorted({p.case.backend for p in kept})}
    return {
        "held": run.name,
        "learnt": ", ".join(other.name for other in others),
        "factor": factor,
        "survey": len(survey),
        "left_out": sum(map(len, left)) / len(left),
        "refused": sum(why.startswith(REFUSED) for each in left for why in each.values()) / len(left),
        "rows": len(ratios) / len(choices),
        "within": sum(ratio <= WITHIN for ratio in ratios) / len(ratios),
        "worst": max(ratios),
        "processes": ", ".join(f"{backend} {len(times)} in {sum(times):.0f} s" for backend, times in by.items()),
        "all_s": sum(seconds.values()),
        "left_s": sum(map(sum, by.values())),
    }


def test_what_is_left_out_is_not_missed():
    whole = stored()
    assert whole, "no stored run left nothing out"
    several = len({run.machine for run in whole}) > 1
    rows = []
    for factor in FACTORS:
        for run in whole:
            others = [other for other in whole if (other.machine != run.machine if several else other is not run)]
            rows += [row(run, of, factor) for of in (others, [run], whole) if of]
    held = "one machine held out" if several else "one run held out, all of one machine"
    perf_tables.report("contenders", Table(title="What leaving out loses", about=held, columns=COLUMNS, rows=rows))


# -- how long a run takes ----------------------------------------------------------------------------------------------

FORECAST_COLUMNS = [
    Column(key="run", head="run"),
    Column(key="cases", head="cases", format="d"),
    Column(key="cold", head="cold first calls", format=".0%"),
    Column(key="took_s", head="took, s", format=".0f"),
    Column(key="others_s", head="forecast by others, s", format=".0f"),
    Column(key="own_s", head="by itself, s", format=".0f"),
    Column(key="off", head="off", format="+.0%"),
    Column(key="steps", head="steps by itself, without limits, s"),
]


def cut_short(run: Run) -> bool:
    """Whether it did not go to its end, or in several parts."""
    return any(note.startswith(("interrupted in", "went on at", "the budget ended")) for note in run.info.notes)


def warm(run: Run) -> set[str]:
    """The cases that were compiled before the run, by its records."""
    firsts = {
        r.case.key: min(r.time.trials, key=lambda trial: trial.started_at)
        for r in run.records
        if r.time is not None and not r.control
    }
    return {key for key, trial in firsts.items() if trial.compile_cache != "cold"}


def forecast_of(run: Run, planned: Sequence[Planned], learnt: Learnt) -> tuple[dict[str, float], float]:
    """Seconds of each step of a run as it was planned, by what was learnt, and of all within the time of its preset."""
    settings, compiled = run.info.settings, warm(run)
    left_out = {case for cases in run.info.left_out.values() for case in cases}
    knowing = Contenders(learnt, run.info.versions, [machine_name(run.info.machine)])
    foresight = Experience(knowing, Choice({p.case.key: "" for p in planned if str(p.case) in left_out}, {}))
    options = Options(
        rounds=int(settings["rounds"] or 0),
        long_rounds=int(settings["long_rounds"] or 0),
        timeout_s=TIMEOUT_S,
        threads=int(settings["threads"] or 1),
        sampling=WINDOWS[str(settings["preset"])],
        power=PowerModel(),
        cache=Path(),
        seed=int(settings["seed"] or 0),
        memory_bytes=settings["memory_limit_bytes"],
        enough_s=settings["enough_s"],
        compiling_s=COMPILING_S.get(str(settings["preset"]), 0.0),
        ends_s=settings["ends_s"],
    )

    def known(case: Case) -> bool:
        return case.key in compiled

    tried_ = foresight.tried(planned)
    steps = forecast(tried_, foresight, options, known)
    return steps, within_limits(sum(steps.values()), options, cold=cold_share(tried_, foresight, known))


def test_a_run_takes_what_is_forecast():
    whole = [run for run in runs() if "preparing_s" in run.info.phases_s and run.info.wall_s and not cut_short(run)]
    if not whole:
        pytest.skip("no stored run tells how long its processes took to prepare; name folders in FORECAST_RUNS")
    rows = []
    for run in whole:
        planned, compiled = plan_of(run), warm(run)
        own, own_s = forecast_of(run, planned, learn(run))
        others = merged(*(learn(other) for other in runs() if other.path != run.path))
        ran = [r for r in run.records if r.case.execution == "compiled" and r.time is not None and not r.control]
        rows.append(
            {
                "run": run.path.name,
                "cases": len(run.records),
                "cold": sum(r.case.key not in compiled for r in ran) / max(1, len(ran)),
                "took_s": run.info.wall_s,
                "others_s": forecast_of(run, planned, others)[1],
                "own_s": own_s,
                "off": own_s / run.info.wall_s - 1,
                "steps": ", ".join(f"{step} {seconds:.0f}" for step, seconds in own.items()),
            }
        )
    title = "How long runs are expected to take"
    perf_tables.report("forecast", Table(title=title, about="forecasts", columns=FORECAST_COLUMNS, rows=rows))
    assert all(abs(row["off"]) <= WITHIN_FORECAST for row in rows)


def test_a_loss_is_seen():
    """Where the best path of every row is left out, no row is within two percent."""
    run = stored()[0]
    best = set()
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in run.plan:
        points[planned.point].append(planned)
    for at_point in points.values():
        times = point_times(run.records[p.case.key] for p in at_point if p.case.key in run.records)
        best |= {min(times, key=lambda key: times[key])} if times else set()
    assert all(loss == 1.0 for loss in losses(run, best, best))
    assert all(loss > 1.0 for loss in losses(run, set(run.records) - best, set(run.records)))
