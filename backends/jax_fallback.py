"""What JAX ran in place of what was asked, read from the program that it made and the warnings that it gave.

Imports JAX: only an opened backend imports this file, when it is asked what happened.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax

from backends.ops import Array, Fallback, Matrix

_DENSE = frozenset({"bcoo_todense", "bcsr_todense", "coo_todense", "csr_todense"})
_HOST = frozenset({"pure_callback", "io_callback", "debug_callback", "outside_call"})
_KERNEL = re.compile(r"custom_call @(\w*(?:csr|coo)\w*)")  # of the CPU, cuSPARSE and hipSPARSE alike
_CALLS = re.compile(r'custom_call_target="([^"]+)"|\sfusion\(')
_DOT = re.compile(r"\bdot\((%[\w.\-]+), (%[\w.\-]+)\)")  # as XLA prints a product
_LOW = re.compile(r"xi8>|f8E4M3FN>|ragged_dot")
_MADE = re.compile(r"(%[\w.\-]+) = (\w+)\[")
# Products that have a kernel of their own, where one exists for the device, the dtype and the shape.
_PRODUCTS = {"cpu": ("bcsr_dot_general",), "cuda": ("bcsr_dot_general", "bcoo_dot_general")}


def traced(fn: Callable[..., Any], operands: Sequence[Array | Matrix]) -> tuple[Any, str, list[str]]:
    """The program of `fn` as traced, the same as lowered for the device, and what JAX said about sparse operands."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A function of its own: a trace that comes from a cache would not warn again.
        trace = jax.jit(lambda *args: fn(*args)).trace(*operands)  # noqa: PLW0108
        text = trace.lower().as_text()
    return trace.jaxpr, text, about_sparse(caught)


def about_sparse(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """The words of those warnings by which JAX says that a sparse operation takes another way."""
    return [str(w.message) for w in caught if "SparseEfficiency" in w.category.__name__]


def of_program(jaxpr: Any, lowered: str, said: Iterable[str], kind: str) -> list[Fallback]:
    """Dense copies, callbacks to the host, and sparse products that lost their kernel in lowering."""
    names = Counter(equation.primitive.name for equation in equations(jaxpr))
    found = []
    dense = sorted(_DENSE & names.keys())
    if dense:
        found.append(Fallback("densified", ", ".join(dense)))
    callbacks = sorted(_HOST & names.keys())
    if callbacks:
        found.append(Fallback("host", f"{', '.join(callbacks)} runs Python on the host in every call"))
    asked = sum(names[name] for name in _PRODUCTS.get(kind, ()))
    kernels = len(_KERNEL.findall(lowered))
    if kernels < asked:
        words = "; ".join(dict.fromkeys(said)) or "JAX lowers it to a gather and a scatter without a word"
        products = " and ".join(name for name in _PRODUCTS[kind] if names[name])
        found.append(Fallback("substituted", f"{asked - kernels} of {asked} {products} have no sparse kernel: {words}"))
    return found


def kernels(program: str) -> list[str]:
    """The library calls and fusions of an optimised program, as XLA's text names them."""
    return [target or "fusion" for target in _CALLS.findall(program)]


def of_compiled(jaxpr: Any, compiled: str, kind: str) -> list[Fallback]:
    """Products of few bits and grouped ones that XLA turned into others, by the program that it `compiled`."""
    found = []
    asked = [equation for equation in equations(jaxpr) if equation.primitive.name == "dot_general"]
    operands = {str(variable.aval.dtype) for equation in asked for variable in equation.invars}
    if "int8" in operands and not _dot_of("s8", compiled):
        found.append(Fallback("substituted", "XLA widens int8 operands and multiplies whole numbers of 32 bits"))
    elif "int8" in operands and kind == "cpu" and "ynn_fusion" not in compiled:
        found.append(Fallback("substituted", "XLA multiplies int8 by loops of its own, without YNNPACK's kernel"))
    if any(dtype.startswith("float8") for dtype in operands) and not _dot_of("f8e4m3fn", compiled):
        found.append(Fallback("substituted", "XLA converts float8 operands to float32"))
    grouped = any("ragged_dot" in equation.primitive.name for equation in equations(jaxpr))
    if grouped and kind == "cpu" and "ragged-dot" not in compiled:
        found.append(Fallback("densified", "ragged_dot becomes masks and one dense product over all groups"))
    return found


def _dot_of(dtype: str, compiled: str) -> bool:
    """Whether a product in the compiled text takes operands of this dtype; a name is what was last made under it."""
    made: dict[str, str] = {}
    for line in compiled.splitlines():
        found = _DOT.search(line)
        if found and dtype in (made.get(found[1]), made.get(found[2])):
            return True
        made.update(_MADE.findall(line))
    return False


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program, those of the programs inside it too."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                    yield from equations(inner)


def of_outputs(outputs: Iterable[Array], platform: str) -> list[Fallback]:
    """Results that lie on another platform than `platform`, or in the host's memory beside it."""
    leaves = [leaf for leaf in jax.tree_util.tree_leaves(outputs) if isinstance(leaf, jax.Array)]
    where = {device.platform for leaf in leaves for device in leaf.devices()} - {platform}
    memory = {leaf.sharding.memory_kind for leaf in leaves} & {"pinned_host"}
    if not where | memory:
        return []
    return [Fallback("host", f"results lie on {', '.join(sorted(where | memory))} and not on {platform}")]


def of_eager(fn: Callable[..., Any], operands: Sequence[Array | Matrix], kind: str) -> list[Fallback]:
    """What becomes of `fn` called eagerly, where each operation is lowered by itself as it is in the whole program."""
    jaxpr, lowered, said = traced(fn, operands)
    found = of_program(jaxpr, lowered, said, kind)
    if _LOW.search(lowered):  # only these are compiled once more to be read
        found += of_compiled(jaxpr, jax.jit(lambda *args: fn(*args)).lower(*operands).compile().as_text(), kind)  # noqa: PLW0108
    return found
