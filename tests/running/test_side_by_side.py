"""Cases of several servers at once: all are answered, servers do not wait for each other, and stopping stops."""

import threading
import time

import pytest

from harness.running.side_by_side import side_by_side


def test_every_case_is_answered_and_servers_run_at_once():
    """Two servers that each need the other to be running can only both finish side by side."""
    both = threading.Barrier(2, timeout=10)

    def ask(item):
        both.wait()
        return item * 10

    got = sorted(side_by_side([[1, 2], [3, 4]], ask, lambda: None))
    assert got == [(1, 10), (2, 20), (3, 30), (4, 40)]


def test_a_server_has_one_case_at_a_time_in_its_order():
    """Its pipe holds one request."""
    order = []
    assert len(list(side_by_side([list(range(5))], order.append, lambda: None))) == 5
    assert order == [0, 1, 2, 3, 4]


def test_what_asking_raises_is_raised_to_the_caller_and_the_rest_is_abandoned():
    """A mistake of ours must not vanish in a thread."""
    ended = []

    def ask(item):
        if item == 1:
            raise KeyError("ours")
        time.sleep(0.01)
        return item

    with pytest.raises(KeyError, match="ours"):
        list(side_by_side([[1, 2, 3], [4, 5]], ask, lambda: ended.append(True)))
    assert ended == [True]


def test_stopping_early_abandons_what_is_under_way_and_begins_nothing_more():
    """Ctrl-C, or the end of the budget, leaves no thread at work."""
    asked, ended = [], threading.Event()

    def ask(item):
        asked.append(item)
        if item:
            ended.wait(10)  # a long case, which only its server's end can stop
        return item

    answers = side_by_side([[0, 1, 2]], ask, ended.set)
    assert next(answers) == (0, 0)
    answers.close()
    assert ended.is_set()
    assert 2 not in asked
