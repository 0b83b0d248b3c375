"""What a run says while it goes on: each figure once in a pipe, the matrix on a terminal, and how far it got."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from _records import record, twin_ref

from harness.cli import live, run
from harness.cli.live import Live
from harness.planning.foresight import Ignorance
from harness.running.progress import Watch
from harness.running.runner import Runner

TWIN = twin_ref("same_shape", "dense_matmul", {"m": 8})


def idea(seconds, backend="torch"):
    return record(params={"n": 1}, processes=list(seconds), backend=backend, twins=[TWIN], headline=True)


def dense(seconds, backend="torch"):
    return record("dense_matmul", list(seconds), params={"m": 8}, formulation="nn", backend=backend)


def session(*records):
    plan = [SimpleNamespace(case=r.case, repeated=True) for r in records]
    return SimpleNamespace(plan=plan, records={(r.case.key, r.control): r for r in records})


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 0.0)
    said, shown = [], []
    return SimpleNamespace(live=False, said=said, shown=shown, say=said.append, show=shown.append)


def test_without_a_terminal_each_figure_is_a_line_once(watch):
    told = Live(watch)
    told(session(idea([2.0])))
    assert watch.said == [], "an idea without its twin has no figure"
    told(session(idea([2.0]), dense([1.0])))
    told(session(idea([2.0, 2.0]), dense([1.0, 1.0]), idea([1.0], "jax"), dense([3.0], "jax")))
    first, second = watch.said
    assert first == "first figure: unstructured_sparse forward on torch is 0.500 times as fast as its dense twin"
    assert "on jax is 3.00 times as fast" in second


def test_on_a_terminal_the_matrix_is_shown_and_shown_again(watch):
    watch.live = True
    told = Live(watch)
    for records in ([idea([2.0]), dense([1.0])], [idea([1.0]), dense([1.0]), idea([1.0], "jax"), dense([3.0], "jax")]):
        told(session(*records))
    first, second = ("\n".join(lines) for lines in watch.shown)
    assert "torch" in first
    assert "jax" not in first
    assert "jax" in second
    assert watch.said == []


def test_it_takes_no_time_from_a_run_that_has_just_shown_one(watch, monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 1000.0)
    told = Live(watch)
    told(session(idea([2.0]), dense([1.0])))
    told(session(idea([2.0]), dense([1.0]), idea([1.0], "jax"), dense([3.0], "jax")))
    assert len(watch.said) == 1


def test_an_interrupted_run_says_how_far_it_got(tmp_path):
    store = SimpleNamespace(
        before=[],
        folder=tmp_path,
        info=SimpleNamespace(sources={}, versions={}, run="r", phases_s={}, notes=[], wall_s=None, left_out={}),
    )
    options = SimpleNamespace(
        cache=tmp_path,
        first_rounds=0,
        rounds=1,
        most_rounds=1,
        threads=1,
        power=None,
        seed=0,
        memory_bytes=None,
        timeout_s=60.0,
    )
    runner = Runner([], {}, options, store, Watch(quiet=True), foresight=Ignorance())

    def stopped(*_):
        runner._session.watch.begin("survey", 9)
        runner._session.watch.done(4)
        raise KeyboardInterrupt

    runner._survey = stopped
    runner._session.pool = contextlib.nullcontext()
    runner._session.finish = lambda: None
    with pytest.raises(KeyboardInterrupt):
        runner.execute()
    assert "interrupted in survey, after 4 of 9" in runner.notes


@pytest.mark.parametrize(
    ("rounds", "notes", "learns"),
    [(2, [], True), (0, [], False), (2, ["the machine disturbed the run: others kept 1.5 cores busy"], False)],
)
def test_only_a_calm_run_that_compares_teaches(tmp_path, monkeypatch, rounds, notes, learns):
    told = []
    info = SimpleNamespace(notes=notes, machine={})
    monkeypatch.setattr(run, "load", lambda folder: SimpleNamespace(info=info))
    monkeypatch.setattr(run.learning, "learn", lambda found: found)
    monkeypatch.setattr(run.learnt, "remember", lambda *taught: told.append(taught))
    run._learn(tmp_path, SimpleNamespace(rounds=rounds, cache=tmp_path))
    assert bool(told) is learns
