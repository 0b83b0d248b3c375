"""Every figure against a value worked by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from _records import SHAPE, dense, host_memory, idea, joules, record, timing, twin_ref

from harness.figures.best_paths import best_paths
from harness.figures.ceilings import ceilings
from harness.figures.findings import amortisation, break_even, lottery_shift
from harness.figures.frame import COLUMNS, frame
from harness.figures.portability import explain_outcomes, portability
from harness.figures.summary import main_table, summarise
from harness.figures.twins import comparisons
from harness.records.points import point_name
from harness.stats.intervals import median_interval, median_intervals, ranks, verdict
from harness.stats.noise import drift_floor, noise_floor
from harness.stats.process_times import Process, counted, paired_ratios, processes
from workloads.base import Axis


def _compared(*records):
    return comparisons(best_paths(frame(records)))


def _only(records, **options):
    (row,) = main_table(frame(records), **options)
    return row


# -- intervals and ranks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 6, 7, 10])
def test_the_interval_is_what_resampling_converges_to(n):
    """The ideal bootstrap agrees with drawing 200 000 resamples."""
    rng = np.random.default_rng(n)
    x = rng.lognormal(size=n)
    drawn = np.median(rng.choice(x, (200_000, n)), axis=1)
    low, high = (float(v[0]) for v in median_interval(x[None]))
    assert (drawn < low).mean() <= 0.03
    assert (drawn <= low).mean() >= 0.022
    assert (drawn > high).mean() <= 0.03
    assert (drawn >= high).mean() >= 0.022


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_of_few_processes_is_their_range(n):
    low, high = median_interval(np.array([[float(k) for k in range(n, 0, -1)]]))
    assert (low[0], high[0]) == (1, n)


def test_intervals_of_many_values_are_narrow_and_those_of_one_unknown():
    low, high = median_intervals([[1.0], list(range(500)), []])
    assert math.isnan(low[0])
    assert math.isnan(high[2])
    assert 220 < low[1] < 250 < high[1] < 280


def test_an_interval_of_one_value_is_refused():
    with pytest.raises(ValueError, match="at least 2 values"):
        median_interval(np.ones((1, 1)))


def test_overlapping_intervals_share_a_rank():
    assert ranks([3.0, 2.9, 1.0], [(2.5, 3.5), (2.4, 3.4), (0.9, 1.1)]) == [1, 1, 3]
    assert ranks([1.0, 3.0, 2.9], [(0.9, 1.1), (2.95, 3.5), (2.4, 2.94)]) == [3, 1, 2]


def test_a_difference_inside_the_noise_shares_a_rank_and_ties_do_not_chain():
    assert ranks([1.0, 0.95, 0.9, 0.5], noise=0.1) == [1, 1, 3, 4]
    assert ranks([1.0, 0.95], noise=None) == [1, 2]
    assert ranks([1.0, 1.0]) == [1, 1]


def test_verdicts():
    nan = math.nan
    assert verdict(0.5, 0.4, 0.6, None) == "faster"
    assert verdict(2.0, 1.9, 2.1, None) == "slower"
    assert verdict(0.95, 0.9, 1.1, None) == "tie"
    assert verdict(0.95, 0.94, 0.96, 0.1) == "tie"
    assert verdict(0.5, nan, nan, None) is None, "one process alone settles nothing"
    assert verdict(0.5, nan, nan, 0.1) == "faster"
    assert verdict(0.8, nan, nan, 0.02) == "tie", "the noise of pairs says nothing of single processes"
    assert verdict(0.8, 0.79, 0.81, 0.02) == "faster"
    assert verdict(nan, nan, nan, 0.1) is None


def test_the_surveys_own_time_does_not_count_where_a_case_went_on():
    """It was chosen for being small; in the rounds it is what it is."""
    survey, went_on = timing([[1.0, 1.2]], rounds=[0]), timing([[1.0], [2.0], [3.0]], rounds=[0, 1, 2])
    assert counted(survey) == [(0, [1.0, 1.2])]
    assert counted(went_on) == [(1, [2.0]), (2, [3.0])]
    assert frame([idea([1.0, 2.0, 3.0], rounds=[0, 1, 2])]).iloc[0]["time_s"] == 2.5


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


# -- roofline ---------------------------------------------------------------------------------------------------------


def _stream(size, seconds, **facts):
    """`size` nominal bytes moved in `seconds`; float16 so that small sizes are whole numbers of values."""
    params = {"elements": size // 2, "kernel": "triad"}
    return record("stream", [seconds], params=params, dtype="float16", least_bytes=size, **facts)


def test_roofline_share_by_hand():
    """Ceiling 1000 FLOP/s, bandwidth 100 B/s, intensity 2: bound 200 FLOP/s; 100 FLOP in 1 s is half of it."""
    records = [idea([1.0], flop=100, least_bytes=50), dense([1.0]), _stream(50, 0.5)]
    assert _only(records).roofline_share == 0.5


def test_the_matmul_ceiling_binds_where_intensity_is_high():
    records = [idea([1.0], flop=100, least_bytes=1), dense([[1.0, 0.5]], backend="jax", flop=200), _stream(2, 0.001)]
    row = _only(records)
    assert row.roofline_share == 0.25, "200 FLOP in the fastest sample, 0.5 s, of any backend"


def test_the_bandwidth_that_bounds_a_case_is_the_fastest_level_that_may_hold_it():
    """L1 100 B/s at 10 B, L2 50 B/s at 100 B, memory 80 B/s at 1000 B (a prefetcher): a case of 150 B may see 80."""
    records = [_stream(10, 0.1), _stream(100, 2.0), _stream(1000, 12.5), _stream(1000, 20.0, backend="jax")]
    limits = ceilings(frame(records))
    assert limits.bandwidth("r1", "cpu", 5) == 100
    assert limits.bandwidth("r1", "cpu", 50) == 100
    assert limits.bandwidth("r1", "cpu", 150) == 80
    assert limits.bandwidth("r1", "cpu", 10_000) == 80
    assert limits.bandwidth("r1", "cuda", 50) is None


@pytest.mark.parametrize("missing", [0, 1])
def test_without_a_ceiling_there_is_no_share(missing):
    there = [dense([1.0]), _stream(50, 0.5)]
    del there[missing]
    assert _only([idea([1.0]), *there]).roofline_share is None


def test_a_train_step_and_another_dtype_are_no_ceiling():
    records = [idea([1.0]), dense([1.0], mode="train_step"), dense([1.0], dtype="bfloat16"), _stream(50, 0.5)]
    assert _only(records).roofline_share is None


def test_a_share_above_one_is_kept_and_marked():
    row = _only([idea([0.1], flop=1000, least_bytes=1), dense([1.0]), _stream(2, 1e-6)])
    assert row.roofline_share == pytest.approx(10)
    assert row.share_suspect


# -- findings ---------------------------------------------------------------------------------------------------------


def _sweep(times, **facts):
    out = [dense([1.0] * 3)]
    for density, seconds in times.items():
        processes = seconds if isinstance(seconds, list) else [seconds] * 3
        out.append(idea(processes, params={**SHAPE, "density": density}, **facts))
    return out


def _break_even(records, noise=None):
    best = best_paths(frame(records))
    (found,) = break_even(best, comparisons(best), noise)
    return found


def test_break_even_by_log_log_interpolation():
    """T = 1/4 at δ = 0.01 and 4 at 0.16: half-way in log, δ = 0.04."""
    found = _break_even(_sweep({0.01: 0.25, 0.16: 4.0}))
    assert found.verdict == "crosses"
    assert found.value == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.04, 0.04))
    assert found.point == "k=8,m=8,n=4"


def _over_k(times):
    out = [dense([1.0] * 3)]
    out += [idea([seconds] * 3, params={**SHAPE, "density": 0.1, "k": k}) for k, seconds in times.items()]
    return out


@pytest.fixture
def declared(monkeypatch):
    """The workload of the records declares `k` as the axis to break even on."""
    name = idea([1.0]).case.workload
    known = SimpleNamespace(axes={"k": Axis(break_even=True), "density": Axis(default=0.1)})
    monkeypatch.setattr("harness.figures.findings.workloads", lambda: ({name: known}, ()))


@pytest.mark.usefixtures("declared")
def test_any_axis_that_its_workload_declares_is_one_to_break_even_on():
    below, above = (_break_even(_over_k(times)) for times in ({10: 0.25, 160: 4.0}, {10: 4.0, 160: 0.25}))
    assert (below.axis, below.verdict, below.above) == ("k", "crosses", False)
    assert (above.axis, above.verdict, above.above) == ("k", "crosses", True)
    assert (below.value, above.value) == pytest.approx((40, 40))
    assert (above.range_low, above.range_high, above.crossings) == (10, 160, pytest.approx([40]))
    assert below.sentence == "faster than dense below k 40 [40, 40]"
    assert above.sentence == "faster than dense above k 40 [40, 40]"


@pytest.mark.usefixtures("declared")
def test_a_sweep_over_another_axis_than_the_declared_has_no_break_even():
    best = best_paths(frame(_sweep({0.01: 0.25, 0.16: 4.0})))
    assert break_even(best, comparisons(best)) == []


def test_over_density_an_idea_that_is_faster_on_the_dense_side_is_not_monotone():
    assert _break_even(_sweep({0.01: 4.0, 0.16: 0.25})).verdict == "not_monotone"


def test_a_break_even_of_single_processes_has_their_margin_and_not_that_of_pairs():
    """T from 1/4 to 4 by single processes: 30 % either way, not the 1 % of groups."""
    found = _break_even(_sweep({0.01: [0.25], 0.16: [4.0]}), noise=0.01)
    assert found.value == pytest.approx(0.04)
    reach = 16 ** (math.log(1.3) / math.log(16))
    assert (found.low, found.high) == pytest.approx((0.04 / reach, 0.04 * reach))


def test_an_entry_without_an_interval_ties_up_to_what_single_processes_differ_by():
    assert ranks([1.2, 1.0], [(1.19, 1.21), (0.99, 1.01)], 0.02) == [1, 2]
    assert ranks([1.2, 1.0], [(1.19, 1.21), None], 0.02) == [1, 1]
    assert ranks([1.4, 1.0], [(1.39, 1.41), None], 0.02) == [1, 2]


def test_the_interval_of_a_break_even_is_where_the_bounds_of_the_ratio_cross():
    """The upper bounds, 1/4 → 16, pass 1 a third of the way in log; the lower, 1/16 → 4, at two thirds."""
    r = 2 ** (1 / REACH)  # so that the intervals reach a factor of 2
    found = _break_even(_sweep({0.01: [0.125 / r, 0.125, 0.125 * r], 0.64: [8.0 / r, 8.0, 8.0 * r]}))
    assert found.value == pytest.approx(0.08)
    assert found.low == pytest.approx(0.01 * 64 ** (1 / 3))
    assert found.high == pytest.approx(0.01 * 64 ** (2 / 3))
    assert "below density 0.08 [0.04, 0.16]" in found.sentence


def test_a_bound_outside_the_range_is_open_and_one_process_has_no_interval():
    found = _break_even(_sweep({0.01: [0.5, 0.5, 2.0], 0.1: [0.5, 2.0, 2.0]}))
    assert found.open_low
    assert found.open_high
    assert "[<0.01, >0.1]" in found.sentence
    alone = _break_even(_sweep({0.01: [0.25], 0.16: [4.0]}))
    assert (alone.low, alone.high, alone.open_low) == (None, None, False)
    assert alone.sentence == "faster than dense below density 0.04"


def test_break_even_that_never_or_always_happens_in_the_range_says_so():
    never, always = _break_even(_sweep({0.01: 2.0, 0.1: 4.0})), _break_even(_sweep({0.01: 0.2, 0.1: 0.4}))
    assert (never.verdict, never.value) == ("never", None)
    assert "never faster than dense in the range measured, density 0.01–0.1" in never.sentence
    assert (always.verdict, always.value) == ("always", None)


def test_a_curve_that_crosses_twice_is_not_given_one_density():
    found = _break_even(_sweep({0.01: 2.0, 0.1: 0.5, 0.5: 2.0}))
    assert found.verdict == "not_monotone"
    assert found.value is None
    assert len(found.crossings) == 2


def test_ratios_inside_the_noise_decide_nothing_about_a_break_even():
    """0.95 and 1.05 are ties at 10 % noise: without it the curve crosses twice more, with it never clearly."""
    curve = _sweep({0.01: 0.25, 0.1: 0.95, 0.2: 1.05, 0.4: 0.96})
    best = best_paths(frame(curve))
    (plain,) = break_even(best, comparisons(best))
    (noisy,) = break_even(best, comparisons(best), noise=0.1)
    assert plain.verdict == "not_monotone"
    assert (noisy.verdict, noisy.open_high) == ("crosses", True)
    assert noisy.low < 0.1
    (tied,) = break_even(
        best_paths(frame(_sweep({0.01: 0.95, 0.1: 0.99}))), _compared(*_sweep({0.01: 0.95, 0.1: 0.99})), 0.1
    )
    assert tied.verdict == "never"


def test_a_tie_up_to_the_end_of_the_range_is_called_one():
    curve = _sweep({0.01: 0.25, 0.16: 0.98})
    (found,) = break_even(best_paths(frame(curve)), _compared(*curve), noise=0.1)
    assert found.value is None
    assert "a tie with dense from there on" in found.sentence


def test_the_noise_floor_is_what_controls_differ_by_in_common_rounds():
    """A/A: 10 % in the middle of three rounds; cases that are no controls of each other do not count."""
    case = dense([9.0, 1.0, 1.0, 1.0], rounds=[0, 1, 2, 3])
    control = msgspec.structs.replace(dense([1.3, 1.1, 1.05], rounds=[1, 2, 3]), control=True)
    assert noise_floor([case, control]) == pytest.approx(0.1)
    assert noise_floor([case, idea([5.0], rounds=[1])]) is None
    assert summarise([case, control, idea([0.95], rounds=[1])]).noise == pytest.approx(0.1)
    assert summarise([case, control]).records == 1


def test_times_that_are_not_pairs_have_the_noise_of_the_drift_between_groups():
    drifting = dense([1.0, 1.0, 1.2, 1.2])
    assert drift_floor([drifting, idea([3.0, 3.0, 3.0, 3.0])]) == pytest.approx(0.2)
    assert noise_floor([drifting]) is None
    assert drift_floor([dense([1.0, 1.2, 1.2])]) is None, "three groups have no halves"


def test_one_density_is_no_sweep():
    best = best_paths(frame(_sweep({0.1: 2.0})))
    assert break_even(best, comparisons(best)) == []


def test_sweeps_are_kept_apart_by_everything_but_density():
    records = _sweep({0.01: 0.25, 0.16: 4.0})
    records += [r for r in _sweep({0.01: 0.25, 0.16: 4.0}, backend="jax") if r.case.backend == "jax"]
    best = best_paths(frame(records))
    assert [item.backend for item in break_even(best, comparisons(best))] == ["numpy"], "jax has no twin here"


def _paid(*records):
    table = frame(records)
    best = best_paths(table)
    return amortisation(table, best, comparisons(best))


def test_compilation_is_paid_back_after_the_calls_worked_by_hand():
    """Eager 2 s a call; compiled 11 s, then 1 s: after 10 calls both have taken 20 s."""
    (item,) = _paid(
        record(processes=[2.0], first_call_s=2.0),
        record(processes=[1.0], first_call_s=11.0, execution="compiled", cache="cold"),
    )
    assert (item.kind, item.calls, item.extra_s, item.cache) == ("compile", 10, 9.0, "cold")


def test_compilation_that_gains_nothing_is_never_paid_back():
    (item,) = _paid(
        record(processes=[1.0], first_call_s=1.0), record(processes=[1.5], first_call_s=9.0, execution="graph")
    )
    assert item.calls is None


def test_conversion_is_paid_back_against_the_dense_twin():
    """3 s more of conversion, 1 s gained a call: three calls."""
    (item,) = _paid(idea([1.0], convert_s=4.0), dense([2.0], convert_s=1.0))
    assert (item.kind, item.calls, item.against) == ("convert", 3, "nn/eager")


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


def _ideas(backend, **times):
    out = [dense([1.0] * 3, backend=backend)]
    return out + [idea([t] * 3, workload=name, backend=backend) for name, t in times.items()]


def test_the_lottery_shift_is_how_far_an_idea_moves():
    records = [*_ideas("torch", a=0.5, b=1.0, c=2.0), *_ideas("jax", a=2.0, b=1.0, c=0.5, d=0.1)]
    best = best_paths(frame(records))
    shifts = {s.workload: s for s in lottery_shift(best, comparisons(best))}
    assert shifts["a"].ranks == {"jax cpu": 3, "torch cpu": 1}
    assert (shifts["a"].shift, shifts["b"].shift, shifts["c"].shift) == (2, 0, 2)
    assert shifts["d"].shift is None, "an idea that lacks a place has no rank"


def test_one_place_has_no_lottery():
    best = best_paths(frame(_ideas("torch", a=0.5, b=1.0)))
    assert lottery_shift(best, comparisons(best)) == []


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
