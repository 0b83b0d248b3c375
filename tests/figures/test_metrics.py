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
from harness.stats.intervals import median_interval, median_intervals
from harness.stats.process_times import Process, paired_ratios, processes


def _compared(*records):
    return comparisons(best_paths(frame(records)))


def _only(records, **options):
    (row,) = main_table(frame(records), **options)
    return row


# -- the frame --------------------------------------------------------------------------------------------------------


# Three values x/r, x, x·r have the logarithms' standard deviation ln r; Student's t of 2 degrees at 97.5 % is 4.3027.
REACH = 4.302652729911275 / math.sqrt(3)


def test_fewer_than_six_values_are_bounded_by_students_t_on_their_logarithms():
    (low,), (high,) = median_intervals([[1.0, 2.0, 4.0]])
    assert (low, high) == pytest.approx((2 / 2**REACH, 2 * 2**REACH))
    six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert median_intervals([six])[0][0] == median_interval(np.array([six]))[0][0], "from six on the bootstrap"


def test_few_intervals_hold_the_truth_as_often_as_they_say():
    """10 000 draws of three lognormal times: the range would hold the median with 75 %."""
    draws = np.exp(0.1 * np.random.default_rng(0).standard_normal((10_000, 3)))
    low, high = median_intervals(draws.tolist())
    assert 0.94 < np.mean((low <= 1) & (high >= 1)) < 0.97


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


# -- best paths -------------------------------------------------------------------------------------------------------


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


def test_a_survey_that_was_not_repeated_does_not_win_by_luck():
    """1.0 s once against 1.1 s in three processes is noise; 0.5 s is not."""
    repeated = idea([1.1, 1.2, 1.0])
    (row,) = best_paths(frame([repeated, idea([1.0], formulation="lucky")])).to_dict("records")
    assert row["path"] == "csr/eager"
    (row,) = best_paths(frame([repeated, idea([0.5], formulation="fast")])).to_dict("records")
    assert row["path"] == "fast/eager"


def test_a_survey_time_is_held_against_survey_times_not_against_groups_of_a_slower_hour():
    """In the survey it took 1.2 times as long; then the machine halved its speed."""
    repeated = idea([1.0, 2.0, 2.1, 2.2], rounds=[0, 1, 2, 3])
    (row,) = best_paths(frame([repeated, idea([1.2], rounds=[0], formulation="early")])).to_dict("records")
    assert row["path"] == "csr/eager"
    (row,) = best_paths(frame([repeated, idea([0.7], rounds=[0], formulation="fast")])).to_dict("records")
    assert row["path"] == "fast/eager"
    raced = idea([0.7, 2.5], rounds=[0, 1], formulation="raced")
    (row,) = best_paths(frame([repeated, raced])).to_dict("records")
    assert row["path"] == "csr/eager", "it lost in a group"


def test_overlapping_paths_are_counted_as_tied():
    records = [idea([1.0, 1.01, 1.02]), idea([1.01, 1.02, 1.03], formulation="coo")]
    records.append(idea([2.0, 2.01, 2.02], formulation="csc"))
    (row,) = best_paths(frame(records)).to_dict("records")
    assert (row["path"], row["tied"]) == ("csr/eager", 1)


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


# -- ratios -----------------------------------------------------------------------------------------------------------


def test_tax_and_speed_up_by_hand():
    """T = 2, W = 0.1: tax 20, speed-up 0.5."""
    (row,) = _compared(idea([2.0]), dense([1.0])).to_dict("records")
    assert row["time_ratio"] == 2
    assert row["work_ratio"] == pytest.approx(0.1)
    assert row["tax"] == pytest.approx(20)
    assert row["speed_up"] == 0.5
    assert math.isnan(row["tax_low"]), "one round has no interval"


def test_ratios_are_taken_in_each_round_so_that_drift_cancels():
    """The machine slows down fourfold; both sides do, and the ratio stays 2."""
    (row,) = _compared(idea([2.0, 4.0, 8.0]), dense([1.0, 2.0, 4.0])).to_dict("records")
    assert (row["time_ratio"], row["time_ratio_low"], row["time_ratio_high"]) == (2, 2, 2)
    assert row["rounds"] == 3


def test_the_interval_of_a_ratio_and_what_it_becomes_in_speed_up_and_tax():
    (row,) = _compared(idea([2.0, 4.0, 8.0]), dense([1.0, 1.0, 1.0])).to_dict("records")
    low, high = 4 / 2**REACH, 4 * 2**REACH
    assert (row["speed_up_low"], row["speed_up"], row["speed_up_high"]) == pytest.approx((1 / high, 1 / 4, 1 / low))
    assert (row["tax_low"], row["tax"], row["tax_high"]) == pytest.approx((10 * low, 40, 10 * high))


def test_only_common_rounds_are_paired_whatever_their_order():
    def made(**times):
        return [Process(int(key[1:]), time) for key, time in times.items()]

    assert paired_ratios(made(r0=1.0, r2=6.0, r5=9.0), made(r2=3.0, r1=9.0, r0=4.0)) == [0.25, 2.0]
    assert paired_ratios([Process(0, 1.0), Process(0, 3.0)], [Process(0, 1.0)]) == [2.0], "two of a round count once"
    assert paired_ratios([], []) == []


def _turns(slices, warmup=()):
    """A record of one group whose window had these slices, the samples of `warmup` before them in the first."""
    flat = [s for item in slices for s in item]
    counts = [len(element) + (len(warmup) if not k else 0) for k, element in enumerate(slices)]
    made = idea([flat])
    (trial,) = made.time.trials
    trial = msgspec.structs.replace(trial, heat=7, slices=counts, warmup_s=list(warmup))
    return processes(msgspec.structs.replace(made, time=msgspec.structs.replace(made.time, trials=[trial])))


def test_in_a_group_turns_are_paired_so_a_machine_that_changes_its_speed_between_them_cancels():
    """Half of the window slow: the medians of the two windows are 1 and 4, and the cases the same."""
    a, b = [[1.0, 1.0, 1.0], [4.0, 4.0], [1.0], [4.0, 4.0]], [[1.0], [4.0, 4.0, 4.0], [1.0], [4.0, 4.0]]
    (first,), (second,) = _turns(a), _turns(b)
    assert (first.centre_s, second.centre_s) == (2.5, 4.0)
    assert paired_ratios([first], [second]) == [1.0]


def test_only_turns_that_both_took_are_paired_and_of_too_few_the_medians_are():
    assert paired_ratios(_turns([[2.0], [8.0], [6.0]]), _turns([[1.0], [4.0]])) == [2.0]
    assert paired_ratios(_turns([[2.0, 3.0, 4.0]]), _turns([[1.0], [4.0]])) == [3.0 / 2.5]


def test_a_slice_that_the_warm_up_took_is_no_turn():
    (process,) = _turns([[1.0], [2.0], [3.0]], warmup=[9.0, 9.0])
    first, *rest = process.slices_s()
    assert math.isnan(first)
    assert rest == [2.0, 3.0]


def test_a_record_whose_slices_do_not_add_up_is_paired_by_its_medians():
    assert Process(1, 5.0, [5.0, 6.0], [1]).slices_s() == []
    assert paired_ratios([Process(1, 5.0, [5.0, 6.0], [1])], [Process(1, 2.5)]) == [2.0]


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


def test_energy_ratios_need_one_source_and_keep_their_bounds():
    def figures(mine, other):
        (row,) = _compared(idea([1.0], energy=mine), dense([1.0], energy=other)).to_dict("records")
        return [row[f"energy_{name}"] for name in ("ratio", "tax", "tax_low", "tax_high")]

    modelled = figures(joules(2.0, 1.0, 4.0, "modelled"), joules(4.0, 2.0, 8.0, "modelled"))
    assert modelled == pytest.approx([0.5, 5, 1.25, 20])
    counted = figures(joules(2.0), joules(4.0))
    assert counted[:2] == pytest.approx([0.5, 5])
    assert math.isnan(counted[2])
    assert all(map(math.isnan, figures(joules(2.0), joules(4.0, source="sampled"))))
    assert all(map(math.isnan, figures(joules(None, source="none"), joules(None, source="none"))))


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
