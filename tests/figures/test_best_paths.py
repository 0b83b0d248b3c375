"""Which path is the best of a point, and which cannot be told from it."""

from __future__ import annotations

import math

from _records import host_memory, idea, joules

from harness.figures.best_paths import best_paths
from harness.figures.frame import frame


def test_the_best_path_is_the_fastest_that_is_ok():
    best = best_paths(
        frame(
            [
                idea([3.0]),
                idea([2.0], formulation="coo", execution="compiled"),
                idea([0.1], formulation="bag", status="wrong", reason="y is off by 0.3"),
                idea(formulation="csc", status="unsupported", reason="no csc"),
            ]
        )
    )
    (row,) = best.to_dict("records")
    assert row["path"] == "coo/compiled"
    assert row["outcome"] == "ok 2 · wrong 1 · unsupported 1"
    assert row["reason"] == "y is off by 0.3"
    assert row["cases"] == 4


def _best(*records):
    (row,) = best_paths(frame(records)).to_dict("records")
    return row


def test_a_first_look_that_was_not_repeated_does_not_win_by_luck():
    """1.0 s once against 1.1 s in three groups is noise; half in the same first look is not, in a run cut short."""
    repeated = idea([1.1, 1.1, 1.2, 1.0], rounds=[0, 1, 2, 3])
    assert _best(repeated, idea([1.0], rounds=[0], formulation="lucky"))["path"] == "csr/eager"
    assert _best(repeated, idea([0.5], rounds=[0], formulation="fast"))["path"] == "fast/eager"
    beside = idea([1.1, 1.1, 1.2], rounds=[0, 1, 2], groups=[9, 1, 2])
    fast = {"rounds": [0], "formulation": "fast"}
    assert _best(beside, idea([0.5], groups=[9], **fast))["path"] == "fast/eager"
    assert _best(beside, idea([0.5], groups=[8], **fast))["path"] == "csr/eager", "of another group, of another minute"


def test_a_first_look_alone_is_held_against_first_looks_not_against_groups_of_a_slower_hour():
    """In the first look it took 1.2 times as long; then the machine halved its speed."""
    repeated = idea([1.0, 2.0, 2.1, 2.2], rounds=[0, 1, 2, 3])
    assert _best(repeated, idea([1.2], rounds=[0], formulation="early"))["path"] == "csr/eager"
    assert _best(repeated, idea([0.7], rounds=[0], formulation="fast"))["path"] == "fast/eager"


def test_a_path_that_fell_behind_is_not_chosen_though_the_times_of_its_groups_are_smaller():
    """It lost the first round by 10 %; then the machine became slower. Two groups of a round are one round."""
    stayed = idea([1.0, 2.0, 2.0], rounds=[1, 2, 3])
    assert _best(stayed, idea([1.1], rounds=[1], formulation="fell"))["path"] == "csr/eager"
    twice = idea([1.1, 1.1], rounds=[1, 1], groups=[1, 7], formulation="fell")
    assert _best(stayed, twice)["path"] == "csr/eager"


def test_the_best_path_is_ranked_in_the_groups_that_both_shared():
    """Each of the two is measured in a group of a slower minute where the other is not."""
    a = idea([1.0, 1.0, 3.0], rounds=[1, 2, 2], groups=[1, 2, 3])
    b = idea([1.1, 1.1, 0.5], rounds=[1, 2, 2], groups=[1, 2, 4], formulation="coo")
    assert _best(a, b)["path"] == "csr/eager"


def test_where_no_full_round_was_run_the_groups_of_the_first_look_decide():
    """The hub was in both groups; the second group had a machine twice as fast."""
    hub = idea([1.0, 0.5], rounds=[0, 0], groups=[1, 2])
    first = idea([0.8], rounds=[0], groups=[1], formulation="first")
    second = idea([0.45], rounds=[0], groups=[2], formulation="second")
    assert _best(hub, first, second)["path"] == "first/eager"
    assert _best(first, second)["path"] == "second/eager", "nothing that they shared: their times are all there is"


def test_bad_luck_of_a_known_path_in_the_one_group_of_another_does_not_decide():
    known = idea([0.352, 0.351, 0.348, 0.459], rounds=[1, 2, 3, 4], groups=[1, 2, 3, 4])
    unlucky = idea([0.372], rounds=[4], groups=[4], formulation="other")
    little = idea([0.340], rounds=[4], groups=[4], formulation="other")
    better = idea([0.310], rounds=[4], groups=[4], formulation="other")
    assert _best(known, unlucky)["path"] == "csr/eager"
    assert _best(known, little)["path"] == "csr/eager", "processes differ by as much"
    assert _best(known, better)["path"] == "other/eager"


def test_what_leads_by_a_common_third_gives_way_to_what_beats_it_in_their_own_groups():
    hub = idea([1.0] * 5, groups=[1, 2, 3, 4, 5])
    lead = idea([0.7, 0.9, 0.9], rounds=[1, 2, 5], groups=[1, 2, 5], formulation="lead")
    other = idea([0.95, 0.8, 0.8], rounds=[3, 4, 5], groups=[3, 2, 5], formulation="other")
    assert _best(hub, lead, other)["path"] == "other/eager"


def test_paths_are_tied_whose_ratio_group_by_group_may_be_1():
    records = [idea([1.0, 1.01, 1.02]), idea([1.01, 1.0, 1.03], formulation="coo")]
    records.append(idea([2.0, 2.01, 2.02], formulation="csc"))
    row = _best(*records)
    assert (row["path"], row["tied"]) == ("csr/eager", 1)
    slower = idea([1.1, 1.11, 1.12], formulation="coo")
    assert _best(records[0], slower)["tied"] == 0, "their intervals overlap, but in every group it took 10 % more"


def test_where_nothing_ran_no_figure_of_a_failed_case_is_left():
    (row,) = best_paths(frame([idea([1.0], status="wrong", memory=host_memory(7), energy=joules(1.0))])).to_dict(
        "records"
    )
    assert row["path"] is None
    assert math.isnan(row["memory_bytes"])
    assert math.isnan(row["energy_j"])
    assert row["energy_source"] == "none"


def test_runs_backends_devices_and_seeds_have_their_own_best_path():
    records = [idea([1.0]), idea([1.0], backend="jax"), idea([1.0], run="r2"), idea([1.0], device="cuda")]
    assert len(best_paths(frame(records))) == 4
