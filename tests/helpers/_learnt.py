"""Made-up runs of one workload in which every time is chosen by the test, and what is learnt from them."""

from __future__ import annotations

from _records import SHAPE, record

from harness.planning.contenders import Contenders
from harness.planning.learning import learn
from harness.planning.plan import Planned
from harness.records.record import WorkFacts
from harness.records.store import Run, RunInfo

HOST = {"cpu": "Chip A", "architecture": "x86_64", "cores_usable": 2}
OTHER = {**HOST, "cpu": "Chip B"}
VERSIONS = {"torch": "2.0", "hwlottery": "1"}


def seen(formulation, seconds=None, **facts):
    """A record of one process that ran alone, or of several in groups where there are more times than one."""
    times = None if seconds is None else list(seconds) if isinstance(seconds, tuple) else [seconds]
    rounds = {"rounds": list(range(len(times)))} if times else {}
    status = "ok" if times else "unsupported"
    return record(formulation=formulation, processes=times, **{"backend": "torch", "status": status, **rounds, **facts})


def run_of(*records, machine=HOST, versions=VERSIONS, phases=None):
    info = RunInfo(
        schema=1,
        run="r1",
        started_at="",
        ended_at=None,
        command=[],
        machine=machine,
        versions=versions,
        settings={},
        phases_s=phases or {},
    )
    return Run(None, info, list(records), [])


def planned(formulation, params=SHAPE, survey=True, **facts):
    case = seen(formulation, 1.0, params=params, **facts).case
    work = WorkFacts(useful_flop=1, least_bytes=1, live_bytes=1)
    return Planned(case=case, work=work, twins=(), headline=True, repeated=True, survey=survey, group="g")


def knowing(*records, versions=VERSIONS, own=(), **facts):
    return Contenders(learn(run_of(*records, **facts)), versions, own)
