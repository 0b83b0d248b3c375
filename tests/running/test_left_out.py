"""What a run says that it left out: nothing that it measured, in an earlier part of it or this; and what is left."""

from __future__ import annotations

from _learnt import run_of
from _records import record
from rich.console import Console

from harness.measuring.settings import PowerModel, Sampling
from harness.planning.options import Options
from harness.records.store import Store, load
from harness.running.progress import Watch
from harness.running.session import Session


def test_what_has_a_record_was_not_left_out(tmp_path):
    options = Options(
        rounds=0,
        long_rounds=0,
        timeout_s=1,
        threads=1,
        sampling=Sampling(),
        power=PowerModel(),
        cache=tmp_path / "cache",
        seed=0,
    )
    measured = record(processes=[1.0])
    with Store(tmp_path / "run", run_of().info) as store:
        store.append([measured])
        session = Session([], {}, options, store, Watch(quiet=True))
        session.records[measured.case.key, False] = measured
        session.left_out = {"slow": [str(measured.case), "another"], "refused": [str(measured.case)]}
        session.finish()
    assert load(tmp_path / "run").info.left_out == {"slow": ["another"]}


def test_the_time_that_is_left_is_of_the_whole_run(monkeypatch):
    watch = Watch()
    watch.console = Console(force_terminal=False)
    watch.live = False
    said = []
    monkeypatch.setattr(watch, "say", said.append)
    monkeypatch.setattr(watch, "_spoke", -1e9)
    watch.begin("survey", 4)
    watch.now("a case")
    for seconds, words in ((400.0, "about 7 min left of the run"), (12.0, "about 12 s left of the run")):
        watch.left(seconds)
        watch.done()
        monkeypatch.setattr(watch, "_spoke", -1e9)
        watch.now("a case")
        assert words in said[-1]
    assert "left" not in said[1]
