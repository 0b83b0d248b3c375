"""Symmetric quantisation on the host: the grids of each scheme, in float64, rounding half to even.

The same functions lay operands out for a formulation and make the reference, from the same rounded inputs, so that
both have the same grid. What a step quantises by itself it must do by the same rule.
"""

from __future__ import annotations

from typing import NamedTuple

import ml_dtypes
import numpy as np

from backends.ops import HostArray
from workloads.common import groups_of_m

FLOAT8 = ml_dtypes.float8_e4m3fn
FLOAT8_MOST = 448.0
MOST = {"w8a8_static": 127, "w8a8": 127, "w8": 127, "w4": 7, "w2": 1, "w1a1": 1}
BITS = {"w8a8_static": 8, "w8a8": 8, "w8": 8, "w4": 4, "fp8": 8, "w2": 2, "w1a1": 1}
WORD = 32  # bits of a word of packed signs


class Weights(NamedTuple):
    """`q` (M×K): whole numbers as int8, or values of e4m3; `scales` (M×G), one for each group of a row."""

    q: HostArray
    scales: HostArray

    def values(self) -> HostArray:
        """What they stand for, (M×K) float64."""
        size = self.q.shape[1] // self.scales.shape[1]
        found: HostArray = self.q.astype(np.float64) * np.repeat(self.scales, size, axis=1)
        return found


def weights(w: HostArray, scheme: str, group: int) -> Weights:
    """w (M×K) on the grid of `scheme`; `group` values of a row share a scale, which is float32.

    Ternary weights (w2) are as those of BitNet: 0 or ±1 times the mean magnitude of the row. Of w1a1 only signs stay.
    """
    w = np.asarray(w, np.float64)
    m, k = w.shape
    if scheme == "w1a1":
        return Weights(np.where(w < 0, -1, 1).astype(np.int8), np.ones((m, 1), np.float32))
    parts = w.reshape(m, k // group, group)
    if scheme == "w2":
        scales = _float32(np.abs(parts).mean(2))
        return Weights(_grid(parts, scales, 1).reshape(m, k).astype(np.int8), scales)
    most = FLOAT8_MOST if scheme == "fp8" else MOST[scheme]
    scales = _float32(np.maximum(np.abs(parts).max(2), 1e-30) / most)
    if scheme == "fp8":
        return Weights((parts / scales[:, :, None]).reshape(m, k).astype(np.float32).astype(FLOAT8), scales)
    return Weights(_grid(parts, scales, most).reshape(m, k).astype(np.int8), scales)


def _grid(parts: HostArray, scales: HostArray, most: float) -> HostArray:
    return np.clip(np.rint(parts / np.maximum(scales[:, :, None], 1e-30)), -most, most)


def _float32(x: HostArray) -> HostArray:
    return x.astype(np.float32)


def static(x: HostArray) -> HostArray:
    """x (N×K) as int8 with one scale for all of it, which is left out: the whole range ±127 is used."""
    x = np.asarray(x, np.float64)
    found: HostArray = np.rint(x * (127 / np.abs(x).max())).astype(np.int8)
    return found


def signs(x: HostArray) -> HostArray:
    """±1 by the sign of x, as int8."""
    return np.where(np.asarray(x, np.float64) < 0, -1, 1).astype(np.int8)


def rows(x: HostArray, scheme: str) -> HostArray:
    """x (N×K) on the grid of `scheme` with a scale a row, as float64: what a step quantises by itself."""
    x = np.asarray(x, np.float64)
    most = np.abs(x).max(axis=1, keepdims=True)
    if scheme == "fp8":
        scale = most / FLOAT8_MOST
        on_grid: HostArray = (x / scale).astype(np.float32).astype(FLOAT8).astype(np.float64) * scale
    else:
        on_grid = np.rint(x * (127 / most)) * (most / 127)
    return on_grid


def pack_signs(x: HostArray) -> HostArray:
    """±1 (R×K) as words of 32 bits (R×K/32) int32, a set bit for each −1; the order within a word is one for all."""
    packed = np.packbits(x < 0, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view(np.int32)


def pack_fields(q: HostArray, bits: int) -> HostArray:
    """Whole numbers (M×K) of `bits` bits, raised by half their range to be positive, by `groups_of_m.pack`."""
    return groups_of_m.pack(q.astype(np.int16) + 2 ** (bits - 1), bits)
