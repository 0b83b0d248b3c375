"""Equal code is called changed at the rate that is said, and a planted change is found where it is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.changes import PRIOR_SD, change, judge, null, prior

PROCESSES, LUCK, DRIFT = 0.024, 0.01, 0.05  # standard deviations: of processes, of a case's run, of a run's host


def _table(rng, *, rows=50, rounds=5, runs=1, luck=LUCK, planted=0.0, spread=0.0):
    """Whether each row is called slower, of `rows` times, half of them dense, and of their speed-ups."""
    ideas = rows // 2
    processes = PROCESSES * np.exp(spread * rng.standard_normal((rows, 1)))

    def side(change):
        shared = luck * rng.standard_normal((rows, 1)) + DRIFT * rng.standard_normal()
        logs = shared + processes * rng.standard_normal((rows, rounds))
        logs[0] += np.log1p(change)
        return logs

    a, b = ([side(change) for _ in range(runs)] for change in (0.0, planted))
    times = [change(*([np.exp(run[k]) for run in s] for s in (a, b))) for k in range(rows)]
    gains = [change(*([np.exp(run[k] - run[k + ideas]) for run in s] for s in (a, b))) for k in range(ideas)]
    under = null(times, times[ideas:], prior((runs, runs)))
    found = [judge(times, under), judge(gains, null(gains, None, prior((runs, runs), cases=2)))]
    return [[f.p <= 0.05 and f.ratio > 1 for f in family] for family in found], found[0]


@pytest.mark.parametrize(
    "table",
    [
        {"rounds": 5},
        {"rounds": 10, "luck": 0.02},
        {"rounds": 3, "spread": 1.0},
        {"rows": 6, "rounds": 10, "luck": 0.02},
    ],
    ids=str,
)
def test_equal_code_fails_at_most_one_table_in_twenty(table):
    """200 tables each: hosts 5 % apart, cases with luck of 1 or 2 % a run. A binomial of 5 % is at most 18 in 99 %."""
    rng = np.random.default_rng(14)
    wrong = sum(any(map(any, _table(rng, **table)[0])) for _ in range(200))
    assert wrong <= 18


@pytest.mark.parametrize(("runs", "luck", "rows"), [(3, 0.005, 50), (4, 0.01, 50), (6, 0.01, 6)])
def test_five_per_cent_in_one_path_are_found_in_four_of_five_tables(runs, luck, rows):
    rng = np.random.default_rng(15)
    tables = [_table(rng, rows=rows, rounds=10, runs=runs, luck=luck, planted=0.05) for _ in range(60)]
    assert sum(called[0][0] for called, _ in tables) / 60 >= 0.8


def test_five_per_cent_in_every_path_of_a_small_table_are_found_by_several_runs_a_side():
    """Then no row is unchanged; what the runs of either side are apart tells what equal code would show."""
    rng = np.random.default_rng(19)

    def called(planted):
        def runs(more):
            mine = 0.006 * rng.standard_normal((3, 6, 1)) + more
            return np.exp(mine + 0.015 * rng.standard_normal((3, 6, 10)))

        a, b = runs(0.0), runs(planted)
        rows = [change([*map(list, a[:, k])], [*map(list, b[:, k])]) for k in range(6)]
        return [f.p <= 0.05 for f in judge(rows, null(rows, None, prior((3, 3), cases=2)))]

    assert np.mean([called(0.05) for _ in range(50)]) > 0.9
    assert np.mean([any(called(0.0)) for _ in range(100)]) <= 0.1


def test_the_spread_of_ratios_is_drawn_to_what_the_runs_of_either_side_are_apart():
    rng = np.random.default_rng(20)

    def spread(luck, processes=0.005):
        logs = luck * rng.standard_normal((2, 3, 6, 1)) + processes * rng.standard_normal((2, 3, 6, 10))
        rows = [change(*([*map(list, np.exp(side[:, k]))] for side in logs)) for k in range(6)]
        return null(rows, None, prior((3, 3), cases=2)).sd

    beforehand = prior((3, 3), cases=2).sd
    assert np.mean([spread(0.0) for _ in range(20)]) < 0.7 * beforehand
    assert np.mean([spread(0.05) for _ in range(20)]) > 1.5 * beforehand
    assert np.mean([spread(0.0, 0.08) for _ in range(20)]) < beforehand, "what processes are apart is no luck of runs"


def test_a_process_that_the_host_disturbed_does_not_hide_a_change_from_ten_rounds():
    """Two of ten are off by 20 %; of nine rounds all count, as of few."""

    def found(rounds):
        a = [[1.0 + 0.002 * k for k in range(rounds - 2)] + [1.2, 1.25]]
        return change(a, [[1.05 * t for t in a[0]]])

    assert found(10).log == pytest.approx(np.log(1.05))
    assert found(10).variance ** 0.5 < 0.01 < found(9).variance ** 0.5


def test_what_is_said_to_be_detectable_is_found_in_four_of_five_tables():
    rng = np.random.default_rng(16)
    least = float(np.median([_table(rng)[1][0].detectable for _ in range(20)]))
    assert 0.05 < least < 0.2, "one run of five rounds a side cannot see 5 % in one of 50 rows"
    found = [_table(rng, planted=least)[0][0][0] for _ in range(80)]
    assert 0.65 <= sum(found) / 80 <= 0.95


def test_the_interval_of_a_row_holds_its_change_nineteen_times_in_twenty():
    rng = np.random.default_rng(17)
    found = [f for _ in range(40) for f in _table(rng)[1]]
    assert 0.93 <= sum(f.low <= 1 <= f.high for f in found) / len(found) <= 0.99


def test_the_spread_is_that_of_the_rows_and_a_few_changed_rows_do_not_make_it():
    rng = np.random.default_rng(18)

    def spread(luck, changed=0):
        logs = luck * 2**0.5 * rng.standard_normal(200)
        logs[:changed] += 0.3
        rows = [change([[1.0, 1.001]], [[np.exp(x), 1.001 * np.exp(x)]]) for x in logs]
        return null(rows, rows, prior()).sd

    assert spread(0.03) == pytest.approx(0.03 * 2**0.5, rel=0.15)
    assert spread(0.03, changed=20) == pytest.approx(0.03 * 2**0.5, rel=0.35)
    assert spread(0.0) < PRIOR_SD / 2


def test_one_value_a_side_tells_nothing():
    assert change([[1.0]], [[1.0, 1.1]]) is None
    assert change([[1.0], [1.1]], [[1.0, 1.1]]) is None, "two runs of one round each know no spread"
    assert change([[1.0, 1.1]], []) is None


def test_without_references_five_rows_tell_the_drift_and_four_do_not():
    rows = [change([[1.0, 1.01]], [[1.1, 1.111]])] * 5
    assert null(rows, [], prior()).drift == pytest.approx(np.log(1.1))
    assert null(rows[:4], [], prior()) is None


def test_two_rounds_that_are_far_apart_have_figures_that_json_can_hold():
    rows = [change([[1.0, 9.0]], [[1.0, 0.1]]), change([[1.0, 1.1]], [[1.0, 1.1]])]
    assert all(np.isfinite(value) for found in judge(rows, null(rows, rows, prior())) for value in found)


def test_where_most_rows_changed_their_spread_does_not_hide_it():
    """Every idea takes twice as long; the dense rows, which tell the host's drift, do not."""
    rng = np.random.default_rng(3)

    def moved(factor):
        a, b = rng.lognormal(0, 0.02, (2, 4))
        return change([list(a)], [list(factor * b)])

    ideas, dense = [moved(2.0) for _ in range(30)], [moved(1.0) for _ in range(6)]
    under = null([*ideas, *dense], dense, prior())
    found = judge([*ideas, *dense], under)
    assert all(one.p < 0.05 and one.low > 1.2 for one in found[:30])
    assert all(one.p > 0.05 for one in found[30:])
