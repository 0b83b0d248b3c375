"""What a process waits for others is none of its own time."""

from __future__ import annotations

import time

from harness.measuring.turn import Waits


class Slow:
    """Quiet comes after a while; everything is told."""

    def __init__(self):
        self.said = []

    def quiet(self):
        time.sleep(0.02)
        self.said.append("quiet")

    def __getattr__(self, name):
        return lambda: self.said.append(name)


def test_waiting_for_quiet_is_counted_and_every_word_passes():
    turn = Slow()
    waits = Waits(turn)
    for say in (waits.quiet, waits.ready, waits.rest, waits.quiet, waits.done):
        say()
    assert turn.said == ["quiet", "ready", "rest", "quiet", "done"]
    assert 0.04 <= waits.quiet_s < 5
