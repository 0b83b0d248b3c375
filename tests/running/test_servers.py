"""A server that is killed is replaced for all who use it, and inputs are made by the one that lives."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from backends.discovery import backends
from harness.measuring.settings import PowerModel, Sampling
from harness.planning import plan
from harness.planning.options import Options
from harness.planning.plan import Ask
from harness.running import servers
from harness.running.servers import NUMPY, Pool
from harness.worker.client import Answer, ServerError
from workloads.discovery import workloads

WATCH = SimpleNamespace(say=lambda _: None)


@pytest.fixture
def planned():
    ask = Ask(preset="smoke", workloads=("unstructured_sparse",), backends=("numpy",))
    cases = plan.cases(ask, workloads()[0], backends()[0])
    return list({case.point: case for case in cases}.values())  # one of each point, whose inputs are its own


@pytest.fixture
def pool(planned, tmp_path):
    options = Options(
        rounds=0, long_rounds=0, timeout_s=60, threads=1, sampling=Sampling(), power=PowerModel(),
        cache=tmp_path / "cache", seed=0,
    )  # fmt: skip
    with Pool(planned, backends()[0], options, tmp_path / "scratch", WATCH, defaultdict(float)) as pool:
        yield pool


def kill(pool):
    process = pool._servers[NUMPY]._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.fault("SIGKILL of the server that makes inputs, while it waits", "workers")
def test_inputs_are_made_by_the_server_that_took_the_place_of_a_killed_one(pool, planned):
    pool.make_inputs(planned[:1])
    for case in planned[1:3]:
        kill(pool)
        pool.make_inputs([case])
    assert all(isinstance(pool._inputs.of(case), Path) for case in planned[:3])


def test_where_it_dies_again_and_again_cases_are_answered_with_the_reason(pool, planned, monkeypatch):
    monkeypatch.setattr(servers, "MOST_DEATHS", 0)
    pool.make_inputs(planned[:1])
    kill(pool)
    pool.make_inputs(planned[:2])
    assert isinstance(pool._inputs.of(planned[0]), Path)
    answer = pool._inputs.of(planned[1])
    assert isinstance(answer, Answer)
    assert "no inputs or reference: the server of NumPy was killed by SIGKILL" in answer.measured.reason


def test_a_server_that_dies_of_counting_still_makes_inputs_and_nothing_more_is_counted(pool, planned, monkeypatch):
    def dies(server, cases, abreast):
        server.start()
        kill(pool)
        raise ServerError("the server was killed")

    monkeypatch.setattr(pool.counts, "count", dies)
    pool.make_inputs(planned[:1])
    assert pool.counts.notes == ["the executed work of cases was not counted any more: the server was killed"]
    monkeypatch.undo()
    pool.make_inputs(planned[1:2])
    assert isinstance(pool._inputs.of(planned[1]), Path)
    assert pool.counts.of(planned[1].case) is None


def test_what_inputs_were_made_of_is_counted(pool, planned):
    pool.make_inputs(planned[:2])
    assert all(pool.counts.of(case.case).launches >= 1 for case in planned[:2])
    assert pool._phases["counting_s"] > 0
