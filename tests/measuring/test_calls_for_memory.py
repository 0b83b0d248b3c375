"""How often a case is called to see its memory."""

from __future__ import annotations

import sys
import time

import pytest

from harness.measuring.host_memory import HostPeak


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 3), (0.25, 1)])
def test_a_long_call_is_made_once(seconds, calls):
    made = []
    held = HostPeak().measure(lambda: made.append(time.sleep(seconds)) or (), [], lambda _: None)
    assert len(made) == calls
    assert held is None or held.call_bytes >= 0
