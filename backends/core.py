"""The operations that every backend writes: copying to and from the device, waiting, and the arrays' own.

Names and meanings follow the Python array API standard (2024.12). Imports nothing of ours but the types it speaks of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from backends.compiled import Array, Matrix, Unsupported
from backends.csr import HostArray
from backends.device import Device


class CoreOps(ABC):
    """What a backend cannot do without: 19 methods. Axis arguments are ints, shapes are static."""

    device: Device
    framework: ClassVar[str] = ""  # as people write it, such as PyTorch; it stands in messages

    def _name_of_framework(self) -> str:
        return self.framework or type(self).__name__.removesuffix("Ops")

    def _unsupported(self, operation: str) -> Unsupported:
        name = self._name_of_framework()
        return Unsupported(f"{name} has no {operation} here: write a formulation for this framework in its own words")

    # -- transfer ---------------------------------------------------------------------------------------------------
    @abstractmethod
    def asarray(self, x: HostArray) -> Array:
        """Copy a host array to the device, same shape and dtype (bfloat16 comes as `ml_dtypes.bfloat16`)."""

    def positions(self, x: HostArray) -> Array:
        """Copy positions for `take` to the device as int32, or as the integers by which the framework reads faster."""
        return self.asarray(x.astype(np.int32))

    @abstractmethod
    def to_numpy(self, x: Array) -> HostArray:
        """Copy a dense array of the device to the host; waits for it."""

    @abstractmethod
    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        """Return when every one of `outputs` is computed (or converted), without copying any to the host."""

    # -- array API standard -----------------------------------------------------------------------------------------
    @abstractmethod
    def astype(self, x: Array, dtype: str) -> Array: ...
    @abstractmethod
    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array: ...
    @abstractmethod
    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array: ...
    @abstractmethod
    def expand_dims(self, x: Array, axis: int) -> Array: ...
    @abstractmethod
    def concat(self, xs: Sequence[Array], axis: int) -> Array: ...
    @abstractmethod
    def stack(self, xs: Sequence[Array], axis: int) -> Array: ...
    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array: ...
    @abstractmethod
    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
    @abstractmethod
    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array: ...
    @abstractmethod
    def exp(self, x: Array) -> Array: ...
    @abstractmethod
    def log(self, x: Array) -> Array: ...
    @abstractmethod
    def sqrt(self, x: Array) -> Array: ...
    @abstractmethod
    def where(self, condition: Array, x: Array, y: Array | float) -> Array: ...
    @abstractmethod
    def maximum(self, x: Array, y: Array | float) -> Array: ...
    @abstractmethod
    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        """Slices of x at `indices` along `axis`: the shape of `indices`, of any rank, stands in the place of `axis`.

        `indices` are integers from 0 to below x.shape[axis]; what another one gives is not defined.
        """

    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array: ...
