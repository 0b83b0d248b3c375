"""Executed work of a run's cases: counted once a point, and what ends a process costs its own count alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.records.record import Case, Executed
from harness.running.executed import ExecutedCounts
from harness.worker.client import Answer
from harness.worker.messages import Counted, Measured

WORK = Executed(matmul_flop=8, other_flop=0, bytes=9, gathered_rows=0, scattered_rows=0, launches=1)


def case(formulation="nn", **changes):
    fields = {
        "workload": "misbehaving",
        "formulation": formulation,
        "params": {"n": 16},
        "dtype": "float32",
        "mode": "forward",
        "backend": "torch",
        "execution": "eager",
        "device": "cpu",
    }
    return Case(**{**fields, **changes})


class Fake:
    """A server of which each process ends that counts one of `bad`."""

    def __init__(self, *bad):
        self.bad, self.jobs = bad, []

    def each(self, jobs, timeout_s, abreast):
        self.jobs += [[case.formulation for case in job.cases] for job in jobs]
        return [Answer(self.measured(job), 0.0) for job in jobs]

    def measured(self, job):
        bad = [case.formulation for case in job.cases if case.formulation in self.bad]
        if bad:
            return Measured(status="crash", reason=f"killed by SIGSEGV while counting {bad[0]}")
        counted = Counted(work={"eager": WORK, "compiled": WORK})
        return Measured(status="ok", counted=[counted] * len(job.cases))


def test_a_point_is_counted_once_for_every_backend_and_execution(tmp_path):
    counts, fake = ExecutedCounts(60), Fake()
    cases = [case(backend=backend, execution=how) for backend in ("torch", "jax") for how in ("eager", "compiled")]
    for _ in range(2):
        counts.count(fake, [(one, tmp_path) for one in cases], 2)
    assert fake.jobs == [["nn"]]
    assert [counts.of(one) for one in cases] == [WORK] * 4
    assert counts.of(case(params={"n": 3})) is None


def test_what_ends_its_process_loses_its_own_count_and_is_not_tried_again(tmp_path):
    counts, fake = ExecutedCounts(60), Fake("bad")
    counts.count(fake, [(case(name), tmp_path) for name in ("nn", "bad", "nt")], 2)
    counts.count(fake, [(case("bad", params={"n": 3}), tmp_path)], 2)
    assert fake.jobs == [["nn", "bad", "nt"], ["nn"], ["bad"], ["nt"]]
    assert [counts.of(case(name)) for name in ("nn", "bad", "nt")] == [WORK, None, WORK]
    assert counts.notes == [
        "the executed work of misbehaving/bad forward is not known: killed by SIGSEGV while counting bad"
    ]


def test_a_reason_is_noted_once_for_all_points(tmp_path):
    counts = ExecutedCounts(60)
    answer = Answer(Measured(status="ok", counted=[Counted(reason="not in Ops"), Counted(reason="nor this")]), 0.0)
    cases = [(case(params={"n": n}), tmp_path) for n in (1, 2)]
    counts.count(SimpleNamespace(each=lambda *_: [answer]), cases, 2)
    assert counts.notes == ["the executed work of misbehaving/nn forward is not known: not in Ops"]


def test_once_given_up_nothing_more_is_counted(tmp_path):
    counts, fake = ExecutedCounts(60), Fake()
    counts.give_up("the server died")
    counts.count(fake, [(case(), tmp_path)], 2)
    assert fake.jobs == []
    assert counts.notes == ["the executed work of cases was not counted any more: the server died"]


@pytest.mark.fault(
    "a formulation that dies, hangs, exits, prints or allocates without end while it is counted", "workers"
)
def test_formulations_that_misbehave_are_told_and_the_others_are_counted(server, place):
    told = {
        "segfault": "killed by SIGSEGV while counting misbehaving/segfault forward",
        "aborter": "killed by SIGABRT",
        "gil_holder": "not done after 3 s",
        "sleeper": "not done after 3 s",
        "greedy": "Unable to allocate",
        "exiter": "SystemExit: 3",
        "leaver": "exited with code 7",
        "quiet_leaver": "exited with code 0",
        "raiser": "ValueError: this computation is ill-posed",
        "refuser": "this framework has no operation named frobnicate",
    }
    counts = ExecutedCounts(3.0)
    counts.count(server, [(case(name), place / "data") for name in (*told, "talker", "good")], 2)
    for name, why in told.items():
        assert counts.of(case(name)) is None
        begin = f"the executed work of misbehaving/{name} forward is not known: "
        (note,) = [note for note in counts.notes if note.startswith(begin)]
        assert why in note
    for name in ("good", "talker"):
        assert counts.of(case(name)).other_flop == 16
    assert len(counts.notes) == len(told)
