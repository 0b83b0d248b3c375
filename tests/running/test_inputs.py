"""Inputs and references: made once, kept under a name made of all that decides them, forgotten when there are many."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.planning import plan
from harness.planning.plan import Ask
from harness.records.record import Case
from harness.records.store import RunInfo
from harness.running import inputs
from harness.running.compiled_before import CompiledBefore
from harness.running.inputs import Inputs
from harness.worker.client import Answer, Server
from workloads.discovery import workloads


@pytest.fixture(scope="module")
def numpy_server(tmp_path_factory):
    with Server(backends()[0]["numpy"], Device("cpu"), 1, tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.fixture
def made(numpy_server, tmp_path):
    """A maker of inputs, with a scratch folder of its own and one cache for the test."""

    def make(name, timeout_s=60.0):
        return Inputs(lambda: numpy_server, tmp_path / name, tmp_path / "cache", 1, timeout_s)

    return make


@pytest.fixture(scope="module")
def planned():
    ask = Ask(preset="smoke", workloads=("unstructured_sparse", "capsule_conv"), backends=("numpy",))
    return plan.cases(ask, workloads()[0], backends()[0])


def arrays(folder):
    return {str(f.relative_to(folder)): np.load(f) for f in sorted(folder.rglob("*.npy"))}


def test_a_second_run_finds_what_the_first_made(made, planned, monkeypatch):
    first = made("one")
    first.make(planned, abreast=2)
    folders = {first.of(p) for p in planned}
    assert all((folder / "reference").is_dir() for folder in folders)
    second = made("two")
    monkeypatch.setattr(second, "_made", lambda *_: pytest.fail("it was made again"))
    second.make(planned, abreast=2)
    assert {second.of(p) for p in planned} == folders


def test_another_seed_or_other_sources_are_other_inputs(made, planned, monkeypatch):
    one = made("one")
    one.make(planned[:1], abreast=1)
    other = dataclasses.replace(planned[0], case=msgspec.structs.replace(planned[0].case, seed=7))
    one.make([other], abreast=1)
    assert one.of(other) != one.of(planned[0])
    a, b = arrays(one.of(planned[0])), arrays(one.of(other))
    assert any(not np.array_equal(a[name], b[name]) for name in a)
    monkeypatch.setattr(inputs.digest, "sources", lambda: {"workloads": "changed"})
    changed = made("two")
    changed.make(planned[:1], abreast=1)
    assert changed.of(planned[0]) != one.of(planned[0])


def test_what_is_large_or_not_ours_is_made_for_this_run_only(made, planned, monkeypatch, tmp_path):
    stranger = dataclasses.replace(planned[0], case=msgspec.structs.replace(planned[0].case, workload="misbehaving"))
    assert inputs._ours(planned[0])
    assert not inputs._ours(stranger)
    monkeypatch.setattr(inputs, "KEPT_BYTES", 10)
    here = made("one")
    here.make(planned[:1], abreast=1)
    assert here.of(planned[0]).is_relative_to(tmp_path / "one")


def test_what_lies_in_the_cache_is_not_taken_for_a_workload_that_is_not_ours(made, planned, tmp_path, monkeypatch):
    """The sources' digest, of which its name is made, says nothing of such a file."""
    stranger = dataclasses.replace(planned[0], case=msgspec.structs.replace(planned[0].case, workload="misbehaving"))
    here, wanted = made("one"), []
    for each in (stranger, planned[0]):
        (tmp_path / "cache" / "inputs" / here._key(each) / "reference").mkdir(parents=True)
    monkeypatch.setattr(here, "_made", lambda points, abreast: wanted.extend(points))
    here.make([stranger, planned[0]], abreast=1)
    assert [list(points.values()) for points in wanted] == [[stranger]]


def test_a_point_without_inputs_is_answered_and_the_others_are_made(made, planned):
    sparse = [p for p in planned if p.case.workload == "unstructured_sparse"]
    bad = dataclasses.replace(
        sparse[0], case=msgspec.structs.replace(sparse[0].case, params={**sparse[0].case.params, "density": 3.0})
    )
    here = made("one")
    here.make([*sparse, bad], abreast=1)
    answer = here.of(bad)
    assert isinstance(answer, Answer)
    assert answer.measured.status == "error"
    assert "no inputs or reference" in answer.measured.reason
    assert all(isinstance(here.of(p), Path) for p in sparse)


def test_the_room_for_inputs_is_that_of_the_points_too_large_to_be_kept_each_once(planned):
    """However many paths, frameworks and devices share them."""
    point = {p.case.place[:4]: p for p in planned}
    assert len(point) < len(planned)
    large = max(p.work.live_bytes for p in planned)
    assert inputs.room_bytes(planned) == 0, "all of it is kept in the cache"
    huge = [
        dataclasses.replace(p, work=msgspec.structs.replace(p.work, live_bytes=inputs.KEPT_BYTES + large))
        for p in planned
    ]
    assert inputs.room_bytes(huge) == len(point) * 1.5 * (inputs.KEPT_BYTES + large)
    assert inputs.room_bytes([]) == 0


@pytest.fixture
def points(planned):
    """A case of each of three points."""
    found = list({p.case.place[:4]: p for p in planned}.values())
    return found[:3]


def test_where_there_is_no_room_what_was_used_longest_ago_goes_and_is_made_again(made, points, monkeypatch, tmp_path):
    a, b, c = points
    monkeypatch.setattr(inputs, "KEPT_BYTES", 10)  # none of it goes to the cache
    monkeypatch.setattr(inputs, "free_bytes", lambda at: 0 if len(list(at.iterdir())) > 1 else 1 << 50)
    here = made("one")
    here.make([a], abreast=1)
    here.make([b], abreast=1)
    first = arrays(here.of(b))
    here.make([a], abreast=1)  # used again
    here.make([c], abreast=1)
    assert {here.of(p).is_dir() for p in (a, c)} == {True}
    assert isinstance(here.of(b), Answer)
    here.make([b], abreast=1)
    again = arrays(here.of(b))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    here.make([a, b, c], abreast=1)  # nothing goes that is wanted now
    assert all(here.of(p).is_dir() for p in points)


def test_what_has_room_stays_and_so_does_what_is_kept_for_later_runs(made, points, monkeypatch):
    a, b, c = points
    small, other = (dataclasses.replace(b, case=msgspec.structs.replace(b.case, seed=seed)) for seed in (4, 5))
    here = made("one")
    here.make([a], abreast=1)
    monkeypatch.setattr(inputs, "free_bytes", lambda _: inputs.room_bytes([c]) + inputs.SPARE_BYTES)
    with monkeypatch.context() as large:
        large.setattr(inputs, "KEPT_BYTES", 10)
        here.make([b], abreast=1)
        here.make([c], abreast=1)
    assert here.of(b).is_dir()
    monkeypatch.setattr(inputs, "free_bytes", lambda _: 0)
    here.make([small], abreast=1)  # takes no room of the run's
    assert here.of(b).is_dir()
    monkeypatch.setattr(inputs, "KEPT_BYTES", 10)
    monkeypatch.setattr(inputs, "free_bytes", lambda _: inputs.room_bytes([other]) + inputs.SPARE_BYTES - 1)
    here.make([other], abreast=1)
    assert [isinstance(here.of(p), Path) for p in points] == [True, False, False]
    assert here.of(a).is_dir()


def test_inputs_have_no_more_time_than_a_case(made, planned):
    here = made("one", timeout_s=0.0)
    here.make(planned[:1], abreast=1)
    assert "no inputs or reference: not done after 0 s" in here.of(planned[0]).measured.reason


def test_a_cache_that_cannot_be_written_is_no_failure(made, planned, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    here = made("one")
    here.make(planned[:1], abreast=1)
    assert here.of(planned[0]).is_relative_to(tmp_path / "one")


def test_what_was_used_longest_ago_is_forgotten_first(made, planned, monkeypatch):
    here = made("one")
    here.make(planned, abreast=1)
    folders = sorted({here.of(p) for p in planned})
    for age, folder in enumerate(folders):
        os.utime(folder, (1000 + age, 1000 + age))
    newest = sum(f.stat().st_size for f in folders[-1].rglob("*") if f.is_file())
    monkeypatch.setattr(inputs, "CACHE_BYTES", newest)
    here.trim()
    assert [f for f in folders if f.exists()] == folders[-1:]


# -- what was compiled before ------------------------------------------------------------------------------------------


def info(**changed):
    facts = {"schema": 1, "run": "r", "started_at": "", "ended_at": None, "command": [], "machine": {}, "settings": {}}
    return RunInfo(**{**facts, "versions": {"jax": "1"}, "sources": {"workloads": "a"}, **changed})


def test_a_program_was_compiled_before_by_the_same_sources_and_versions_only(planned, tmp_path):
    case: Case = msgspec.structs.replace(planned[0].case, execution="compiled")
    first = CompiledBefore(tmp_path, info())
    assert not first.has(case)
    first.add(case)
    assert CompiledBefore(tmp_path, info()).has(case)
    assert not CompiledBefore(tmp_path, info(sources={"workloads": "b"})).has(case)
    assert not CompiledBefore(tmp_path, info(versions={"jax": "2"})).has(case)
    assert not first.has(msgspec.structs.replace(case, seed=9))


def test_a_compile_cache_that_cannot_be_written_stays_cold(planned, tmp_path):
    (tmp_path / "file").write_text("")
    seen, case = (
        CompiledBefore(tmp_path / "file", info()),
        msgspec.structs.replace(planned[0].case, execution="compiled"),
    )
    seen.add(case)
    assert not seen.has(case)


def test_what_runs_as_it_is_needs_no_compiling(planned, tmp_path):
    assert CompiledBefore(tmp_path, info()).warm(msgspec.structs.replace(planned[0].case, execution="eager"))
