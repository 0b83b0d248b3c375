"""What a long run costs its parent: memory over 10 000 cases, bytes of the store, seconds to go on with 100 000.

`tox run -e perf`. The figures to hold: memory that does not grow but by the records themselves, a store that is linear,
and 5 s before the first missing case of a run of 100 000 records is asked for. The processes are made up: nothing is
measured but the parent.
"""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import msgspec
import psutil
from _stored import RUN, record

from harness.measuring.settings import PowerModel, Sampling
from harness.planning.groups import InterleavedGroup, Member
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.records.record import WorkFacts
from harness.records.store import RECORDS, Store
from harness.running.session import Session
from harness.worker.client import Answer
from harness.worker.messages import Measured
from tools import perf_tables
from tools.perf_tables import Column, Table

CASES, SIZE, ROUNDS = 10_000, 4, 10
BATCH_GROUPS = 5
SAMPLES = [0.001 + 1e-6 * n for n in range(60)]


def made_up(number):
    case = msgspec.structs.replace(record("a").case, params={"n": number})
    work = WorkFacts(useful_flop=1, least_bytes=1, live_bytes=1)
    return Planned(
        case=case, work=work, twins=(), headline=True, repeated=True, survey=True, group="g", multiplies_zeros=False
    )


def a_session(folder, plan, *, resume=False):
    quiet = SimpleNamespace(**dict.fromkeys(("begin", "now", "done", "say", "left"), lambda *_: None))
    options = Options(
        rounds=ROUNDS, long_rounds=ROUNDS, timeout_s=1, threads=1, sampling=Sampling(), power=PowerModel(),
        cache=folder / "cache", seed=0,
    )  # fmt: skip
    store = Store(folder, RUN, resume=resume, planned={planned.case.key for planned in plan})
    session = Session(plan, {}, options, store, quiet)
    session.expected_s = lambda group, sampling: 0.0
    session.pool.measure = lambda groups, job, seed: [[answer() for _ in group.members] for group in groups]
    return session


def answer():
    trial = msgspec.structs.replace(record("a").time.trials[0], warmup_s=SAMPLES[:5], slices=[4] * 15)
    return Answer(Measured(status="ok", trial=trial, samples_s=list(SAMPLES), settings={"threads": 1}), 0.0)


def groups_of(plan):
    members = [Member(planned) for planned in plan]
    return [InterleavedGroup(n, tuple(members[at : at + SIZE])) for n, at in enumerate(range(0, len(members), SIZE))]


def run(session, groups, rounds):
    for round_ in rounds:
        for at in range(0, len(groups), BATCH_GROUPS):
            session.measure(groups[at : at + BATCH_GROUPS], lambda _: Sampling(), round_)


def resident():
    return psutil.Process().memory_info().rss


def test_the_parent_of_a_long_run(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # of the disk, not of us
    plan = [made_up(number) for number in range(CASES)]
    groups, rows = groups_of(plan), []
    session = a_session(tmp_path / "run", plan)
    for part in range(4):  # one round, a quarter of the cases at a time
        before, began = resident(), time.perf_counter()
        share = groups[part * len(groups) // 4 : (part + 1) * len(groups) // 4]
        run(session, share, [1])
        took = time.perf_counter() - began
        size = (tmp_path / "run" / RECORDS).stat().st_size
        cases = (part + 1) * CASES // 4
        kib, ms = (resident() - before) / 1024 / (CASES / 4), 1000 * took / (CASES / 4)
        rows.append({"what": f"to case {cases}", "kib": kib, "ms": ms, "bytes": size / cases})
    run(session, groups, range(2, ROUNDS + 1))
    session.store._lock.release(remove=True)  # as a killed process leaves it: nothing merged
    del session
    began, worked = time.perf_counter(), time.process_time()
    again = a_session(tmp_path / "run", plan, resume=True)
    opened = time.perf_counter() - began
    again.pool.measure = lambda *_: (_ for _ in ()).throw(AssertionError("it was measured twice"))
    run(again, groups, range(1, ROUNDS + 1))
    gone, busy = time.perf_counter() - began, time.process_time() - worked
    again.store._lock.release(remove=True)
    columns = [
        Column(key="what", head="a run of made-up processes"),
        Column(key="kib", head="memory a case, KiB", format=".2f"),
        Column(key="ms", head="time a case, ms", format=".3f"),
        Column(key="bytes", head="bytes a case", format=".0f"),
    ]
    perf_tables.report("long", Table(title="The parent of a long run", columns=columns, rows=rows))
    facts = {"records gone on with": CASES * ROUNDS, "read, s": opened, "until the first missing case, s": gone}
    facts["of these of the processor, s"] = busy  # a machine that is busy beside adds to the others
    perf_tables.store("long", facts=facts)
    print(facts)
