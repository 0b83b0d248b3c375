"""Two runs against each other: ratios, intervals, verdicts, what is refused, and the exit codes of the command."""

from __future__ import annotations

import itertools
import json
import statistics

import msgspec
import numpy as np
import pytest
from _records import SHAPE, dense, idea

from harness.cli.main import run_cli
from harness.cli.publish import slower_than
from harness.figures.comparable import differences
from harness.figures.compare import compare, ratio_interval
from harness.records.store import RunInfo, Store
from harness.report.compare_text import as_json, as_markdown

MACHINE = {"cpu": "A CPU", "architecture": "x86_64", "cores_physical": 2, "cores_logical": 2, "cores_usable": 2}
INFO = RunInfo(
    schema=1,
    run="r1",
    started_at="2026-11-01T10:00:00Z",
    ended_at=None,
    command=["hwlottery", "run"],
    machine=MACHINE,
    versions={"numpy": "2.4.6"},
    settings={"threads": 2},
    sources={"harness": "1" * 64},
)
STILL = [1.00, 1.01, 0.99, 1.00, 1.005]


def _times(scale, times=STILL):
    return {"processes": [scale * t for t in times], "rounds": range(1, len(times) + 1)}


def _run(scale=1.0, **facts):
    """An idea at `scale`, and its twin."""
    return [idea(**_times(scale), **facts), dense(**_times(0.5))]


def _compared(a, b, **options):
    return compare(a, b, names=("A", "B"), **({"noise": None} | options))


def _row(found, part="unstructured", kind="case"):
    return next(r for r in found.rows if r.kind == kind and part in r.case)


# -- ratios, intervals, verdicts --------------------------------------------------------------------------------------


def test_a_planted_slow_down_is_called_slower_and_an_unchanged_case_a_tie():
    found = _compared(_run(1.0), _run(1.1))
    row = _row(found)
    assert (row.ratio, row.verdict) == (pytest.approx(1.1), "slower")
    assert 1.07 < row.low < 1.1 < row.high < 1.13
    assert (_row(found, "dense").ratio, _row(found, "dense").verdict) == (1.0, "tie")


def test_the_other_way_round_it_is_faster():
    assert _row(_compared(_run(1.1), _run(1.0))).verdict == "faster"


def test_a_difference_inside_the_noise_is_a_tie():
    assert _row(_compared(_run(1.0), _run(1.1), noise=0.12)).verdict == "tie"


def test_the_interval_is_what_resampling_both_sides_independently_converges_to():
    a, b = [1.0, 1.3, 1.1], [2.0, 2.6, 2.2, 2.1]
    under = [statistics.median(x) for x in itertools.product(a, repeat=3)]
    over = [statistics.median(x) for x in itertools.product(b, repeat=4)]
    ratios = np.sort(np.divide.outer(over, under).ravel())
    low, high = ratio_interval(a, b)
    assert (low, high) == pytest.approx(np.quantile(ratios, [0.025, 0.975], method="inverted_cdf"))


def test_many_processes_have_an_interval_too():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(1, 0.05, n) for n in (60, 300))
    low, high = ratio_interval(a, b)
    assert 0.95 < low < np.median(b) / np.median(a) < high < 1.05


def test_single_processes_have_no_interval_and_are_a_tie_up_to_thirty_per_cent():
    slightly = _row(_compared([idea([1.0])], [idea([1.25])]))
    clearly = _row(_compared([idea([1.0])], [idea([1.35])]))
    assert (slightly.low, slightly.high, slightly.verdict) == (None, None, "tie")
    assert clearly.verdict == "slower"


def test_the_intervals_hold_one_for_equal_runs_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    held = [low <= 1 <= high for low, high in (ratio_interval(*rng.lognormal(0, 0.1, (2, 7))) for _ in range(300))]
    assert sum(held) / len(held) >= 0.93


# -- what stands in the rows ------------------------------------------------------------------------------------------


def test_best_paths_are_compared_although_another_path_is_the_best_now():
    a = [idea(**_times(1.0)), idea(**_times(2.0), formulation="coo")]
    b = [idea(**_times(1.5)), idea(**_times(0.8), formulation="coo")]
    found = _compared(a, b)
    best = _row(found, kind="best path")
    assert (best.path_a, best.path_b, best.ratio) == ("csr/eager", "coo/eager", pytest.approx(0.8))
    assert [r.ratio for r in found.rows if r.kind == "case"] == pytest.approx([1.5, 0.4])


def test_what_got_worse_comes_first_and_what_broke_before_it():
    names = {"w1": 1.2, "w2": 1.0, "w3": 0.5, "w4": 3.0}
    a = [idea(**_times(1.0), workload=w) for w in (*names, "w5")]
    b = [idea(**_times(s), workload=w) for w, s in names.items()]
    b.append(idea(status="timeout", reason="too slow", workload="w5"))
    rows = [r for r in _compared(a, b).rows if r.kind == "case"]
    assert [r.case.split("/")[0] for r in rows] == ["w5", "w4", "w1", "w2", "w3"]
    assert (rows[0].broken, rows[0].ratio, rows[0].verdict, rows[0].outcome_b) == (True, None, None, "timeout")


def test_what_is_on_one_side_only_is_listed():
    found = _compared([*_run(), idea(**_times(1), workload="old")], [*_run(), idea(**_times(1), workload="new")])
    only = {(item.side, item.case.split()[0]) for item in found.only if item.kind == "case"}
    assert only == {("A", "old/csr"), ("B", "new/csr")}


def test_controls_are_not_cases():
    control = msgspec.structs.replace(idea(**_times(9.0)), control=True)
    assert _row(_compared([*_run(), control], [*_run(), control])).ratio == 1


def test_wrong_output_has_no_ratio():
    row = _row(_compared(_run(), [idea(**_times(0.1), status="wrong", reason="disagrees")]))
    assert (row.ratio, row.verdict, row.broken) == (None, None, True)


# -- text -------------------------------------------------------------------------------------------------------------


def test_json_has_rows_with_case_ratio_interval_and_verdict():
    rows = json.loads(as_json(_compared(_run(1.0), _run(1.1))))["rows"]
    assert all({"case", "ratio", "low", "high", "verdict"} <= set(row) for row in rows)
    assert [row["verdict"] for row in rows if row["kind"] == "case"] == ["slower", "tie"]


def test_markdown_shows_the_worst_first_and_leaves_out_identical_cases_that_tie():
    text = as_markdown(_compared(_run(1.0), _run(1.1), noise=0.03))
    best, cases = text.split("## ")[1:3]
    assert best.splitlines()[4].startswith(
        "| unstructured_sparse forward numpy cpu float32 [k=8,m=8,n=4] csr/eager | 1.00"
    )
    assert "| 1.10× [1.09, 1.11] | slower |" in best
    assert "dense_matmul" in best
    assert "dense_matmul" not in cases
    assert "the noise of both, drift between groups included, is 3%" in text
    assert "identical cases: 1 slower, 1 tie." in text
    assert "dense_matmul/nn" in as_markdown(_compared(_run(1.0), _run(1.1)), everything=True)


# -- comparability ----------------------------------------------------------------------------------------------------


def _info(**facts):
    return msgspec.structs.replace(INFO, **facts)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (_info(machine={**MACHINE, "cpu": "Another CPU"}), "cpu (A CPU / Another CPU)"),
        (_info(machine={**MACHINE, "cores_usable": 1}), "cores_usable (2 / 1)"),
        (_info(machine={k: v for k, v in MACHINE.items() if k != "cpu"}), "cpu (A CPU / unknown)"),
        (_info(settings={"threads": 1}), "threads (2 / 1)"),
        (_info(sources={"harness": "2" * 64}), "sources of harness (11111111 / 22222222)"),
        (_info(sources={}), "sources of harness (11111111 / unknown)"),
    ],
)
def test_another_machine_threads_or_sources_are_named_with_both_values(info, said):
    assert [str(d) for d in differences(_run(), _run(), (INFO, info))] == [said]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"dtype": "bfloat16"}, ["dtype (float32 / bfloat16)"]),
        ({"params": {**SHAPE, "m": 16}}, ["shapes of unstructured_sparse (k=8,m=8,n=4 / k=8,m=16,n=4)"]),
    ],
)
def test_another_dtype_or_shape_is_named_with_both_values(facts, said):
    assert [str(d) for d in differences([idea([1.0])], [idea([1.0], **facts)], (INFO, INFO))] == said


def test_another_precision_or_thread_count_of_a_framework_is_named():
    def with_settings(**settings):
        return [msgspec.structs.replace(idea([1.0], backend="torch"), settings=settings)]

    a, b = with_settings(tf32=False, threads=2), with_settings(tf32=True, threads=1)
    assert [str(d) for d in differences(a, b, (INFO, INFO))] == ["torch tf32 (False / True)", "torch threads (2 / 1)"]
    assert differences(a, with_settings(tf32=False, threads=2, dynamo_s=1.0), (INFO, INFO)) == []


def test_a_point_more_on_one_side_does_not_forbid_the_rest():
    more = [*_run(), idea([1.0], params={**SHAPE, "m": 16})]
    assert differences(_run(), more, (INFO, INFO)) == []


# -- the command ------------------------------------------------------------------------------------------------------


def _stored(folder, records, info=INFO):
    with Store(folder, info) as store:
        for record in records:
            store.append(record)
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    return _stored(tmp_path / "a", _run(1.0)), _stored(tmp_path / "b", _run(1.1))


@pytest.mark.parametrize(("limit", "code"), [("slower:5%", 1), ("slower:20%", 0), ("slower:0%", 1)])
def test_fail_on_sets_the_exit_code(folders, limit, code, capsys):
    assert run_cli(["compare", *folders, "--fail-on", limit]) == code
    err = capsys.readouterr().err
    assert (f"failed on {limit}: unstructured_sparse" in err) == bool(code)


def test_a_tie_never_fails(folders):
    assert run_cli(["compare", folders[0], folders[0], "--fail-on", "slower:0%"]) == 0


def test_a_case_that_broke_fails(folders, tmp_path, capsys):
    broken = _stored(tmp_path / "c", [idea(status="crash", reason="killed"), dense(**_times(0.5))])
    assert run_cli(["compare", folders[0], broken, "--fail-on", "slower:50%"]) == 1
    assert "crash, was ok" in capsys.readouterr().err
    assert run_cli(["compare", folders[0], broken]) == 0


@pytest.mark.parametrize("text", ["slower", "slower:5", "faster:5%", "slower:x%", "slower:-1%", "slower:nan%", ""])
def test_a_limit_that_cannot_be_read_is_one_sentence(folders, text, capsys):
    assert run_cli(["compare", *folders, "--fail-on", text]) == 2
    assert f"--fail-on {text!r} is not slower:PERCENT%, such as slower:5%" in capsys.readouterr().err


def test_the_share_of_a_limit():
    assert slower_than("slower:2.5%") == pytest.approx(0.025)


def test_what_is_not_comparable_is_refused_with_its_fields_and_shown_by_force(folders, tmp_path, capsys):
    other = _stored(tmp_path / "c", _run(1.1), _info(settings={"threads": 1}))
    assert run_cli(["compare", folders[0], other]) == 2
    out = capsys.readouterr()
    assert "are not comparable, for these differ (A / B): threads (2 / 1); " in out.err
    assert out.out == ""
    assert run_cli(["compare", folders[0], other, "--force", "--json"]) == 0
    out = capsys.readouterr()
    assert "warning: compared by --force although these differ (A / B): threads (2 / 1)" in out.err
    assert len(json.loads(out.out)["rows"]) == 4


def test_by_force_another_dtype_is_held_against_the_first(folders, tmp_path, capsys):
    other = _stored(tmp_path / "c", [idea(**_times(0.5), dtype="bfloat16")])
    assert run_cli(["compare", folders[0], other, "--force", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["ratio"] for row in rows} == {0.5}


def test_two_backends_of_one_run(tmp_path, capsys):
    both = _stored(tmp_path / "r", [*_run(1.0, backend="torch"), *_run(2.0, backend="jax")])
    assert run_cli(["compare", both, "--by", "backend=torch,jax", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["a"], data["b"]) == ("torch", "jax")
    row = next(r for r in data["rows"] if r["kind"] == "case")
    assert row["case"] == "unstructured_sparse/csr forward eager cpu float32 [k=8,m=8,n=4]"
    assert (row["ratio"], row["verdict"]) == (pytest.approx(2), "slower")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--by", "backend=torch,tensorflo"], "there is no backend in"),
        (["--by", "colour=red,blue"], "--by 'colour=red,blue' is not FIELD=A,B with a FIELD of backend, device"),
        (["--by", "backend=torch"], "is not FIELD=A,B"),
        ([], "compare A B takes 2 results folders, found 1"),
        (["--format", "tabel", "--by", "backend=torch,jax"], "there is no format 'tabel'; did you mean table?"),
    ],
)
def test_bad_arguments_are_one_sentence(tmp_path, arguments, words, capsys):
    both = _stored(tmp_path / "r", [*_run(1.0, backend="torch"), *_run(2.0, backend="jax")])
    assert run_cli(["compare", both, *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_the_table_fits_in_80_columns_without_colour_in_a_pipe(folders, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run_cli(["compare", *folders]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "slower" in out
    assert "\x1b" not in out


def test_nothing_in_common_is_said(tmp_path, capsys):
    a = _stored(tmp_path / "a", [idea([1.0], workload="x")])
    b = _stored(tmp_path / "b", [idea([1.0], workload="y")])
    assert run_cli(["compare", a, b, "--json"]) == 0
    assert "no case is on both sides, so nothing was compared" in capsys.readouterr().err
