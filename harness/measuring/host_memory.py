"""Host memory of a case: what its operands hold, and what one call of it takes on top, at its peak.

Resident pages say more than a case needs: the compiler's leftovers, code that is paged in on its first use, and what
malloc keeps of what was freed. So the peak is read in calls of its own, after the clock's window and under the same
contract, when the process has settled: malloc gives back at once (mallopt(3)), the peak is reset before each call
(`/proc/self/clear_refs`, proc(5)), and what the operands hold is what goes when they go, or what came when they were
made, whichever is less. Holes of the heap are filled first: what is freed in one stays resident, and a call would be
charged with all that it scattered there. What stays is counted apart, as the framework's own. Linux with glibc only:
elsewhere the peak is unknown and said to be so, never guessed.
"""

from __future__ import annotations

import ctypes
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets VmHWM to the present resident set
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_SMALL = 128 << 10  # glibc's default thresholds: anything larger is mapped when it is made, unmapped when it is freed
_LARGEST = 256 << 20  # hole of the heap that is looked for
_CALLS = 3  # the first empties what the window left in the arenas of threads
_LONG_S = 0.2  # of calls as long as this one is enough: what is in the arenas is little beside what it takes
_SAME = 64 << 10
_PAUSE_S = 0.002
_PAUSES = 50
SOURCE = "resident set: operands and the peak of a call, apart from what the framework keeps for itself"
IN_ALLOCATOR = "; what the framework's own allocator holds by its peak"


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes: of the operands, of one call on top at its peak, and what the framework has come to keep for itself."""

    operand_bytes: int
    call_bytes: int
    framework_bytes: int

    @property
    def peak_bytes(self) -> int:
        """What the case holds at its peak."""
        return self.operand_bytes + self.call_bytes


class HostPeak:
    """Makes the level before the inputs; `measure`, after the clock's window, says what the case holds.

    `source` says how it was measured, or `none: ` and why not.
    """

    def __init__(self) -> None:
        self.source = SOURCE
        self._prepared: int | None = None
        try:
            self._level: int | None = _settled()
        except OSError as error:
            self._level, self.source = None, f"none: {error}"

    def prepared(self) -> None:
        """The operands are made, and nothing else yet: they hold no more than what has come since."""
        if self._level is not None:
            self._prepared = max(0, _settled() - self._level)

    def measure(
        self, call: Callable[..., Sequence[Any]], operands: list[Any], wait: Callable[[Sequence[Any]], None]
    ) -> Held | None:
        """Call three times, or once if it takes long, then empty `operands`, to which nobody else may hold a reference.

        Noise only adds (a buffer that is freed late, a hole of the heap that is filled twice), so that the lowest peak
        and the lowest level count.
        """
        if self._level is None:
            return None
        try:
            return self._measure(self._level, call, operands, wait)
        except OSError as error:
            self.source = f"none: {error}"
            return None

    def _measure(
        self, level: int, call: Callable[..., Sequence[Any]], operands: list[Any], wait: Callable[[Sequence[Any]], None]
    ) -> Held:
        _give_back_at_once()
        _settled()  # what is resident in a hole would stay so under the block that fills it
        filled = _filled()
        try:
            return self._measured(level, call, operands, wait)
        finally:
            for block in filled:
                _libc().free(block)

    def _measured(
        self, level: int, call: Callable[..., Sequence[Any]], operands: list[Any], wait: Callable[[Sequence[Any]], None]
    ) -> Held:
        peaks: list[int] = []
        rests: list[int] = []
        private: list[int] = []
        while len(peaks) < _CALLS:
            private.append(_settled())
            try:
                _CLEAR.write_text(_RESET_PEAK)
            except OSError as error:
                raise OSError(f"the peak cannot be reset here ({error})") from error
            rests.append(_field("VmRSS"))
            began = time.perf_counter()
            outputs = call(*operands)
            wait(outputs)
            long = time.perf_counter() - began > _LONG_S
            peaks.append(_field("VmHWM"))
            del outputs
            if long:
                break
        private.append(_settled())
        rests.append(_field("VmRSS"))
        operands.clear()
        left = _settled()
        gone = max(0, min(private) - left)  # and with them, now and then, what JAX's last call of the window held
        return Held(
            operand_bytes=gone if self._prepared is None else min(gone, self._prepared),
            call_bytes=max(0, min(peaks) - min(rests)),
            framework_bytes=max(0, left - level),
        )


def _field(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} has no {name}")
    return int(found.group(1)) * 1024


def _private() -> int:
    # Without pages of files: code is paged in on its first use and belongs to no case.
    return _field("RssAnon") + _field("RssShmem")


def _settled() -> int:
    """Private resident bytes once they stay the same: frameworks free from other threads, a moment later."""
    last = -1
    for _ in range(_PAUSES):
        _malloc("malloc_trim", 0)
        now = _private()
        if last >= 0 and abs(now - last) <= _SAME:
            return now
        last = now
        time.sleep(_PAUSE_S)
    return last


def _filled() -> list[int]:
    """Blocks, none of them touched, in every hole of the heap that could take one of _SMALL.

    malloc looks for a hole before it maps memory, and what is freed in a hole stays resident: a call's peak would be
    what it uses and, on top, whatever it happened to scatter over the heap.
    """
    libc, blocks = _libc(), []
    libc.mallopt(_M_MMAP_THRESHOLD, 2 * _LARGEST)  # none of these is mapped
    size = _LARGEST
    while size >= _SMALL:
        end = libc.sbrk(0)
        block = libc.malloc(size)
        if block and libc.sbrk(0) == end:
            blocks.append(block)
            continue
        libc.free(block)
        libc.malloc_trim(0)
        size //= 2
    libc.mallopt(_M_MMAP_THRESHOLD, _SMALL)
    return blocks


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    return libc


def _give_back_at_once() -> None:
    for option, value in ((_M_MMAP_THRESHOLD, _SMALL), (_M_TRIM_THRESHOLD, _SMALL), (_M_TOP_PAD, 0)):
        if not _malloc("mallopt", option, value):
            raise OSError("this C library cannot be told to give freed memory back at once (no mallopt)")


def keep_freed(size: int) -> None:
    """Let malloc keep up to `size` bytes that were freed, for who needs as much again soon; nothing where it cannot.

    Else a file's bytes are given back and asked anew each time, a fault of a page every 4 KiB.
    """
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        _malloc("mallopt", option, size)


def _malloc(name: str, *arguments: int) -> int:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    return 0 if function is None else int(function(*arguments))
