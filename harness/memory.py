"""Host memory of a window: the peak resident set above the level before the inputs, reset where the window starts.

Linux only (`/proc/self/clear_refs`, see proc(5)): elsewhere the peak is unknown and said to be so, never guessed.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets VmHWM to the present resident set


def _field(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} has no {name}")
    return int(found.group(1)) * 1024


def trim() -> None:
    """Hand free heap pages back, so that the checker's copies do not stand in the window's peak."""
    if sys.platform == "linux":
        trimmer = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trimmer is not None:
            trimmer(0)


class HostPeak:
    """Peak resident bytes above the level at construction; `window` starts the window, `peak_bytes` ends it.

    The level and what stays from then to the window are counted without file-backed pages: code that is paged in on its
    first use belongs to no case. Within the window the whole resident set counts.
    """

    def __init__(self) -> None:
        trim()
        self.source = "VmHWM of the window, reset by clear_refs, above the anonymous memory before inputs"
        self._start = 0
        try:
            self._level: int | None = _private()
        except OSError as error:
            self._level, self.source = None, f"none: {error}"

    def window(self) -> None:
        """Start the window: forget every earlier peak."""
        if self._level is None:
            return
        trim()
        try:
            _CLEAR.write_text(_RESET_PEAK)
        except OSError as error:
            self._level, self.source = None, f"none: the peak cannot be reset here ({error})"
            return
        self._start = _field("VmRSS") - (_private() - self._level)

    def peak_bytes(self) -> int | None:
        """The window's peak above the level, None where it is unknown."""
        return None if self._level is None else max(0, _field("VmHWM") - self._start)


def _private() -> int:
    return _field("RssAnon") + _field("RssShmem")
