"""Einstein summation by matrix products, for a library that has none of its own.

Operands are contracted from left to right, two at a time, each time as one batched product. Nothing larger than an
operand, a product or the result is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from backends.compiled import Array
from backends.core import CoreOps


def einsum(ops: CoreOps, equation: str, xs: Sequence[Array]) -> Array:
    """`equation` names every axis by a letter and the result behind `->`; ValueError for anything else.

    A letter may not stand twice in one operand, and there is no ellipsis.
    """
    operands, arrow, result = equation.replace(" ", "").partition("->")
    labels = operands.split(",")
    repeated = any(len(set(name)) < len(name) for name in (*labels, result))
    if not arrow or not equation.replace(" ", "").replace("->", "").replace(",", "").isalpha() or repeated:
        raise ValueError(f"einsum {equation!r} must read like 'ij,jk->ik', each letter once in an operand")
    if len(labels) != len(xs):
        raise ValueError(f"einsum {equation!r} names {len(labels)} operands, found {len(xs)}")
    names, x = labels[0], xs[0]
    for i in range(1, len(xs)):
        later = set(result).union(*labels[i + 1 :])
        names, x = _contract(ops, (names, x), (labels[i], xs[i]), later)
    names, x = _summed(ops, names, x, set(result))
    return ops.permute_dims(x, tuple(names.index(name) for name in result))


def _contract(ops: CoreOps, left: tuple[str, Array], right: tuple[str, Array], later: set[str]) -> tuple[str, Array]:
    """The product of two operands, summed over the letters that nothing needs `later`, and its letters."""
    a_names, a = _summed(ops, *left, later | set(right[0]))
    b_names, b = _summed(ops, *right, later | set(left[0]))
    size = dict(zip(a_names + b_names, (*a.shape, *b.shape), strict=True))
    batch = [n for n in a_names if n in b_names and n in later]
    inner = [n for n in a_names if n in b_names and n not in later]
    rows = [n for n in a_names if n not in b_names]
    columns = [n for n in b_names if n not in a_names]

    def flat(x: Array, names: str, *groups: Sequence[str]) -> Array:
        turned = ops.permute_dims(x, tuple(names.index(n) for group in groups for n in group))
        return ops.reshape(turned, tuple(prod(size[n] for n in group) for group in groups))

    product = ops.matmul(flat(a, a_names, batch, rows, inner), flat(b, b_names, batch, inner, columns))
    kept = [*batch, *rows, *columns]
    return "".join(kept), ops.reshape(product, tuple(size[n] for n in kept))


def _summed(ops: CoreOps, names: str, x: Array, wanted: set[str]) -> tuple[str, Array]:
    """`x` summed over the letters that nobody wants, and the letters left."""
    axes = tuple(i for i, name in enumerate(names) if name not in wanted)
    return "".join(n for n in names if n in wanted), ops.sum(x, axes) if axes else x
