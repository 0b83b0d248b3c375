"""Arrays that have a shape and no values: what a formulation computes with while its work is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from backends.counting.totals import Buffer, Operation, OperationKind, Rows

Shape: TypeAlias = tuple[int, ...]


class NotCounted(Exception):  # noqa: N818 - it is an outcome, as Unsupported is
    """Work that cannot be told from shapes alone; the message is one sentence that says why."""


class Trace:
    """The operations in the order in which they were called."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.backward = False  # while gradients are made, whose own gradients nobody wants

    def leaf(self, shape: Shape, dtype: Any) -> CountedArray:
        """An operand."""
        found = np.dtype(dtype)
        return CountedArray(self, shape, found, Buffer(prod(shape) * found.itemsize))

    def make(
        self,
        name: str,
        kind: OperationKind,
        shape: Shape,
        dtype: Any,
        inputs: Sequence[CountedArray],
        gradients: Sequence[Callable[[CountedArray], CountedArray] | None] = (),
        *,
        reads_bytes: Sequence[int] = (),
        matmul_flop: int = 0,
        other_flop: int = 0,
        gathered: Rows = Rows(),  # noqa: B008 - frozen
        scattered: Rows = Rows(),  # noqa: B008
    ) -> CountedArray:
        """Note one operation, and give its result.

        `gradients` has for each input the function from the result's gradient to the input's, None where none passes.
        `reads_bytes` are what it reads of each input, by default all that its view shows.
        """
        dtype = np.dtype(dtype)
        sizes = reads_bytes or [x.view_bytes for x in inputs]
        operation = Operation(
            bytes=prod(shape) * dtype.itemsize,
            name=name,
            kind=kind,
            reads=tuple((x.buffer, size) for x, size in zip(inputs, sizes, strict=True)),
            matmul_flop=matmul_flop,
            other_flop=other_flop,
            gathered=gathered,
            scattered=scattered,
        )
        self.operations.append(operation)
        out = CountedArray(self, shape, dtype, operation)
        out.follows(inputs, gradients)
        return out


class CountedArray:
    """An array of `shape` and `dtype` that shows `view_bytes` of a buffer; it has the operators of every framework.

    `parents` are the arrays through which a gradient passes on, and how; kept only where one is wanted.
    """

    __hash__ = object.__hash__
    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to us

    def __init__(
        self,
        trace: Trace,
        shape: Shape,
        dtype: np.dtype[Any],
        buffer: Buffer,
        *,
        view_bytes: int | None = None,
        contiguous: bool = True,
    ) -> None:
        self.trace, self.shape, self.dtype, self.buffer = trace, shape, dtype, buffer
        self.view_bytes = prod(shape) * dtype.itemsize if view_bytes is None else view_bytes
        self.contiguous = contiguous
        self.differentiated = False
        self.parents: tuple[tuple[CountedArray, Callable[[CountedArray], CountedArray]], ...] = ()

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many values."""
        return prod(self.shape)

    def follows(
        self, inputs: Sequence[CountedArray], gradients: Sequence[Callable[[CountedArray], CountedArray] | None]
    ) -> None:
        """Remember how gradients pass on to those of `inputs` that want one; NotCounted where that is not known."""
        if self.trace.backward or not any(x.differentiated for x in inputs):
            return
        if len(gradients) != len(inputs):
            raise NotCounted(f"no rule counts the gradient of {getattr(self.buffer, 'name', 'a view')}")
        pairs = zip(inputs, gradients, strict=True)
        self.parents = tuple((x, gradient) for x, gradient in pairs if x.differentiated and gradient is not None)
        self.differentiated = bool(self.parents)

    def view(
        self,
        shape: Shape,
        gradient: Callable[[CountedArray], CountedArray] | None,
        *,
        view_bytes: int | None = None,
        contiguous: bool = True,
    ) -> CountedArray:
        """Another view of the same buffer; nothing is moved."""
        out = CountedArray(
            self.trace,
            shape,
            self.dtype,
            self.buffer,
            view_bytes=self.view_bytes if view_bytes is None else view_bytes,
            contiguous=contiguous and self.contiguous,
        )
        out.follows((self,), (gradient,))
        return out

    def detached(self) -> CountedArray:
        """The same view, through which no gradient passes."""
        return CountedArray(
            self.trace, self.shape, self.dtype, self.buffer, view_bytes=self.view_bytes, contiguous=self.contiguous
        )

    # -- what has no values -----------------------------------------------------------------------------------------
    def _valueless(self, *_: Any) -> Any:
        raise NotCounted("the formulation asks for a value of an array: its work depends on more than shapes")

    __bool__ = __float__ = __int__ = __index__ = __array__ = __iter__ = _valueless

    def __getattr__(self, name: str) -> Any:
        raise NotCounted(f"the formulation asks an array for {name!r}, which is not in Ops: its work cannot be counted")

    # -- operators --------------------------------------------------------------------------------------------------
    def __add__(self, other: Any) -> CountedArray:
        return elementwise("add", (self, other), (lambda g: g, lambda g: g))

    def __sub__(self, other: Any) -> CountedArray:
        return elementwise("subtract", (self, other), (lambda g: g, lambda g: -g))

    def __rsub__(self, other: Any) -> CountedArray:
        return elementwise("subtract", (other, self), (lambda g: g, lambda g: -g))

    def __mul__(self, other: Any) -> CountedArray:
        return elementwise("multiply", (self, other), (lambda g: g * other, lambda g: g * self))

    def __truediv__(self, other: Any) -> CountedArray:
        return divide(self, other)

    def __rtruediv__(self, other: Any) -> CountedArray:
        return divide(other, self)

    def __pow__(self, other: Any) -> CountedArray:
        return elementwise("power", (self, other), (lambda g: g * (self**other) * other,))

    def __neg__(self) -> CountedArray:
        return elementwise("negative", (self,), (lambda g: -g,))

    def __matmul__(self, other: CountedArray) -> CountedArray:
        return matmul(self, other)

    def _compare(self, other: Any) -> CountedArray:
        return elementwise("compare", (self, other), (None, None), dtype=np.bool_)

    __lt__ = __le__ = __gt__ = __ge__ = _compare
    __eq__ = __ne__ = _compare  # type: ignore[assignment]  # as in every framework, it gives an array

    def _bits(self, other: Any) -> CountedArray:
        return elementwise("bits", (self, other), (None, None))

    def _whole(self, other: Any) -> CountedArray:
        return elementwise("whole_division", (self, other), (None, None))

    __floordiv__ = __mod__ = _whole
    __and__ = __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = __rshift__ = __lshift__ = _bits
    __radd__, __rmul__ = __add__, __mul__

    def __invert__(self) -> CountedArray:
        return elementwise("bits", (self,), (None,))

    def __getitem__(self, key: Any) -> CountedArray:
        """Basic slicing: whole numbers, slices, an ellipsis, new axes."""
        keys = key if isinstance(key, tuple) else (key,)
        if any(not (k is None or k is Ellipsis or isinstance(k, int | np.integer | slice)) for k in keys):
            raise NotCounted("the formulation indexes an array by another, which is not in Ops: use take")
        shape = np.broadcast_to(np.zeros((), np.bool_), self.shape)[key].shape
        share = prod(shape) / self.size if self.size else 0

        def gradient(g: CountedArray) -> CountedArray:
            return self.trace.make("slice_gradient", "copy", self.shape, self.dtype, (g,))

        leading = all(size == 1 for size in self.shape[:-1]) and len(keys) <= 1
        view_bytes = round(self.view_bytes * share)
        return self.view(shape, gradient, view_bytes=view_bytes, contiguous=leading or shape == self.shape)


def elementwise(
    name: str,
    inputs: Sequence[Any],
    gradients: Sequence[Callable[[CountedArray], CountedArray] | None],
    *,
    dtype: Any = None,
    flop: int = 1,
) -> CountedArray:
    """An operation on every value of broadcast inputs, some of which may be plain numbers; `flop` a value of it."""
    arrays = [x for x in inputs if isinstance(x, CountedArray)]
    strange = [x for x in inputs if not isinstance(x, CountedArray | int | float | bool | np.generic)]
    if strange:
        raise NotCounted(f"{name} of an array and a {type(strange[0]).__name__}, which is none of the operands")
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    passed = [
        None if gradient is None else _summed_to(x, gradient)
        for x, gradient in zip(inputs, gradients, strict=False)
        if isinstance(x, CountedArray)
    ]
    found = common(arrays) if dtype is None else dtype
    return arrays[0].trace.make(name, "elementwise", shape, found, arrays, passed, other_flop=flop * prod(shape))


def divide(left: Any, right: Any) -> CountedArray:
    """left / right; the gradient of the divisor is −g·(left/right)/right."""

    out = elementwise("divide", (left, right), (lambda g: g / right, lambda g: -(g * out / right)))
    return out


def common(inputs: Sequence[Any]) -> np.dtype[Any]:
    """The dtype of a result: a real one before whole numbers and truth values, then the wider; of numbers none."""
    dtypes = [x.dtype for x in inputs if isinstance(x, CountedArray)]
    return max(dtypes, key=lambda d: (d.kind not in "iub", d.kind != "b", d.itemsize))


def _summed_to(x: CountedArray, gradient: Callable[[CountedArray], CountedArray]) -> Callable[..., CountedArray]:
    """The gradient of a broadcast input: summed over the axes along which it was repeated."""

    def passed(g: CountedArray) -> CountedArray:
        made = gradient(g)
        return made if made.shape == x.shape else summed(made, x.shape)

    return passed


def summed(g: CountedArray, shape: Shape) -> CountedArray:
    """A reduction to `shape`."""
    flop = max(0, g.size - prod(shape))
    return g.trace.make("sum", "reduction", shape, g.dtype, (g,), other_flop=flop)


def repeated(g: CountedArray, shape: Shape) -> CountedArray:
    """A broadcast view of `shape`: it reads no more than there is."""
    return g.view(shape, None, contiguous=False)


def differentiated(x: CountedArray) -> CountedArray:
    """The same operand, whose gradient is wanted."""
    out = x.detached()
    out.differentiated = True
    return out


# -- views and products ------------------------------------------------------------------------------------------------
def reshaped(x: CountedArray, shape: Shape) -> CountedArray:
    """A view of another shape; of what is not laid out in order, a copy."""
    known = prod(size for size in shape if size != -1)
    shape = tuple(x.size // known if size == -1 else int(size) for size in shape)
    if prod(shape) != x.size:
        raise NotCounted(f"a reshape of {x.shape} to {shape}, which holds another number of values")
    if x.contiguous:
        return x.view(shape, lambda g: reshaped(g, x.shape))
    return x.trace.make("copy", "copy", shape, x.dtype, (x,), (lambda g: reshaped(g, x.shape),))


def permuted(x: CountedArray, axes: Sequence[int]) -> CountedArray:
    """The axes in another order: a view."""
    order = [axis % x.ndim for axis in axes]
    back = [order.index(i) for i in range(x.ndim)]
    moved = [axis for axis in order if x.shape[axis] != 1]
    shape = tuple(x.shape[axis] for axis in order)
    return x.view(shape, lambda g: permuted(g, back), contiguous=moved == sorted(moved))


def transposed(x: CountedArray) -> CountedArray:
    """The last two axes exchanged."""
    return permuted(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def matmul(a: CountedArray, b: CountedArray) -> CountedArray:
    """2·m·k·n FLOP for each pair of matrices; a vector is a matrix of one row, or of one column."""
    if a.ndim == 1:
        product = matmul(reshaped(a, (1, *a.shape)), b)
        return reshaped(product, (*product.shape[:-2], *product.shape[-1:]) if b.ndim > 1 else ())
    if b.ndim == 1:
        product = matmul(a, reshaped(b, (*b.shape, 1)))
        return reshaped(product, product.shape[:-1])
    (m, k), (rows, n) = a.shape[-2:], b.shape[-2:]
    if k != rows:
        raise NotCounted(f"a product of {a.shape} and {b.shape}, whose inner sides differ")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, m, n)
    gradients = (
        _summed_to(a, lambda g: matmul(g, transposed(b))),
        _summed_to(b, lambda g: matmul(transposed(a), g)),
    )
    dtype = common((a, b))
    return a.trace.make("matmul", "product", shape, dtype, (a, b), gradients, matmul_flop=2 * prod(shape) * k)
