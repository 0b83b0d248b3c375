"""A published row and the same row again: which rows, which paths, and every verdict with what kept one away."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from _records import dense, idea
from _submissions import run_info

from harness.errors import UserError
from harness.figures.reproduction import cases_of, chosen_rows, published_rows, reproduction, row_name
from harness.figures.summary import summarise
from harness.records.store import Run

CALM = (1.0, 1.0, 1.01, 0.99, 1.0)


def _run(records, run="r1", **info):
    return Run(Path(run), run_info(run=run, **info), records, [])


def _held(was, now, *, margin=0.2, whys=None, info=None):
    summaries = summarise(was), summarise(now)
    found = reproduction(
        _run(was),
        _run(now, "r2", **(info or {})),
        published_rows(summaries[0]),
        summaries,
        whys or {},
        same_kind=True,
        margin=margin,
    )
    (row,) = found.rows
    return row, found


def _pair(factor=1.0, noise=None, processes=5, run="r1"):
    rounds = [factor * second / 5 for second in CALM[:processes]]
    records = [idea(rounds, run=run), dense(list(CALM[:processes]), run=run)]
    if noise is not None:
        control = dense([second * (1 + noise) for second in CALM[:processes]], run=run)
        records.append(msgspec.structs.replace(control, control=True))
    return records


def test_an_equal_speed_up_is_reproduced_and_its_ratio_stands_beside_it():
    row, found = _held(_pair(), _pair(1.02, run="r2"))
    assert (row.verdict, row.why) == ("reproduced", None)
    assert row.speed_up == pytest.approx(5.0)
    assert row.ratio == pytest.approx(1 / 1.02)
    assert row.low < row.ratio < row.high
    assert (found.of, found.run, found.count("reproduced")) == ("r1", "r2", 1)


def test_another_speed_up_is_not_reproduced():
    assert _held(_pair(), _pair(2.0, run="r2"))[0].verdict == "not reproduced"
    assert _held(_pair(), _pair(2.0, run="r2"), margin=2.0)[0].verdict == "reproduced"


@pytest.mark.parametrize(("then", "now"), [(0.3, None), (None, 0.3)])
def test_a_noisy_run_can_tell_nothing_whichever_it_was(then, now):
    row, _ = _held(_pair(noise=then), _pair(noise=now, run="r2"))
    assert row.verdict == "cannot tell"
    assert row.low < 1 / 1.2


def test_what_was_one_process_or_is_one_cannot_be_told():
    row, _ = _held(_pair(processes=1), _pair(run="r2"))
    assert (row.verdict, row.why) == ("cannot tell", "it was measured in one process, and has no interval")
    row, _ = _held(_pair(), _pair(processes=1, run="r2"))
    assert row.verdict == "cannot tell"
    assert "one process here" in row.why


def test_a_path_that_fails_here_is_not_reproduced_and_one_not_measured_cannot_be_told():
    failed = [idea(None, status="oom", reason="out of memory", run="r2"), dense(list(CALM), run="r2")]
    row, _ = _held(_pair(), failed)
    assert (row.verdict, row.why) == ("not reproduced", "its path was ok there and is not here: out of memory")
    lone = [idea(list(CALM), run="r2"), dense(None, status="crash", run="r2")]
    assert _held(_pair(), lone)[0].why.startswith("its twin has no time here")
    assert _held(_pair(), [])[0].why == "it was not measured again"
    name = row.row
    assert _held(_pair(), [], whys={name: "jax is not installed"})[0].why == "jax is not installed"


def test_what_failed_then_claims_nothing():
    was = [idea(None, status="error", reason="no"), dense(list(CALM))]
    row, _ = _held(was, _pair(run="r2"))
    assert (row.verdict, row.ratio) == ("cannot tell", None)
    assert row.why.startswith("it was not ok")


def test_conditions_that_differ_are_named_with_versions():
    _, found = _held(_pair(), _pair(run="r2"), info={"versions": {"numpy": "9"}, "machine": {"cpu": "Other"}})
    assert {d.field for d in found.differences} == {"cpu", "numpy"}


def test_a_row_is_chosen_by_words_of_its_name_and_a_strange_word_is_one_sentence():
    records = [*_pair(), idea(list(CALM), backend="jax"), dense(list(CALM), backend="jax")]
    rows = published_rows(summarise(records))
    assert len(chosen_rows(rows, ())) == 2
    assert [row.backend for row in chosen_rows(rows, ["jax k=8"])] == ["jax"]
    assert len(chosen_rows(rows, ["jax", "numpy,forward"])) == 2
    for strange in ("jaxx", "jax numpy"):
        with pytest.raises(UserError, match="there is no row with"):
            chosen_rows(rows, [strange])


def test_the_cases_of_a_row_are_its_own_paths_and_no_control():
    records = _pair(noise=0.0)
    slower = idea([9.0] * 5, formulation="coo")
    (row,) = published_rows(summarise([*records, slower]))
    assert cases_of(row, [*records, slower]) == (records[0].case, records[1].case)
    assert row_name(row) == "unstructured_sparse forward numpy cpu float32 k=8,m=8,n=4"
    assert cases_of(row, records[:1]) == (records[0].case, None)
