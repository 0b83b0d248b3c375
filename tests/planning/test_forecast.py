"""How long a run is expected to take: the same cases, groups and windows as the real one, and what each costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from _records import record

from backends.discovery import backends
from harness.measuring.settings import PowerModel, Sampling
from harness.planning import plan
from harness.planning.durations import RunCosts
from harness.planning.forecast import cold_share, forecast, group_s, within_limits
from harness.planning.foresight import Ignorance
from harness.planning.groups import InterleavedGroup, Member
from harness.planning.looks import firsts, looks
from harness.planning.options import LONG_GROUP_S, Options
from harness.planning.plan import Ask
from harness.running.time_left import PRIOR_S, TimeLeft
from workloads.discovery import workloads

COSTS = RunCosts(pace=0.5, stretch=2.0, start_s=7.0, inputs=0.0)


class Known(Ignorance):
    """Each process takes a second, four where its program is to be compiled; csr and nn are best, coo is refused."""

    costs = COSTS
    call = 1e-3

    def expected(self, planned):
        return None if self.refuses(planned) else 1.0 if planned.case.formulation in ("csr", "nn") else 9.0

    def seconds(self, planned, *, cold, again):
        return 4.0 if cold and not again else 1.0

    def call_s(self, planned):
        return None if self.refuses(planned) else self.call * self.expected(planned)

    def refuses(self, planned):
        return planned.case.formulation == "coo"


def options(**given):
    facts = {"rounds": 5, "long_rounds": 5, "timeout_s": 1, "threads": 2, "seed": 0, "cache": Path(), **given}
    return Options(sampling=Sampling(window_s=0.5), power=PowerModel(), **facts)


@pytest.mark.parametrize(("rounds", "first", "late", "most"), [(0, 0, 0, 0), (1, 0, 1, 1), (3, 2, 3, 5), (5, 3, 3, 6)])
def test_what_the_looks_find_has_as_many_rounds_as_an_interval_needs(rounds, first, late, most):
    asked = options(rounds=rounds)
    assert (asked.first_rounds, asked.late_rounds, asked.most_rounds) == (first, late, most)


@pytest.fixture(scope="module")
def planned():
    ask = Ask(preset="quick", workloads=("unstructured_sparse",), backends=("torch",), executions=("eager",))
    return plan.cases(ask, workloads()[0], backends()[0])


def compiled(case):
    return True


def played(planned, known=None, records=None, **given):
    return forecast(planned, known or Known(), options(**given), compiled, records)


def test_every_step_has_its_seconds_and_a_run_that_goes_on_starts_no_more(planned):
    found = played(planned)
    assert list(found) == ["start", "first rounds", "survey", "sweep", "rounds"]
    assert found["start"] == 7.0
    done = {(planned[0].case.key, False): msgspec.structs.replace(record(processes=[1e-3]), case=planned[0].case)}
    assert "start" not in played(planned, records=done)


def test_the_survey_is_the_looks_that_a_run_would_take(planned):
    """One rounds-free run: each case by itself, a second of process and the whole window, refusals without one."""
    survey = [p for p in planned if p.survey]
    found = played(planned, rounds=0)
    refused = sum(p.case.formulation == "coo" for p in survey)
    assert found["survey"] == pytest.approx(0.5 * len(survey) + 2.0 * 0.5 * (len(survey) - refused))
    assert refused
    assert not found.keys() & {"first rounds", "rounds"}


def test_only_what_comes_close_goes_on_to_the_sweep_and_to_the_rounds(planned):
    class Level(Known):
        def expected(self, planned):
            return None if self.refuses(planned) else 1.0

    few, many = played(planned), played(planned, Level())
    assert few["sweep"] < many["sweep"]
    assert few["rounds"] < many["rounds"]
    assert few["first rounds"] <= many["first rounds"]


def test_what_was_done_is_not_expected_again(planned):
    """After the first rounds a run that goes on forecasts none of them; after all that is tried, nothing."""
    first = {
        (p.case.key, control): msgspec.structs.replace(
            record(processes=[1e-3] * 3, rounds=[1, 2, 3]), case=p.case, work=p.work
        )
        for p in firsts(planned, Known())
        for control in (False, True)
    }
    later = played(planned, records=first)
    assert "first rounds" not in later
    assert later["survey"] < played(planned)["survey"] + 1e-9
    everything = {
        (p.case.key, control): msgspec.structs.replace(
            record(processes=[1e-3] * 6, rounds=range(6)), case=p.case, work=p.work
        )
        for p in planned
        for control in (False, True)
    }
    assert sum(played(planned, records=everything).values()) == 0.0


def test_more_rounds_and_cold_caches_take_longer(planned):
    assert played(planned, rounds=8)["rounds"] > played(planned)["rounds"]
    cold = forecast(planned, Known(), options(), lambda _: False)
    assert sum(cold.values()) > sum(played(planned).values())


def test_long_groups_have_fewer_rounds(planned):
    slow = Known()
    slow.call = LONG_GROUP_S
    assert played(planned, slow, long_rounds=3).get("rounds", 0.0) < played(planned, slow)["rounds"] / 2


def test_inputs_are_made_once_and_not_where_a_program_of_the_point_was_compiled_before(planned):
    class Slow(Known):
        costs = replace(COSTS, inputs=100.0)

    made = sum(played(planned, Slow()).values()) - sum(played(planned).values())
    points = {p.point for p in planned}
    assert 0 < made < 100.0 * len(points)
    twice = [*planned, *(replace(p, case=msgspec.structs.replace(p.case, execution="compiled")) for p in planned)]
    kept = forecast(twice, Slow(), options(), compiled)
    assert sum(kept.values()) == pytest.approx(sum(forecast(twice, Known(), options(), compiled).values()))


def test_what_is_compiled_for_a_chip_takes_what_the_slowest_framework_takes(planned):
    cases = [p for p in planned if p.survey][:3]
    chip = [
        replace(p, case=msgspec.structs.replace(p.case, device="tpu-aot:v5e", execution="compiled", backend=backend))
        for backend, count in (("torch", 3), ("jax", 1))
        for p in cases[:count]
    ]
    found = forecast(chip, Known(), options(), lambda _: False)
    assert found["survey"] == pytest.approx(3 * 4.0)


def test_a_group_takes_its_processes_and_windows_at_the_pace_of_the_run(planned):
    csr = next(p for p in planned if p.case.formulation == "csr")
    group = InterleavedGroup(0, (Member(csr), Member(csr, control=True)))
    expect = {"sampling": Sampling(window_s=0.5), "foresight": Known(), "records": {}, "compiled": compiled}
    assert group_s(group, **expect) == pytest.approx(0.5 * 2 + 2.0 * 1.0)
    long = msgspec.structs.replace(record(processes=[3.0]), case=csr.case)
    expect["records"] = {(csr.case.key, False): long}
    assert group_s(group, **expect) == pytest.approx(0.5 * 2 + 2.0 * 2 * 2 * 3.0)  # two calls of three seconds each
    card = replace(csr, case=msgspec.structs.replace(csr.case, device="cuda"))
    assert group_s(InterleavedGroup(0, (Member(card),)), **expect) == pytest.approx(1.0 + 0.5)


def test_the_limits_of_time_hold():
    assert within_limits(100.0, options(), 50.0) == 100.0
    assert within_limits(100.0, options(ends_s=120.0), 50.0) == 70.0
    assert within_limits(100.0, options(budget_s=80.0), 50.0) == 30.0
    assert within_limits(10.0, options(budget_s=80.0, precision=0.02), 50.0) == 30.0
    assert within_limits(10.0, options(budget_s=80.0), 90.0) == 0.0


def test_what_is_left_is_corrected_by_what_batches_took():
    """Batches take twice what was expected: what is left takes nearly twice as long, too."""
    forecasts = iter([1000.0, 500.0])
    left = TimeLeft(lambda: next(forecasts))
    left.anew()
    assert left.seconds == 1000.0
    left.done(400.0, 800.0, apart_s=10.0)
    assert left.seconds == pytest.approx(590.0 * (800 + PRIOR_S) / (400 + PRIOR_S))
    left.anew()
    assert left.seconds == pytest.approx(500.0 * (800 + PRIOR_S) / (400 + PRIOR_S))
    left.done(9999.0, 9999.0)
    assert left.seconds == 0.0


def test_the_looks_of_the_forecast_are_beside_the_best_that_the_first_rounds_found(planned):
    """The anchor of a group takes time: with first rounds there is one in each group of the survey."""
    survey = [p for p in planned if p.survey and p.repeated]
    known = {
        (p.case.key, False): msgspec.structs.replace(record(processes=[1e-3]), case=p.case)
        for p in firsts(planned, Known())
    }
    groups = looks(survey, planned, known)
    assert all(group.members[0].key in known for group in groups)
    windows = sum(sum(m.planned.case.formulation != "gather" for m in group.members) for group in groups)
    members = sum(len(group.members) for group in groups)
    only = played([p for p in planned if p in survey or (p.case.key, False) in known])
    assert only["survey"] == pytest.approx(0.5 * members + 2.0 * 0.2 * 0.5 * windows, rel=0.2)


def test_what_was_refused_is_not_asked_again(planned):
    coo = [p for p in planned if p.case.formulation == "coo"]
    refused = {(p.case.key, False): msgspec.structs.replace(record(status="unsupported"), case=p.case) for p in coo}
    fewer = played(planned, records=refused, rounds=0)
    whole = played(planned, rounds=0)
    assert fewer["survey"] == pytest.approx(whole["survey"] - 0.5 * sum(p.survey for p in coo))


def test_a_preset_has_more_time_where_what_it_measures_first_is_yet_to_be_compiled(planned):
    ask = Ask(preset="quick", workloads=("unstructured_sparse",), backends=("torch",), executions=("compiled",))
    cases = plan.cases(ask, workloads()[0], backends()[0])
    programs = [p.case.key for p in firsts(cases, Known()) if p.case.execution == "compiled"]
    assert len(programs) > 2
    assert cold_share(cases, Known(), lambda case: False) == 1.0
    assert cold_share(cases, Known(), lambda case: case.key in programs) == 0.0
    assert cold_share(cases, Known(), lambda case: case.key in programs[1:]) == pytest.approx(1 / len(programs))
    assert cold_share(planned, Known(), lambda case: False) == 0.0, "nothing is compiled at all"
    limited = options(enough_s=100.0, compiling_s=40.0)
    assert within_limits(500.0, limited) == 100.0
    assert within_limits(500.0, limited, 30.0, cold=0.5) == 90.0
    assert within_limits(500.0, limited, cold=1.0, least_s=200.0) == 200.0, "what is measured in any case"
    assert within_limits(50.0, limited, least_s=40.0) == 50.0
    assert options().enough_with(1.0) is None
