"""Frame, best paths, ratios and the main table: every figure against a value worked by hand."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from _records import SHAPE, dense, host_memory, idea, joules, record, twin_ref

from harness.figures.best_paths import best_paths
from harness.figures.frame import COLUMNS, frame
from harness.figures.summary import main_table, summarise
from harness.figures.twins import comparisons
from harness.records.points import point_name
from harness.stats.intervals import across_runs, median_interval, median_intervals, pooled_intervals


def _compared(*records):
    return comparisons(best_paths(frame(records)))


def _only(records, **options):
    (row,) = main_table(frame(records), **options)
    return row


# -- the frame --------------------------------------------------------------------------------------------------------


# Three values x/r, x, x·r have the logarithms' standard deviation ln r; Student's t of 2 degrees at 97.5 % is 4.3027.
REACH = 4.302652729911275 / math.sqrt(3)


def test_fewer_than_twenty_values_are_bounded_by_students_t_on_their_logarithms():
    (low,), (high,) = median_intervals([[1.0, 2.0, 4.0]])
    assert (low, high) == pytest.approx((2 / 2**REACH, 2 * 2**REACH))
    many = [1.0 + k for k in range(20)]
    assert median_intervals([many])[0][0] == median_interval(np.array([many]))[0][0], "from twenty on the bootstrap"
    assert median_intervals([many[1:]])[0][0] != median_interval(np.array([many[1:]]))[0][0]


@pytest.mark.parametrize("n", [3, 5, 7, 10, 19, 20])
def test_intervals_hold_the_truth_as_often_as_they_say(n):
    """4 000 draws of lognormal times; the bootstrap of seven would hold their median with 87.5 %."""
    draws = np.exp(0.1 * np.random.default_rng(n).standard_normal((4_000, n)))
    low, high = median_intervals(draws.tolist())
    assert 0.93 < np.mean((low <= 1) & (high >= 1)) < 0.965


def test_a_frame_has_the_documented_columns_and_hand_worked_statistics():
    """Medians of processes, then of these; not the median of all samples."""
    table = frame([idea([[1.0, 2.0, 9.0], [2.5, 3.5, 4.5, 5.5], [1.0]], flop=90, least_bytes=30)])
    assert list(table.columns) == list(COLUMNS)
    row = table.iloc[0]
    assert row["process_s"] == [2.0, 4.0, 1.0]
    assert row["time_s"] == 2.0
    assert (row["time_low_s"], row["time_high_s"]) == pytest.approx((2 / 2**REACH, 2 * 2**REACH))
    assert row["time_min_s"] == 1.0
    assert (row["processes"], row["samples"]) == (3, 8)
    assert row["flop_per_s"] == 45
    assert row["bytes_per_s"] == 15
    assert row["intensity"] == 3
    assert row["point"] == "k=8,m=8,n=4"
    assert row["path"] == "csr/eager"


def test_one_process_has_no_interval_and_unknown_stays_unknown():
    row = frame([idea([1.0])]).iloc[0]
    assert math.isnan(row["time_low_s"])
    assert math.isnan(row["memory_bytes"])
    assert math.isnan(row["energy_j"])
    assert row["energy_source"] == "none"


def test_wrong_output_has_no_time():
    row = frame([idea([1.0], status="wrong")]).iloc[0]
    assert math.isnan(row["time_s"])
    assert math.isnan(row["time_min_s"])
    assert row["processes"] == 0


def test_a_point_has_one_name_whatever_the_order_and_type_of_its_axes():
    assert point_name({"n": 8.0, "density": 0.1}) == point_name({"density": 0.1, "n": 8}) == "density=0.1,n=8"


def test_an_empty_frame_keeps_its_columns():
    assert list(frame([]).columns) == list(COLUMNS)
    assert summarise([]).rows == []


# -- ratios -----------------------------------------------------------------------------------------------------------


def test_tax_and_speed_up_by_hand():
    """T = 2, W = 0.1: tax 20, speed-up 0.5."""
    (row,) = _compared(idea([2.0]), dense([1.0])).to_dict("records")
    assert row["time_ratio"] == 2
    assert row["work_ratio"] == pytest.approx(0.1)
    assert row["tax"] == pytest.approx(20)
    assert row["speed_up"] == 0.5
    assert math.isnan(row["tax_low"]), "one round has no interval"


@pytest.mark.usefixtures("one_run")
def test_ratios_are_taken_in_each_round_so_that_drift_cancels():
    """The machine slows down fourfold; both sides do, and the ratio stays 2."""
    (row,) = _compared(idea([2.0, 4.0, 8.0]), dense([1.0, 2.0, 4.0])).to_dict("records")
    assert (row["time_ratio"], row["time_ratio_low"], row["time_ratio_high"]) == (2, 2, 2)
    assert row["rounds"] == 3


def test_the_interval_of_a_ratio_and_what_it_becomes_in_speed_up_and_tax():
    (row,) = _compared(idea([2.0, 4.0, 8.0]), dense([1.0, 1.0, 1.0])).to_dict("records")
    low, high = across_runs(4, 4 / 2**REACH, 4 * 2**REACH)
    assert low < 4 / 2**REACH
    assert (row["speed_up_low"], row["speed_up"], row["speed_up_high"]) == pytest.approx((1 / high, 1 / 4, 1 / low))
    assert (row["tax_low"], row["tax"], row["tax_high"]) == pytest.approx((10 * low, 40, 10 * high))


@pytest.mark.usefixtures("one_run")
def test_the_interval_covers_the_choice_of_the_paths():
    """The other path may be the best; in the groups that it shared with the twin its ratio reaches further."""
    twin = dense([1.0, 1.0, 1.0])
    best, other = idea([2.0, 2.0, 2.0]), idea([1.9, 2.2, 2.1], formulation="coo")
    (row,) = _compared(best, other, twin).to_dict("records")
    (low,), (high,) = median_intervals([[1.9, 2.2, 2.1]])
    assert (row["time_ratio"], row["time_ratio_low"], row["time_ratio_high"]) == pytest.approx((2, low, high))
    (row,) = _compared(best, idea([3.0, 3.1, 3.2], formulation="coo"), twin).to_dict("records")
    assert (row["time_ratio_low"], row["time_ratio_high"]) == (2, 2), "a path that is surely slower is no choice"
    (row,) = _compared(best, twin, dense([1.1, 0.9, 1.05], formulation="nt")).to_dict("records")
    (low,), (high,) = median_intervals([[2 / 1.1, 2 / 0.9, 2 / 1.05]])
    assert (row["time_ratio_low"], row["time_ratio_high"]) == pytest.approx((low, high)), "nor is the twin's left out"


@pytest.mark.usefixtures("one_run")
def test_a_ratio_of_two_groups_takes_the_spread_of_its_run_and_of_no_other():
    two = [idea([2.0, 2.2]), dense([1.0, 1.0])]
    steady = [idea([2.0, 2.02, 2.01, 1.99], backend="torch"), dense([1.0] * 4, backend="torch")]
    (alone,) = _compared(*two).to_dict("records")
    rows = _compared(*two, *steady).to_dict("records")
    assert [row["rounds"] for row in rows] == [2, 4]
    low, high = pooled_intervals([[2.0, 2.2], [2.0, 2.02, 2.01, 1.99]], ["r1", "r1"])
    assert [row["time_ratio_low"] for row in rows] == pytest.approx(low.tolist())
    assert [row["time_ratio_high"] for row in rows] == pytest.approx(high.tolist())
    assert rows[0]["time_ratio_high"] < 2.3 < 3.8 < alone["time_ratio_high"]
    other = [msgspec.structs.replace(row, run="r2") for row in steady]
    assert _compared(*two, *other).to_dict("records")[0]["time_ratio_high"] == alone["time_ratio_high"]


def test_what_ran_alone_is_held_against_the_twin_alone():
    """A point of a sweep in an early record: in the groups the machine was half as fast."""
    swept, twin = idea([1.0], rounds=[0]), dense([0.5, 1.0, 1.0], rounds=[0, 1, 2])
    (row,) = _compared(swept, twin).to_dict("records")
    assert row["time_ratio"] == 2


def test_without_a_common_round_the_ratio_has_no_interval():
    (row,) = _compared(idea([2.0, 2.0], rounds=[0, 1]), dense([1.0, 1.0], rounds=[2, 3])).to_dict("records")
    assert row["time_ratio"] == 2
    assert math.isnan(row["time_ratio_low"])


def test_both_sides_go_by_their_own_best_path_on_the_same_backend_and_device():
    (row,) = _compared(
        idea([2.0]),
        idea([8.0], formulation="coo"),
        dense([4.0]),
        dense([1.0], formulation="nt", execution="compiled"),
        dense([0.1], backend="jax"),
        dense([0.1], device="cuda"),
        dense([0.1], dtype="bfloat16"),
        dense([0.1], run="r2"),
    ).to_dict("records")
    assert row["time_ratio"] == 2
    assert row["twin_path"] == "nt/compiled"


@pytest.mark.parametrize(
    ("twins", "said"),
    [([], "not measured"), ([dense(status="timeout", reason="60 s")], "timeout 1")],
    ids=["missing", "failing"],
)
def test_without_a_twin_there_is_no_tax_and_the_row_says_why(twins, said):
    row = _only([idea([2.0]), *twins])
    assert row.time_s == 2
    assert row.principal.tax is None
    assert row.principal.speed_up is None
    assert row.principal.twin_outcome == said


def test_every_twin_is_compared_and_the_first_is_the_principal():
    small = {"m": 8, "k": 1, "n": 4}
    refs = [twin_ref(), twin_ref("equal_work", params=small)]
    row = _only([idea([2.0], twins=refs), dense([1.0]), dense([0.5], params=small, flop=100)])
    assert [(element.kind, element.speed_up) for element in row.against] == [("same_shape", 0.5), ("equal_work", 0.25)]
    assert [item.tax for item in row.against] == pytest.approx([20, 4])


def test_the_calibration_row_is_its_own_twin():
    ref = twin_ref("itself", "dense_cnn")
    row = _only([record("dense_cnn", [1.0, 3.0], twins=[ref])])
    assert (row.principal.speed_up, row.principal.tax, row.principal.verdict) == (1, 1, "tie")


def test_memory_ratios_compare_like_with_like():
    def ratio(mine, other):
        (row,) = _compared(idea([1.0], memory=mine), dense([1.0], memory=other)).to_dict("records")
        return row["memory_ratio"], row["memory_tax"]

    assert ratio(host_memory(50), host_memory(100)) == (0.5, pytest.approx(5))
    assert all(map(math.isnan, ratio(host_memory(50), host_memory(100, "allocator"))))
    assert all(map(math.isnan, ratio(host_memory(50), None)))
    assert all(map(math.isnan, ratio(host_memory(50), host_memory(0)))), "0 bytes is no base of a ratio"


def _energies(mine, other, **times):
    (row,) = _compared(idea([1.0] * 3, energy=mine, **times), dense([1.0] * 3, energy=other)).to_dict("records")
    return [row[f"energy_{name}"] for name in ("ratio", "tax", "tax_low", "tax_high")]


def test_energy_ratios_need_one_source_and_keep_their_bounds():
    assert _energies(joules(2.0, 1.5, 3.0), joules(4.0, 3.0, 5.0)) == pytest.approx([0.5, 5, 3, 10])
    counted = _energies(joules(2.0), joules(4.0))
    assert counted[:2] == pytest.approx([0.5, 5])
    assert math.isnan(counted[2])
    assert all(map(math.isnan, _energies(joules(2.0), joules(4.0, source="sampled"))))
    assert all(map(math.isnan, _energies(joules(None, source="none"), joules(None, source="none"))))


def test_the_watts_of_modelled_energies_cancel_and_their_ratio_is_of_cpu_seconds_pair_by_pair():
    """Each bound of its own would leave a factor of 16; equal CPU seconds in three groups leave the unequal power."""
    mine, other = joules(2.0, 1.0, 4.0, "modelled"), joules(4.0, 2.0, 8.0, "modelled")
    assert _energies(mine, other) == pytest.approx([1, 10, 5, 20])
    apart = _energies(mine, other, groups=[7, 8, 9])
    assert apart == pytest.approx([0.5, 5, 2.5, 10]), "without a pair the ratio of what is stored"


def test_the_interval_of_modelled_energies_is_over_groups_and_the_unequal_power():
    def cpu(record, *seconds):
        trials = [msgspec.structs.replace(t, cpu_s=s) for t, s in zip(record.time.trials, seconds, strict=True)]
        return msgspec.structs.replace(record, time=msgspec.structs.replace(record.time, trials=trials))

    energy = joules(2.0, 1.0, 4.0, "modelled")
    records = cpu(idea([1.0] * 3, energy=energy), 1.0, 2.0, 4.0), cpu(dense([1.0] * 3, energy=energy), 1.0, 1.0, 1.0)
    (row,) = _compared(*records).to_dict("records")
    found = [row["energy_ratio"], row["energy_ratio_low"], row["energy_ratio_high"]]
    assert found == pytest.approx([2, 1 / 2**REACH, 4 * 2**REACH])


# -- the main table ---------------------------------------------------------------------------------------------------


def test_only_headline_ideas_have_a_row_unless_all_are_asked_for():
    records = [idea([1.0]), idea([1.0], params={**SHAPE, "n": 5}, headline=False), dense([1.0])]
    assert len(main_table(frame(records))) == 1
    rows = main_table(frame(records), all_points=True)
    assert [row.label for row in rows] == ["n=4", "n=5"]


def test_twins_stand_in_their_own_list():
    summary = summarise([idea([1.0]), dense([1.0]), dense([1.0], params={"m": 99})])
    assert [row.workload for row in summary.dense] == ["dense_matmul"]
    assert summary.outcomes == {"ok": 3}


def test_an_idea_that_failed_everywhere_keeps_its_row():
    row = _only([idea(status="timeout", reason="took longer than 60 s", failure_class="timeout"), dense([1.0])])
    assert (row.path, row.time_s, row.outcome) == (None, None, "timeout 1")
    assert row.reason == "took longer than 60 s"
    assert row.principal.tax is None


def test_a_difference_inside_the_noise_is_a_tie():
    records = [idea([1.1] * 3), dense([1.0] * 3)]
    assert _only(records).principal.verdict == "slower"
    assert _only(records, noise=0.2).principal.verdict == "tie"


def test_a_twin_of_its_own_dtype_is_found_there():
    """Both figures stand: against the case's dtype, and against what the machine is fast at."""
    own = msgspec.structs.replace(twin_ref(), dtype="bfloat16", kind="bfloat16")
    low = msgspec.structs.replace(dense([1.0]), case=msgspec.structs.replace(dense([1.0]).case, dtype="bfloat16"))
    table = _compared(idea([4.0], twins=[twin_ref(), own]), dense([2.0]), low)
    ratios = dict(zip(table["kind"], table["time_ratio"], strict=True))
    assert ratios["bfloat16"] == 4
    assert {ratio for kind, ratio in ratios.items() if kind != "bfloat16"} >= {2.0}
