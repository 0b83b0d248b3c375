"""Noise, portability and failures against values worked by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from _records import dense, idea, record

from harness.figures.best_paths import best_paths
from harness.figures.frame import frame
from harness.figures.portability import explain_outcomes, portability
from harness.figures.summary import summarise
from harness.stats.noise import floor_of, noise_floor, paired_floors


def test_the_noise_floor_is_what_controls_differ_by_in_common_rounds():
    """A/A: 10 % in the middle of three rounds; cases that are no controls of each other do not count."""
    case = dense([9.0, 1.0, 1.0, 1.0], rounds=[0, 1, 2, 3])
    control = msgspec.structs.replace(dense([1.3, 1.1, 1.05], rounds=[1, 2, 3]), control=True)
    assert noise_floor([case, control]) == pytest.approx(0.1)
    assert noise_floor([case, idea([5.0], rounds=[1])]) is None
    assert summarise([case, control, idea([0.95], rounds=[1])]).noise == pytest.approx(0.1)
    assert summarise([case, control]).records == 1


def test_controls_count_that_were_in_all_rounds():
    """The median of two strays further than the median of three that rows report, and one fell behind after two."""

    def control(times, **facts):
        case = dense([1.0] * len(times), **facts)
        return [case, msgspec.structs.replace(dense(times, **facts), control=True)]

    whole, behind = control([1.01, 1.1, 1.02]), control([1.3, 1.3], formulation="nt")
    assert paired_floors([*whole, *behind]) == pytest.approx([1.02])
    assert noise_floor([*whole, *behind]) == pytest.approx(0.02)
    twice = control([1.03, 1.03, 1.03, 1.03], formulation="tn", rounds=[1, 2, 2, 3], groups=[1, 2, 4, 3])
    assert len(paired_floors([*whole, *twice])) == 2, "four groups in three rounds are no more rounds"
    many = control([1.04] * 9, formulation="tt")
    assert paired_floors([*whole, *many]) == pytest.approx([1.04]), "three rounds of nine are not all"
    five = control([1.05] * 5, formulation="t5")
    assert len(paired_floors([*five, *many])) == 2, "five are enough where some had more for their width"
    other = [msgspec.structs.replace(r, run="r2") for r in behind]
    assert len(paired_floors([*whole, *other])) == 2, "each run by its own rounds"


def test_portability_counts_what_runs_and_says_why_the_rest_does_not():
    (numpy_, tf) = portability(
        best_paths(
            frame(
                [
                    idea([1.0]),
                    dense([1.0]),
                    idea([1.0], backend="tensorflow"),
                    idea(params={"m": 1}, backend="tensorflow", status="oom", reason="2 GiB"),
                    idea(mode="train_step", backend="tensorflow", status="unsupported", reason="no gradient"),
                    record("stream", backend="tensorflow", status="error"),
                ]
            )
        )
    )
    assert (numpy_.ok, numpy_.total, numpy_.missing) == (2, 2, [])
    assert (tf.ok, tf.total, tf.share) == (1, 2, 0.5)
    assert [(m.mode, m.points_ok, m.points, m.reason) for m in tf.missing] == [
        ("train_step", 0, 1, "no gradient"),
        ("forward", 1, 2, "2 GiB"),
    ]


def test_failures_that_differ_in_numbers_only_are_one_kind():
    oom = [
        idea(status="oom", reason=f"tried to take {k} GiB\nTraceback", failure_class="memory", backend=b)
        for k, b in ((2.5, "jax"), (31, "torch"))
    ]
    silent = idea(status="crash")
    kinds = explain_outcomes([*oom, silent, idea([1.0])])
    assert [(f.cases, f.status, f.reason) for f in kinds] == [
        (2, "oom", "tried to take 2.5 GiB"),
        (1, "crash", "no reason was recorded"),
    ]
    assert kinds[0].backends == ["jax", "torch"]
    assert kinds[0].failure_class == "memory"


@pytest.mark.parametrize("controls", [1, 2, 19, 20, 21, 22, 41, 60])
def test_of_many_controls_the_noise_is_the_95th_percentile(controls):
    ratios = [1 + k / 100 for k in range(controls)]
    highest = np.quantile(np.array(ratios) - 1, 0.95, method="higher")
    assert floor_of(ratios[::-1]) == pytest.approx(highest)
    assert floor_of([1 / ratio for ratio in ratios]) == pytest.approx(highest)


@pytest.mark.parametrize(("ratio", "floor"), [(0.0, float("inf")), (float("inf"), float("inf")), (0.5, 1.0)])
def test_a_control_that_took_no_time_beside_itself_is_noise_without_end(ratio, floor):
    assert floor_of([ratio]) == floor
