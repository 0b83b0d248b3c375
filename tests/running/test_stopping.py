"""A signal that asks a run to stop is heard at once, but never between what is stored and what is known."""

from __future__ import annotations

import os
import signal

import pytest
from _learnt import planned
from _sessions import a_session, ok

from harness.planning.groups import Member
from harness.running.stopping import Stopped, stoppable, unbroken
from harness.worker.client import Answer
from harness.worker.messages import Measured


def asked():
    os.kill(os.getpid(), signal.SIGTERM)


def do(*steps):
    """Steps of a run, those of a list unbroken."""
    with stoppable():
        for step in steps:
            if not isinstance(step, list):
                step()
                continue
            with unbroken(), unbroken():
                for each in step:
                    each()


def test_a_signal_is_raised_at_once_and_one_that_comes_amid_what_is_unbroken_after_it():
    done = []
    with pytest.raises(Stopped):
        do(asked, lambda: done.append("after a signal"))
    with pytest.raises(Stopped) as stop:
        do([asked, lambda: done.append("inside")], lambda: done.append("after it"))
    assert done == ["inside"]
    assert stop.value.number == signal.SIGTERM


@pytest.mark.fault("any other signal that would end a process: a scheduler's, a timer's, of a power failure", "signals")
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPWR"])
def test_a_signal_that_would_end_the_process_ends_the_run_unless_it_has_another_use(name):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    with pytest.raises(Stopped) as stop:
        do(lambda: os.kill(os.getpid(), number))
    assert stop.value.number == number
    assert signal.getsignal(number) is signal.SIG_DFL
    heard = []
    signal.signal(number, lambda *_: heard.append(number))
    try:
        do(lambda: os.kill(os.getpid(), number), lambda: None)
        assert heard == [number]
        signal.signal(number, signal.SIG_IGN)
        do(lambda: os.kill(os.getpid(), number))
    finally:
        signal.signal(number, signal.SIG_DFL)


def test_an_error_amid_what_is_unbroken_is_told_and_no_later_run_hears_of_the_signal():
    def fails():
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        do([asked, fails])
    do([lambda: None])


@pytest.mark.fault("a signal that asks a run to end while its records are written", "signals")
def test_what_is_stored_when_a_signal_comes_is_known_and_not_told_of_as_left_out(tmp_path):
    wanted = planned("nn")
    session, stored = a_session(tmp_path, [wanted]), []
    session.store.append = lambda *records: (asked(), stored.extend(records))
    with pytest.raises(Stopped):
        do(lambda: session.keep([(Member(wanted), Answer(Measured(status="ok"), 0.0), ok(wanted.case))]))
    assert [record.case for record in stored] == [wanted.case]
    assert (wanted.case.key, False) in session.records
