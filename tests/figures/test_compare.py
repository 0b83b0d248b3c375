"""Two runs against each other: ratios, intervals, verdicts, what is refused, and the exit codes of the command."""

from __future__ import annotations

import json

import msgspec
import pytest
from _records import SHAPE, dense, idea, twin_ref

from harness.cli.main import run_cli
from harness.cli.publish import slower_than
from harness.figures.comparable import Difference, differences
from harness.figures.compare import compare
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
    return [idea(**_times(scale), **facts), dense(**_times(0.5), **{k: v for k, v in facts.items() if k == "run"})]


def _compared(a, b, **options):
    return compare(a, b, names=("A", "B"), **options)


def _row(found, part="unstructured", kind="case"):
    return next(r for r in found.rows if r.kind == kind and part in r.case)


# -- ratios, intervals, verdicts --------------------------------------------------------------------------------------


def test_a_planted_slow_down_is_called_slower_and_an_unchanged_case_a_tie():
    found = _compared(_run(1.0), _run(1.1))
    row = _row(found)
    assert (row.ratio, row.verdict) == (pytest.approx(1.1), "slower")
    assert 1.0 < row.low < 1.1 < row.high < 1.2
    assert (_row(found, "dense").ratio, _row(found, "dense").verdict) == (1.0, "tie")


def test_another_path_says_nothing_where_one_side_left_out_the_best_of_the_other():
    """B had no time for csr; where it tried it, and chose the other all the same, it is slower."""
    a, other = _run(1.0), idea(**_times(1.2), formulation="coo")
    left_out = _compared(a, [other, a[1]])
    for kind in ("best path", "speed-up"):
        row = _row(left_out, kind=kind)
        assert (row.verdict, row.path_a, row.path_b) == (None, "csr/eager", "coo/eager")
        assert (
            row.why
            == "B left out what is the best path of the other: give it more time, or measure all by --exhaustive"
        )
    assert left_out.worse(0.05) == []
    tried = _compared([*a, idea(**_times(1.2), formulation="coo")], [other, idea(**_times(1.4)), a[1]])
    assert {r.kind for r in tried.worse(0.05)} >= {"best path", "speed-up"}


def test_the_other_way_round_it_is_faster():
    assert _row(_compared(_run(1.1), _run(1.0))).verdict == "faster"


def _many(scale=1.0, changed=1.0, count=12, spread=0.0, **facts):
    """Ideas and twins of `count` workloads, each with luck of its own, all `scale` slower; the first idea `changed`."""
    out = []
    for k in range(count):
        luck = 1 + spread * ((k * 7) % count - count / 2) / count
        params = {**SHAPE, "m": 8 + k}
        own = scale * luck * (changed if k == 0 else 1.0)
        out.append(idea(**_times(own), params=params, twins=[twin_ref(params=params)], **facts))
        out.append(dense(**_times(0.5 * scale), params=params, **facts))
    return out


def test_the_hosts_drift_is_taken_out():
    """All 7 % slower: the dense rows are, too, and no row is called slower; what got slower beside them is."""
    found = _compared(_many(), _many(1.07))
    assert found.drift == pytest.approx(1.07)
    assert {row.verdict for row in found.rows} == {"tie"}
    changed = _compared(_many(), _many(1.07, changed=1.1))
    slower = [row for row in changed.rows if row.verdict == "slower"]
    assert {(row.kind, "m=8," in row.case) for row in slower} == {(k, True) for k in ("best path", "speed-up", "case")}
    assert [row.ratio for row in slower] == pytest.approx([1.1] * 3)


def test_rows_that_differ_as_much_as_all_others_are_ties():
    """Processes say 0.7 %; runs of one code that differ by several per cent from row to row are judged by that."""
    still, luck = _compared(_many(), _many(changed=1.06)), _compared(_many(), _many(changed=1.06, spread=0.2))
    first = [next(r for r in found.rows if r.kind == "best path" and "m=8," in r.case) for found in (still, luck)]
    assert [row.verdict for row in first] == ["slower", "tie"]
    assert still.spread < 0.02 < luck.spread
    assert still.detectable < 0.06 < luck.detectable


def test_without_a_dense_row_the_drift_is_unknown_and_nothing_is_called():
    row = _row(_compared([idea(**_times(1.0))], [idea(**_times(1.3))]))
    assert (row.ratio, row.verdict) == (pytest.approx(1.3), None)
    assert "no dense row" in row.why


def test_a_speed_up_is_compared_where_the_times_are_of_another_host():
    """A host twice as fast: every time differs, the speed-up does not, and only speed-ups may fail."""
    other = [Difference(field="cpu", a="A CPU", b="Another CPU")]
    found = _compared(_many(), _many(0.5), differences=other)
    assert {(r.kind, r.verdict) for r in found.rows} == {
        ("best path", "faster"),
        ("case", "faster"),
        ("speed-up", "tie"),
    }
    row = next(r for r in found.rows if r.kind == "speed-up")
    assert (row.ratio, row.speed_up_a, row.speed_up_b) == pytest.approx((1.0, 0.5, 0.5))
    slow = _compared(_many(), _many(2.0, changed=1.2), differences=other)
    assert [r.kind for r in slow.worse(0.05)] == ["speed-up"]


@pytest.mark.parametrize("rounds", [[0], [3, 3, 3]])
def test_processes_of_one_round_have_no_verdict_and_say_why(rounds):
    """A survey alone, or three processes that met the same minute of the host."""
    few = [idea([2.0] * len(rounds), rounds=rounds), dense(**_times(0.5))]
    row = _row(_compared(_run(), few))
    assert (row.low, row.high, row.verdict, row.why) == (None, None, None, "fewer than two rounds in B")
    assert row.ratio == pytest.approx(2, rel=0.01)
    assert _compared(_run(), few).worse(0.05) == []


def test_several_runs_a_side_find_less():
    """What a run's processes share is averaged over the runs."""
    one = _compared(_many(), _many(changed=1.03))
    runs = (
        [r for n in range(4) for r in _many(run=f"a{n}")],
        [r for n in range(4) for r in _many(changed=1.03, run=f"b{n}")],
    )
    four = _compared(*runs)
    assert (one.runs, four.runs) == ((1, 1), (4, 4))
    assert four.detectable < 0.6 * one.detectable
    assert [_row(found, "m=8,").verdict for found in (one, four)] == ["tie", "slower"]


def test_a_row_fails_where_its_interval_reaches_the_share_and_leaves_one():
    found = _compared(_many(), _many(changed=1.1))
    assert len(found.worse(0.05)) == 3
    assert found.worse(0.2) == []


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
    text = as_markdown(_compared(_run(1.0), _run(1.1)))
    best, speed_ups, cases = text.split("## ")[1:4]
    assert best.splitlines()[4].startswith(
        "| unstructured_sparse forward numpy cpu float32 [k=8,m=8,n=4] csr/eager | 1.00"
    )
    assert "| 1.10× [1.0" in best
    assert "| 0.500× | 0.455× | 1.10× [1.0" in speed_ups
    assert "dense_matmul" in best
    assert "dense_matmul" not in cases
    assert "of equal code 2.5% of comparisons call a time slower" in text
    assert "detectable: a best path must differ by" in text
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


def test_a_folder_of_runs_is_one_side(tmp_path, capsys):
    """Runs of one side must be comparable with each other, too."""
    for name, scale in (("base", 1.0), ("change", 1.1)):
        for n in (1, 2, 3):
            _stored(tmp_path / name / str(n), _run(scale, run=f"{name}{n}"))
    sides = [str(tmp_path / name) for name in ("base", "change")]
    assert run_cli(["compare", *sides, "--json", "--fail-on", "slower:5%"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == [3, 3]
    assert {row["rounds_a"] for row in found["rows"] if row["kind"] == "case"} == {15}
    _stored(tmp_path / "base" / "4", _run(1.0, run="base4"), _info(settings={"threads": 1}))
    assert run_cli(["compare", *sides]) == 2
    assert "threads (2 / 1)" in capsys.readouterr().err


def test_a_gate_that_cannot_see_what_it_shall_stop_says_so(tmp_path, capsys):
    two, one = (_stored(tmp_path / str(len(t)), [idea(t), dense([0.5] * len(t))]) for t in ([1.0, 1.2], [1.0]))
    assert run_cli(["compare", two, two, "--fail-on", "slower:5%"]) == 0
    assert "warning: most best paths must be " in capsys.readouterr().err
    assert run_cli(["compare", one, one, "--fail-on", "slower:5%"]) == 0
    assert "warning: no best path has two rounds on both sides, and 5% was asked" in capsys.readouterr().err


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
    assert len(json.loads(out.out)["rows"]) == 5


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
