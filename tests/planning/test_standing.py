"""Where cases stand: by the groups that they shared, through others that they did not, and never by a slow hour."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from _records import record, trial

from harness.planning.plan import Planned
from harness.planning.standing import observed, relative_times, standing, standings
from harness.records.record import WorkFacts


def case(formulation, groups, status="ok"):
    """A record measured in `groups`: {group: (seconds, round)}."""
    made = record(formulation=formulation, processes=[s for s, _ in groups.values()] or [1.0], status=status)
    trials = [trial(round_, heat=group) for group, (_, round_) in groups.items()]
    return msgspec.structs.replace(made, time=msgspec.structs.replace(made.time, trials=trials))


def stand(*records):
    facts = {"twins": (), "headline": True, "repeated": True, "survey": True, "group": ""}
    work = WorkFacts(useful_flop=1, least_bytes=1, live_bytes=1)
    planned = [Planned(case=r.case, work=work, **facts) for r in records]
    return {p.case.formulation: ratio for ratio, p in standing(planned, {r.case.key: r for r in records})}


def test_many_points_stand_as_each_alone():
    """Of unlike sizes, one of them without a group that two share."""
    points = [
        [case("a", {1: (1.0, 1), 2: (3.0, 1)}), case("b", {2: (2.7, 1)})],
        [case("c", {1: (2.0, 0)}), case("d", {2: (1.0, 0)})],
        [case("e", {1: (1.0, 0), 2: (5.0, 0)}), case("f", {1: (2.0, 0)}), case("g", {2: (8.0, 0), 3: (7.0, 1)})],
        [],
    ]
    facts = {"twins": (), "headline": True, "repeated": True, "survey": True, "group": ""}
    work = WorkFacts(useful_flop=1, least_bytes=1, live_bytes=1)
    planned = [[Planned(case=r.case, work=work, **facts) for r in records] for records in points]
    together = standings(planned, {r.case.key: r for records in points for r in records})
    for records, found in zip(points, together, strict=True):
        assert {p.case.key: ratio for ratio, p in found} == pytest.approx(relative_times(records), rel=1e-9)


def test_a_slow_group_is_the_groups_and_not_the_cases():
    """b was only in the group that ran when the machine was three times slower."""
    found = stand(case("a", {1: (1.0, 1), 2: (3.0, 1)}), case("b", {2: (2.7, 1)}))
    assert list(found) == ["b", "a"]
    assert found["a"] == pytest.approx(1 / 0.9, rel=0.03)


def test_cases_that_never_met_are_held_against_each_other_through_those_that_both_met():
    found = stand(case("anchor", {1: (1.0, 0), 2: (5.0, 0)}), case("a", {1: (2.0, 0)}), case("b", {2: (8.0, 0)}))
    assert list(found) == ["anchor", "b", "a"]
    assert found["a"] / found["b"] == pytest.approx(2.0 / 1.6, rel=0.1)


def test_where_nothing_joins_them_their_times_count():
    assert list(stand(case("a", {1: (2.0, 0)}), case("b", {2: (1.0, 0)}))) == ["b", "a"]


def test_a_round_weighs_more_than_a_look():
    found = stand(
        case("a", {1: (1.0, 0), 2: (1.1, 1)}),
        case("b", {1: (1.5, 0), 2: (1.0, 1)}),
    )
    assert list(found) == ["b", "a"]


def test_what_is_not_ok_does_not_stand():
    assert list(stand(case("a", {1: (1.0, 1)}), case("b", {1: (0.1, 1)}, status="wrong"))) == ["a"]
    assert observed(case("b", {1: (0.1, 1)}, status="wrong")) == []


def test_it_recovers_effects_of_cases_and_groups_that_were_drawn():
    """Ten paths in random groups of four, each group with a speed of its own: exact where there is no noise."""
    rng = np.random.default_rng(1)
    effects, groups = rng.uniform(0.5, 2.0, 10), {}
    for group in range(1, 30):
        speed = math.exp(rng.normal(0, 0.5))
        for name in rng.choice(10, 4, replace=False):
            groups.setdefault(int(name), {})[group] = (float(effects[name] * speed), 1)
    found = stand(*(case(f"f{name}", times) for name, times in groups.items()))
    for name, ratio in found.items():
        assert ratio == pytest.approx(effects[int(name[1:])] / effects.min(), rel=0.02)
