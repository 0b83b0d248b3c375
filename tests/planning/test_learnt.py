"""What several runs teach together, how long cases take by it, and the files that keep it."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import pytest
from _learnt import HOST, OTHER, VERSIONS, knowing, planned, run_of, seen
from _records import trial

from harness.planning import contenders as contenders_module
from harness.planning import learnt as learnt_module
from harness.planning.contenders import Contenders, contenders
from harness.planning.durations import Durations, RunCosts
from harness.planning.learning import learn
from harness.planning.learnt import (
    REFUSAL_S,
    Learnt,
    known,
    machine_name,
    merged,
    packaged,
    remember,
    usual_inputs_s,
)
from harness.records.record import Estimate
from tools import contenders as tool

# -- several runs ------------------------------------------------------------------------------------------------------


def test_of_one_machine_a_slow_hour_makes_no_path_slow():
    """In the second run, of fewer paths, everything took half as long: gather keeps its 2.5 times."""
    first = learn(run_of(seen("csr", 2.0), seen("coo", 2.2), seen("gather", 5.0)))
    second = learn(run_of(seen("csr", 1.0), seen("coo", 1.1)))
    both = Contenders(merged(first, second), VERSIONS)
    assert both.expected(planned("gather")) == pytest.approx(2.5)
    assert len(both.lookup.machines) == 1


def test_the_luck_of_one_run_does_not_choose_a_path_for_all_that_follow():
    """Two percent and ten percent slower: between them; what is three times slower was disturbed."""
    runs = [learn(run_of(seen("csr", 1.0), seen("coo", seconds))) for seconds in (1.02, 1.1, 3.0)]
    assert Contenders(merged(*runs[:2]), VERSIONS).expected(planned("coo")) == pytest.approx(1.06, abs=0.01)
    assert Contenders(merged(*runs), VERSIONS).expected(planned("coo")) == pytest.approx(1.06, abs=0.01)


def test_processors_of_one_name_are_told_apart_by_their_id():
    """One has wide vectors and the other none: what was best on either says little of the other."""
    machines = [{**HOST, "cpu_id": f"Maker 25 {model}, instructions {model}f"} for model in (1, 17)]
    runs = [
        learn(run_of(seen("csr", 1.0), seen("coo", s), machine=m)) for s, m in zip((0.5, 2.0), machines, strict=True)
    ]
    for machine, expected in zip(machines, (1.0, 2.0), strict=True):
        assert Contenders(merged(*runs), VERSIONS, [machine_name(machine)]).expected(planned("coo")) == expected


def test_refusals_of_two_versions_are_kept_apart():
    old = learn(run_of(seen("csr", 1.0), seen("bsr")))
    new = learn(run_of(seen("csr", 1.0), seen("bsr"), versions={**VERSIONS, "torch": "2.1"}))
    both = merged(old, new)
    for version in ("2.0", "2.1"):
        known_ = Contenders(both, {**VERSIONS, "torch": version})
        assert known_.refused(planned("bsr")) == f"{version} (hwlottery 1)"
    assert Contenders(both, {**VERSIONS, "torch": "2.2"}).refused(planned("bsr")) is None


def test_own_runs_are_remembered_and_come_before_what_is_packaged(tmp_path, monkeypatch):
    folder = tmp_path / "made" / "at once"
    for seconds in (9.0, 1.5):
        remember(learn(run_of(seen("csr", 1.0), seen("coo", seconds), machine=OTHER)), OTHER, folder)
    remember(learn(run_of(seen("csr", 1.0), seen("coo", 5.0))), HOST, folder)
    monkeypatch.setattr(contenders_module, "packaged", lambda: learn(run_of(seen("csr", 1.0), seen("coo", 2.0))))
    assert contenders(folder, OTHER, VERSIONS).expected(planned("coo")) == 1.5
    assert contenders(tmp_path, OTHER, VERSIONS).expected(planned("coo")) == 2.0
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"format":0,"machines":[]}', b'{"machines":3}'])
def test_a_file_that_cannot_be_read_is_learnt_again(tmp_path, content):
    remember(learn(run_of(seen("csr", 1.0))), HOST, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert known(tmp_path, HOST) == Learnt()
    remember(learn(run_of(seen("csr", 1.0))), HOST, tmp_path)
    assert len(known(tmp_path, HOST).machines) == 1


def test_devices_are_machines_of_their_own():
    """A chip is itself wherever it is compiled for, a card by its name, whatever host it is in."""
    estimate = Estimate(
        route="",
        chip="v5e",
        trace_s=1.0,
        compile_s=2.0,
        flop=None,
        bytes_accessed=None,
        optimal_s=3.0,
        argument_bytes=0,
        output_bytes=0,
        temp_bytes=0,
        code_bytes=0,
        fits=None,
        cycles=None,
        covered_share=None,
        uncovered={},
        compiler="",
    )
    chip = seen("csr", device="tpu-aot:v5e", status="estimated", execution="compiled")
    card = msgspec.structs.replace(seen("csr", 1.0, device="cuda"), settings={"gpu": "Card"})
    learnt = learn(run_of(msgspec.structs.replace(chip, estimate=estimate), card, seen("csr", 1.0)))
    assert {(m.name, m.kind) for m in learnt.machines} == {
        ("v5e", "tpu-aot"),
        ("Card", "cuda"),
        ("Chip A, x86_64, 2 cores", "cpu"),
    }
    durations = Durations(Contenders(learnt, VERSIONS))
    compiled = planned("csr", device="tpu-aot:v5e", execution="compiled")
    assert durations.call_s(compiled) == 3.0
    assert durations.first_call_s(compiled, cold=True) == 3.0


# -- how long it takes -------------------------------------------------------------------------------------------------


def timed(formulation, *trials, execution="compiled"):
    """A record of the trials given as (round, wall, first call, state of the compile cache); windows take 1 s."""
    made = seen(formulation, tuple([1.0] * len(trials)), execution=execution)
    facts = [
        trial(number, wall_s=wall, first_call_s=first, compile_cache=cache, window_s=1.0, turns=10)
        for number, wall, first, cache in trials
    ]
    return msgspec.structs.replace(made, time=msgspec.structs.replace(made.time, trials=facts))


COLD = timed("csr", (0, 6.0, 4.0, "cold"), (1, 2.0, 0.5, "warm"))
PHASES = {"preparing_s": 9.0, "import_s": 2.0, "measuring_s": 3.9, "finishing_s": 0.5, "inputs_and_references_s": 0.6}


def test_a_process_takes_its_parts():
    run = run_of(COLD, timed("coo", (0, 9.0, 4.0, "cold")), seen("bsr", execution="compiled"))
    durations = Durations(Contenders(learn(run), VERSIONS))
    csr, coo = planned("csr", execution="compiled"), planned("coo", execution="compiled")
    assert durations.seconds(csr, cold=True) == pytest.approx(1.0 + 4.0)
    assert durations.seconds(csr, cold=False) == pytest.approx(1.0 + 0.5)
    assert durations.seconds(csr, cold=True, again=True) == pytest.approx(0.5 + 0.5)
    assert durations.seconds(coo, cold=False) == pytest.approx(4.0 + 0.5)  # warm as csr's share says
    assert durations.seconds(planned("bsr", execution="compiled"), cold=True) == REFUSAL_S
    assert durations.call_s(csr) == 1.0


def test_the_first_process_is_the_one_that_was_started_first():
    """A case of the first rounds that is looked beside later: round 0 is then not its first."""
    made = timed("csr", (1, 6.0, 4.0, "cold"), (2, 2.0, 0.5, "warm"), (0, 2.0, 0.5, "warm"))
    times = ["2026-11-01T10:00:00Z", "2026-11-01T10:01:00Z", "2026-11-01T10:02:00Z"]
    trials = [msgspec.structs.replace(t, started_at=at) for t, at in zip(made.time.trials, times, strict=True)]
    trials = [trials[2], *trials[:2]]  # as the store merges them, by round
    made = msgspec.structs.replace(made, time=msgspec.structs.replace(made.time, trials=trials))
    durations = Durations(knowing(made))
    csr = planned("csr", execution="compiled")
    assert durations.first_call_s(csr, cold=True) == 4.0
    assert durations.first_call_s(csr, cold=False) == 0.5


def test_what_a_run_costs_is_learnt_from_its_phases():
    """Three processes took 14 s beside windows of 3 s, and one was refused; 7 s and half a second of the run, apart."""
    run = run_of(COLD, timed("coo", (0, 9.0, 4.0, "cold")), seen("bsr", execution="compiled"), phases=PHASES)
    run = dataclasses.replace(run, info=msgspec.structs.replace(run.info, wall_s=17.0))
    costs = Durations(Contenders(learn(run), VERSIONS)).costs
    assert costs.pace == pytest.approx(7.5 / (14.0 + REFUSAL_S), rel=0.01)
    assert costs.stretch == pytest.approx(3.9 / 3.0)
    assert costs.start_s == pytest.approx(17.0 - 0.6 - 3.9 - 7.5)
    assert costs.inputs == pytest.approx(0.6 / usual_inputs_s([COLD.work]), rel=0.01)


@pytest.mark.parametrize("phases", [None, {"survey_s": 18.0, "failed_cases_s": 1.0, "import_s": 0.0}])
def test_a_run_that_does_not_tell_its_phases_costs_what_is_usual(phases):
    costs = Durations(knowing(timed("csr", (0, 2.0, 0.5, "warm")), phases=phases)).costs
    assert costs == RunCosts()


def test_of_several_runs_of_a_machine_the_later_tells_what_a_run_costs():
    old = learn(run_of(COLD, phases={**PHASES, "measuring_s": 30.0}))
    new = learn(run_of(COLD, phases=PHASES))
    (machine,) = merged(old, new).machines
    assert machine.stretch == new.machines[0].stretch != old.machines[0].stretch
    (kept,) = merged(old, learn(run_of(COLD))).machines
    assert kept.stretch == old.machines[0].stretch


def test_a_run_with_a_warm_cache_says_nothing_of_a_cold_one():
    warm = learn(run_of(timed("csr", (0, 2.5, 0.5, "warm"))))
    cold = learn(run_of(COLD, machine=OTHER))
    csr = planned("csr", execution="compiled")
    durations = Durations(Contenders(merged(warm, cold), VERSIONS, [machine_name(HOST)]))
    assert durations.first_call_s(csr, cold=True) == 4.0
    assert durations.first_call_s(csr, cold=False) == 0.5


def test_what_was_never_seen_takes_what_its_like_took():
    contenders_ = knowing(COLD, timed("coo", (0, 8.0, 6.0, "cold")))
    durations = Durations(contenders_)
    assert durations.first_call_s(planned("gather", execution="compiled"), cold=True) == 5.0
    assert durations.first_call_s(planned("x", workload="other", execution="compiled"), cold=True) == 5.0
    assert durations.first_call_s(planned("x", backend="jax", execution="compiled"), cold=True) == 1.0
    assert durations.call_s(planned("gather", execution="compiled")) is None


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_file_of_the_package_is_made_from_the_stored_runs():
    assert tool.stale() == []
    assert {machine.kind for machine in packaged().machines} >= {"cpu", "tpu-aot"}


def test_a_file_that_was_typed_is_seen(tmp_path):
    file = tmp_path / "contenders.json"
    text = learnt_module.FILE.read_text(encoding="utf-8")
    file.write_text(text.replace('"inputs":0', '"inputs":1', 1), encoding="utf-8")
    assert "is not current; run: python tools/contenders.py --write results/" in tool.stale(file)[0]
    facts = json.loads(text) | {"runs": ["results/nowhere"]}
    file.write_text(json.dumps(facts), encoding="utf-8")
    assert "is not a results folder" in tool.stale(file)[0]


def test_the_tool_refuses_a_folder_that_is_no_run(tmp_path, capsys):
    assert tool.main(["--check"]) == 0
    assert tool.main(["--write", str(tmp_path)]) == 2
    assert "is not a results folder" in capsys.readouterr().err
