"""What to try first and what to leave out is learnt from records, and what the records do not say is tried."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from _learnt import OTHER, VERSIONS, knowing, planned, run_of, seen
from _records import SHAPE

from harness.planning.contenders import SAMPLE_MOST, Choice, Contenders, kind, to_retry
from harness.planning.foresight import Experience
from harness.planning.learning import learn
from harness.planning.learnt import machine_name, merged
from harness.planning.lookup import OTHER_WORD, distance_of
from harness.planning.reasons import FACTOR


def left_out(known_, plan, seed=0):
    """The formulations that would be left out, sampled or not."""
    choice = known_.choose(plan, seed)
    keys = {**choice.left_out, **choice.sampled}
    return {p.case.formulation: keys[p.case.key] for p in plan if p.case.key in keys}


# -- what is expected --------------------------------------------------------------------------------------------------


def test_a_path_is_expected_to_take_what_it_took_over_the_best():
    known_ = knowing(seen("csr", 2.0), seen("coo", 5.0))
    assert known_.expected(planned("csr")) == 1.0
    assert known_.expected(planned("coo")) == 2.5


@pytest.mark.parametrize(
    "facts", [{"execution": "compiled"}, {"backend": "jax"}, {"mode": "train_step"}, {"dtype": "float64"}]
)
def test_what_was_never_seen_is_not_known(facts):
    known_ = knowing(seen("csr", 2.0))
    assert known_.expected(planned("gather")) is None
    assert known_.expected(planned("csr", **facts)) is None
    assert left_out(known_, [planned("csr"), planned("gather"), planned("csr", **facts)]) == {}


def test_failures_and_controls_teach_nothing():
    failed = [seen("csr", None, status=status) for status in ("wrong", "oom", "timeout", "crash", "error")]
    control = msgspec.structs.replace(seen("coo", 1.0), control=True)
    assert learn(run_of(*failed, control)).machines == []


def test_in_groups_the_ratio_counts_that_the_paths_had_there():
    """Alone csr was twice as slow as coo, beside it 1.1 times; so the third, which ran alone, was 2.2 or 4 times."""
    known_ = knowing(seen("csr", (4.0, 2.2, 2.2)), seen("coo", (2.0, 2.0, 2.0)), seen("gather", 8.0))
    assert known_.expected(planned("csr")) == pytest.approx(1.1)
    assert 2.2 <= known_.expected(planned("gather")) <= 4.0


def test_a_point_that_was_not_seen_is_answered_from_the_nearest():
    near, far = {**SHAPE, "m": 16}, {**SHAPE, "m": 256}
    known_ = knowing(
        seen("csr", 1.0, params=near),
        seen("coo", 2.0, params=near),
        seen("csr", 9.0, params=far),
        seen("coo", 1.0, params=far),
    )
    assert known_.expected(planned("coo")) == 2.0
    assert known_.expected(planned("csr", {**SHAPE, "m": 200})) == pytest.approx(9.0)


def test_a_point_that_is_too_far_says_nothing():
    known_ = knowing(seen("csr", 1.0), seen("coo", 9.0))
    assert known_.expected(planned("coo", {**SHAPE, "n": 4 * 64})) is None
    assert known_.expected(planned("coo", {**SHAPE, "n": 4 * 32})) == pytest.approx(9.0)


def test_how_far_two_points_are_apart():
    assert distance_of({"m": 2.0}, {"m": 2}) == 0.0
    assert distance_of({"m": 20, "n": 1}, {"m": 2, "n": 1}) == pytest.approx(2.302585)
    assert distance_of({"network": "mlp"}, {"network": "vgg8b"}) == OTHER_WORD
    assert distance_of({"padding": 0}, {"padding": 1}) == 1.0


def test_this_machine_is_believed_before_others_and_they_in_the_mean():
    one = learn(run_of(seen("csr", 1.0), seen("coo", 2.0)))
    two = learn(run_of(seen("csr", 1.0), seen("coo", 8.0), machine=OTHER))
    both = merged(one, two)
    assert Contenders(both, VERSIONS).expected(planned("coo")) == pytest.approx(4.0)
    assert Contenders(both, VERSIONS, [machine_name(OTHER)]).expected(planned("coo")) == pytest.approx(8.0)


def test_what_was_seen_far_away_says_nothing_beside_what_was_seen_near():
    """Not on this machine, and not in the mean of others."""
    one = learn(run_of(seen("csr", 1.0), seen("coo", 2.0)))
    for factor, mean, own in ((16, 2.0, 2.0), (2, 4.0, 8.0)):
        params = {**SHAPE, "m": factor * SHAPE["m"]}
        two = learn(run_of(seen("csr", 1.0, params=params), seen("coo", 8.0, params=params), machine=OTHER))
        both = merged(one, two)
        assert Contenders(both, VERSIONS).expected(planned("coo")) == pytest.approx(mean)
        assert Contenders(both, VERSIONS, [machine_name(OTHER)]).expected(planned("coo")) == pytest.approx(own)


# -- what is left out --------------------------------------------------------------------------------------------------


def test_what_is_slow_on_every_known_machine_is_left_out():
    slow = learn(run_of(seen("csr", 1.0), seen("coo", FACTOR + 0.1)))
    close = learn(run_of(seen("csr", 1.0), seen("coo", FACTOR - 0.1), machine=OTHER))
    plan = [planned("csr"), planned("coo")]
    assert left_out(Contenders(slow, VERSIONS), plan) == {
        "coo": "over 3 times slower than the best on every known machine"
    }
    assert left_out(Contenders(merged(slow, close), VERSIONS), plan) == {}


def test_what_the_same_version_refused_is_left_out_and_what_another_refused_is_not():
    records = seen("csr", 1.0), seen("bsr")
    plan = [planned("csr"), planned("bsr")]
    assert left_out(knowing(*records), plan) == {"bsr": "refused by torch 2.0 (hwlottery 1), as before"}
    for versions in ({**VERSIONS, "torch": "2.1"}, {**VERSIONS, "hwlottery": "2"}, {}):
        assert left_out(knowing(*records, versions=versions), plan) == {}
    assert left_out(knowing(*records), [planned("csr"), planned("bsr", {**SHAPE, "m": 9000})]) == {}


def test_what_another_machine_ran_is_not_refused():
    refused = learn(run_of(seen("csr", 1.0), seen("bsr")))
    ran = learn(run_of(seen("csr", 1.0), seen("bsr", 1.0), machine=OTHER))
    assert left_out(Contenders(merged(refused, ran), VERSIONS), [planned("csr"), planned("bsr")]) == {}


def test_a_point_never_loses_all_its_paths():
    assert left_out(knowing(seen("csr"), seen("bsr")), [planned("csr"), planned("bsr")]).keys() == {"bsr"}


def test_what_is_asked_for_is_held_against_what_is_asked_for():
    known_ = knowing(seen("csr", 1.0), seen("coo", 10.0), seen("gather", 40.0))
    assert left_out(known_, [planned("coo"), planned("gather")]).keys() == {"gather"}


def test_what_comes_close_at_a_density_of_the_sweep_stays_in_the_survey():
    thin = {**SHAPE, "m": 16}
    records = seen("csr", 9.0), seen("dense", 1.0), seen("csr", 1.0, params=thin), seen("dense", 1.0, params=thin)
    swept = [planned("csr", thin, survey=False), planned("dense", thin, survey=False)]
    assert left_out(knowing(*records), [planned("csr"), planned("dense"), *swept]) == {}
    assert left_out(knowing(*records), [planned("csr"), planned("dense")]).keys() == {"csr"}


def test_the_sweep_of_what_is_left_out_is_left_out_with_it():
    thin = {**SHAPE, "m": 16}
    plan = [planned("csr"), planned("dense"), planned("csr", thin, survey=False), planned("dense", thin, survey=False)]
    choice = knowing(seen("csr", 9.0), seen("dense", 1.0)).choose(plan, 0)
    assert {*choice.left_out, *choice.sampled} == {plan[0].case.key, plan[2].case.key}
    assert [*choice.sampled] == [plan[0].case.key]  # a sample of the sweep alone would never run


def test_a_sample_of_what_is_left_out_is_drawn_by_the_seed():
    records = [seen("csr", 1.0), *(seen(f"slow{number}", 9.0) for number in range(60))]
    known_, plan = knowing(*records), [planned(r.case.formulation) for r in records]
    choice = known_.choose(plan, 7)
    assert len(choice.sampled) == 3
    assert len(choice.left_out) == 57
    assert known_.choose(plan, 7) == choice
    assert {*known_.choose(plan[::-1], 7).sampled} == {*choice.sampled}
    assert {*known_.choose(plan, 8).sampled} != {*choice.sampled}


# -- what comes back ---------------------------------------------------------------------------------------------------

DRAWN = planned("coo")
REST = [planned("coo", execution="compiled"), planned("coo", {**SHAPE, "m": 16}), planned("gather")]
PLAN = [planned("csr"), DRAWN, *REST]
SLOW = "over 3 times slower than the best on every known machine"
CHOICE = Choice(left_out={p.case.key: SLOW for p in REST}, sampled={DRAWN.case.key: SLOW})


def records_of(**times):
    return {(r := seen(name, seconds)).case.key: r for name, seconds in times.items()}


def test_the_kind_of_a_sample_that_wins_is_tried_in_full():
    back = to_retry(PLAN, CHOICE, records_of(csr=1.0, coo=0.9))
    assert [kind(p) for p in back] == [kind(DRAWN)] * 2
    assert to_retry(PLAN, CHOICE, records_of(csr=1.0, coo=1.1)) == []
    assert to_retry(PLAN, CHOICE, {}) == []


def test_what_is_refused_no_longer_is_tried_in_full():
    choice = dataclasses.replace(CHOICE, sampled={DRAWN.case.key: "refused by torch 2.0 (hwlottery 1), as before"})
    assert len(to_retry(PLAN, choice, records_of(csr=1.0, coo=1.1))) == 2
    assert to_retry(PLAN, choice, records_of(csr=1.0, coo=None)) == []


def test_where_nothing_ran_what_was_left_out_comes_back():
    back = to_retry(PLAN, CHOICE, records_of(csr=None, coo=None))
    assert [p.case.key for p in back] == [REST[0].case.key, REST[2].case.key]
    refused = Choice(
        left_out=dict.fromkeys(CHOICE.left_out, "refused by torch 2.0 (hwlottery 1), as before"), sampled={}
    )
    assert to_retry(PLAN, refused, records_of(csr=None, coo=None)) == []
    assert to_retry(PLAN, CHOICE, records_of(csr=None)) == []  # the sample may still run


# -- how much a path promises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("formulation", "promise"), [("csr", 1.0), ("coo", 1 / 16), ("gather", 1.0), ("ell", 1.0)])
def test_what_took_twice_as_long_promises_a_sixteenth_and_what_is_unknown_or_drawn_as_much_as_the_best(
    formulation, promise
):
    known_ = knowing(seen("csr", 2.0), seen("coo", 4.0), seen("ell", 8.0))
    drawn = Choice(left_out={}, sampled={planned("ell").case.key: "slow"})
    assert Experience(known_, drawn).promise(planned(formulation)) == pytest.approx(promise)


def test_no_more_than_a_dozen_are_drawn_of_what_is_left_out():
    forms = [f"f{number}" for number in range(400)]
    known_ = knowing(seen("csr", 1.0), *(seen(name, 9.0) for name in forms))
    choice = known_.choose([planned("csr"), *map(planned, forms)], 0)
    assert len(choice.sampled) == SAMPLE_MOST
    assert len(choice.left_out) == 400 - SAMPLE_MOST
