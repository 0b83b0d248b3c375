"""Runs on one machine wait for each other, say for whom, and can be told not to."""

from __future__ import annotations

import threading

import pytest

from harness.records.locks import FileLock
from harness.records.store import DISTURBED
from harness.running import host


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv(host.VARIABLE, str(tmp_path / "host.lock"))
    return tmp_path / "host.lock"


def test_a_run_that_is_alone_says_nothing(tmp_path, file):
    with host.alone(tmp_path, lambda words: pytest.fail(words)) as note:
        assert note is None
        assert not FileLock(file).take()
    assert FileLock(file).take()


@pytest.mark.fault("two runs on one machine at once", "locks")
def test_a_second_run_waits_and_says_for_whom(tmp_path, file):
    said, order = [], []
    inside, go = threading.Event(), threading.Event()

    def first():
        with host.alone(tmp_path / "first", lambda words: None):
            inside.set()
            go.wait(10)
            order.append("first")

    def say(words):
        said.append(words)
        go.set()

    running = threading.Thread(target=first)
    running.start()
    inside.wait(10)
    with host.alone(tmp_path / "second", say) as note:
        order.append("second")
        assert note is None
    running.join(10)
    assert order == ["first", "second"]
    assert "waiting until another run on this machine has ended (process " in said[0]
    assert f"results in {tmp_path / 'first'}" in said[0]


def test_a_run_that_does_not_wait_is_called_disturbed(tmp_path, file):
    holder = FileLock(file, "process 7 of anna")
    assert holder.take()
    with host.alone(tmp_path, lambda words: pytest.fail(words), wait=False) as note:
        assert note.startswith(DISTURBED)
        assert "(process 7 of anna)" in note
    assert holder.holder() == "process 7 of anna"


@pytest.mark.fault("a machine whose lock cannot be made", "locks")
def test_a_lock_that_cannot_be_made_is_noted_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv(host.VARIABLE, str(tmp_path / "gone" / "host.lock"))
    with host.alone(tmp_path, lambda words: pytest.fail(words)) as note:
        assert "is not known" in note
        assert not note.startswith(DISTURBED)


def test_the_lock_can_be_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv(host.VARIABLE, host.OFF)
    assert host.lock_file() is None
    with host.alone(tmp_path, lambda words: pytest.fail(words)) as note:
        assert note is None
    monkeypatch.delenv(host.VARIABLE)
    assert host.lock_file().name == "hwlottery.lock"


def test_other_users_may_wait_for_the_same_file(tmp_path, file):
    with host.alone(tmp_path, lambda words: pytest.fail(words)):
        assert file.stat().st_mode & 0o777 == 0o666
