"""Code that seems fast, each way of it planted and refused; and honest code beside it, which is not."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from _opened import installed

from backends.discovery import backends
from backends.ops import Device
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import OTHER_INPUTS, Case
from harness.worker import recheck
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob

N = 384
FRAMEWORKS = ("torch", "jax", "tensorflow")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A function that has NumPy's server measure a formulation of the cheating workload."""
    with _measuring(tmp_path_factory.mktemp("cheats"), "numpy", N) as measure:
        yield measure


@pytest.fixture(scope="module", params=FRAMEWORKS)
def asked_of(request, tmp_path_factory):
    """The same of a framework, with a product that takes long beside what a call of the framework costs."""
    installed(request.param)
    with _measuring(tmp_path_factory.mktemp("cheats"), request.param, 2 * N) as measure:
        measure.framework = request.param
        yield measure


@contextlib.contextmanager
def _measuring(folder, backend, n):
    shutil.copy(Path(__file__).parents[1] / "helpers" / "cheating.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWLOTTERY_WORKLOADS", str(folder))
        with Server(backends()[0][backend], Device("cpu"), 1, folder / "cache") as server:
            assert server.run(_data(folder, n), 60).measured.status == "ok"

            def measure(formulation, **changes):
                params = {"n": n, "unseeded": 0}
                case = Case(
                    workload="cheating",
                    formulation=formulation,
                    params=params,
                    dtype="float32",
                    mode="forward",
                    backend=backend,
                    execution="eager",
                    device="cpu",
                )
                job = CaseJob(
                    case=case,
                    data=str(folder / "data"),
                    threads=1,
                    cache=str(folder / "cache"),
                    sampling=Sampling(window_s=0.02),
                    power=PowerModel(),
                )
                return server.run(msgspec.structs.replace(job, **changes), 60).measured

            shutil.copytree(folder / "data", folder / "dear", ignore=shutil.ignore_patterns("other"))
            measure.without_other = str(folder / "dear")
            measure.data = lambda **changes: server.run(_data(folder, n, **changes), 60).measured
            yield measure


def _data(folder, n, unseeded=0):
    return DataJob(
        workload="cheating",
        points=[({"n": n, "unseeded": unseeded}, "forward")],
        dtype="float32",
        seed=0,
        folders=[str(folder / f"data{unseeded or ''}")],
        threads=1,
    )


def test_honest_code_passes_and_the_record_says_that_it_was_held_to_other_inputs(asked):
    measured = asked("honest")
    assert (measured.status, measured.reason) == ("ok", None)
    assert measured.settings[OTHER_INPUTS] == "agree"


def test_later_processes_of_a_case_are_not_looked_at_again(asked):
    measured = asked("honest", recheck=False)
    assert measured.status == "ok"
    assert OTHER_INPUTS not in measured.settings


CHEATS = {
    "by_identity": ("error", "keeps results of earlier calls"),
    "by_content": ("error", "keeps results of earlier calls"),
    "first_answer": ("wrong", "right with the first inputs, wrong with others after the clock: y is off by"),
    "lazy": ("wrong", "wrong with others after the clock"),
    "works_on": ("error", "its threads work on 0.5 s after the last call has returned"),
    "other_clock": ("error", "time.perf_counter is not Python's own"),
    "harness_clock": ("error", "harness.measuring.clock.perf_counter is not Python's own"),
    "half_precision": ("wrong", "y is off by"),
    "reads_the_answer": ("wrong", "wrong with others after the clock"),
    "drifts": ("error", "the step changes its operands"),
    "tires": ("wrong", "wrong with others after the clock"),
    "knows_them": ("error", "it fails with other inputs of the same shapes: ValueError: never seen"),
}


TRIED = {
    "by_identity": "results kept by the identity of the operands",
    "by_content": "results kept by the content of the operands",
    "first_answer": "the first result given again for ever",
    "lazy": "outputs that a thread fills in after the call",
    "works_on": "threads that work on after the call",
    "other_clock": "time.perf_counter replaced by one that runs slow",
    "harness_clock": "the harness's own clock replaced",
    "half_precision": "half precision in a case of float32",
    "reads_the_answer": "the answer read from the reference's file",
    "drifts": "operands changed in place by less than any tolerance",
    "tires": "outputs that are right only while they are looked at",
    "knows_them": "a step that works for no inputs but the case's own",
}


@pytest.mark.parametrize(
    ("formulation", "said"),
    [pytest.param(name, said, marks=pytest.mark.fault(TRIED[name], "cheats")) for name, said in CHEATS.items()],
    ids=CHEATS,
)
def test_a_cheat_is_refused_and_has_no_time(asked, formulation, said):
    measured = asked(formulation)
    assert measured.status == said[0], measured.reason
    assert said[1] in measured.reason
    assert measured.trial is None
    assert measured.samples_s == []


WRITING = {"lazy", "drifts"}  # into arrays, which JAX and TensorFlow let nobody do


@pytest.mark.parametrize(
    ("formulation", "said"),
    [pytest.param(name, said, marks=pytest.mark.fault(TRIED[name], "cheats")) for name, said in CHEATS.items()],
    ids=CHEATS,
)
def test_a_cheat_is_refused_whatever_the_framework(asked_of, formulation, said):
    if formulation in WRITING and asked_of.framework != "torch":
        pytest.skip("nobody can write into its arrays")
    measured = asked_of(formulation)
    assert measured.status == said[0], measured.reason
    assert said[1] in measured.reason
    assert measured.samples_s == []


def test_honest_code_of_a_framework_passes(asked_of):
    measured = asked_of("honest")
    assert (measured.status, measured.settings[OTHER_INPUTS]) == ("ok", "agree"), measured.reason


DEAR = {
    "first_answer": ("wrong", "after the clock the answer to other inputs is the answer to the first ones"),
    "reads_the_answer": ("wrong", "after the clock the answer to other inputs is the answer to the first ones"),
    "tires": ("wrong", "right at first, wrong after the clock: y is off by 0.1"),
    "lazy": ("error", "its outputs change after they were said to be ready"),
}


@pytest.mark.parametrize(
    ("formulation", "said"),
    [
        pytest.param(name, said, marks=pytest.mark.fault(f"{TRIED[name]}, the reference of others too dear", "cheats"))
        for name, said in DEAR.items()
    ],
    ids=DEAR,
)
def test_a_cheat_is_refused_where_the_reference_of_other_inputs_takes_too_long(asked, formulation, said):
    measured = asked(formulation, data=asked.without_other)
    assert measured.status == said[0], measured.reason
    assert said[1] in measured.reason


def test_honest_code_passes_without_a_reference_of_other_inputs(asked):
    assert asked("honest", data=asked.without_other).settings[OTHER_INPUTS] == "differ"


def test_the_clock_is_looked_at_in_every_process(asked):
    assert asked("other_clock", recheck=False).status == "error"


def test_a_clock_that_was_replaced_does_not_change_what_the_window_shows(monkeypatch):
    """What reads it was bound before: the calls of 2 ms take 2 ms."""
    from harness.measuring.clock import Timed, sample

    real, pause = time.perf_counter, time.sleep
    monkeypatch.setattr(time, "perf_counter", lambda: real() / 100)
    window = sample(Timed(lambda: pause(2e-3) or (), (), lambda _: None), Sampling(window_s=0.02))
    assert min(window.samples_s) >= 2e-3
    assert "time.perf_counter" in recheck.replaced_clock()


@pytest.mark.fault("a time of day that jumps", "workers")
def test_the_time_of_day_may_jump_while_a_case_is_measured(monkeypatch):
    """Nothing that is measured reads it."""
    from harness.measuring.clock import Timed, sample

    monkeypatch.setattr(time, "time", lambda: (_ for _ in ()).throw(AssertionError("the time of day was read")))
    window = sample(Timed(lambda: (), (), lambda _: None), Sampling(window_s=0.01))
    assert window.window_s < 1
    assert recheck.replaced_clock() is None


@pytest.mark.fault("inputs that the seed does not decide", "cheats")
def test_inputs_that_the_seed_does_not_decide_are_refused_before_anything_is_measured(asked):
    measured = asked.data(unseeded=1)
    assert measured.status == "error"
    assert "input x of cheating differs between two calls with one seed" in measured.reason
    assert measured.reason.startswith("cheating.py:")
