"""From a formulation to its kernels: what each of its operations, or fused chains, reads, writes and computes.

Counted once for each formulation, point, mode and dtype, and kept as long as the process lives. The rules of what is
counted and what fuses are those of backends/counting/totals.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, TypeAlias, get_args

from backends.counting.arrays import NotCounted
from backends.counting.sparse import EMBEDDING_BAG, SPARSE_VECTOR
from backends.counting.totals import Buffer, Operation
from backends.dtypes import itemsize
from backends.ops import Execution, Unsupported
from harness.measuring.correctness import rounded
from harness.records.points import point_name
from harness.records.record import Case
from harness.records.text import one_line
from workloads.base import Definition, Inputs, Mode, Params
from workloads.counting import CountedCall, traced
from workloads.facts import inputs_of, work_of

LARGEST_BYTES = 2**27  # of a point's operands: beyond, making them only to count costs more than it tells

KernelClass: TypeAlias = Literal[
    "elementwise", "dense", "convolution", "small products", "gather", "embedding bag", "sparse", "scatter", "select"
]
CLASSES: tuple[KernelClass, ...] = get_args(KernelClass)
StoredForm: TypeAlias = Literal["rows", "bag", "vector"]
FORMS: Mapping[str, StoredForm] = {EMBEDDING_BAG: "bag", SPARSE_VECTOR: "vector"}  # by the name of the operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One launch: FLOP, bytes and rows. Bytes read are `held_bytes` of operands and `fresh_bytes` made in this call.

    `sides` (batch, m, n, k) of a product. Sparse: `stored` values or blocks, their `sparse_flop`, and the `form`.
    """

    kind: KernelClass
    matmul_flop: int = 0
    other_flop: int = 0
    sparse_flop: int = 0
    select_flop: int = 0
    sides: tuple[float, float, float, float] | None = None
    held_bytes: int = 0
    fresh_bytes: int = 0
    written_bytes: int = 0
    gathered_rows: int = 0
    gathered_bytes: int = 0
    gathered_from: int = 0  # bytes of what the rows are taken of
    scattered_rows: int = 0
    scattered_bytes: int = 0
    stored: int = 0
    form: StoredForm = "rows"

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.held_bytes + self.fresh_bytes + self.written_bytes


@dataclass(frozen=True, slots=True)
class Call:
    """The kernels of one call, and the bytes of everything that it touches, each thing once."""

    kernels: tuple[Kernel, ...]
    touched_bytes: int

    @property
    def kind(self) -> KernelClass:
        """What the call is judged as: the kind of its kernels that comes last in CLASSES."""
        return max((k.kind for k in self.kernels), key=CLASSES.index, default="elementwise")


@dataclass(frozen=True)
class CountedForm:
    """A formulation at a point, counted: its call one operation at a time, and fused."""

    counted: CountedCall
    itemsize: int

    def call(self, execution: Execution) -> Call:
        """Chains are one kernel where the whole is compiled."""
        return self.fused if execution == "compiled" else self.one_by_one

    @cached_property
    def one_by_one(self) -> Call:
        """Every operation by itself."""
        return _call([[operation] for operation in self.counted.operations], self.itemsize)

    @cached_property
    def fused(self) -> Call:
        """What the outputs need, in chains."""
        return _call(_chains(self.counted.operations, self.counted.outputs), self.itemsize)


class Counts:
    """Counted formulations by workload, formulation, mode, point, dtype and seed."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], CountedForm | str] = {}
        self._inputs: tuple[tuple[object, ...], Inputs] | None = None

    def of(self, definition: Definition, case: Case) -> CountedForm | str:
        """The counted formulation of a case, or why it cannot be counted, in one sentence."""
        form = (case.formulation, case.mode)
        key = (definition.name, *form, case.point, case.dtype, case.seed)
        if key not in self._known:
            self._known[key] = self._counted(definition, case)
        return self._known[key]

    def _counted(self, definition: Definition, case: Case) -> CountedForm | str:
        formulation = definition.formulations.get(case.mode, {}).get(case.formulation)
        if formulation is None:
            return f"{definition.name} has no formulation {case.formulation} of {case.mode} here"
        size = itemsize(case.dtype)
        try:
            held = work_of(definition, case.params, case.mode, size).least_bytes
            if held > LARGEST_BYTES:
                return f"its operands are larger than {LARGEST_BYTES} bytes: they are not made only to be counted"
            inputs = self._of_point(definition, case.params, case.mode, case.dtype, case.seed)
            return CountedForm(traced(formulation, inputs, case.params), size)
        except (NotCounted, Unsupported) as reason:
            return one_line(str(reason))
        except Exception as error:  # the author's own
            return one_line(f"{type(error).__name__}: {error}")

    def _of_point(self, definition: Definition, params: Params, mode: Mode, dtype: str, seed: int) -> Inputs:
        """The inputs, kept until another point asks: formulations of one point come one after the other."""
        key = (definition.name, point_name(params), mode, dtype, seed)
        if self._inputs is None or self._inputs[0] != key:
            self._inputs = None
            self._inputs = key, rounded(inputs_of(definition, params, mode, seed), dtype)
        return self._inputs[1]


COUNTS = Counts()  # of this process


# -- kernels of operations ---------------------------------------------------------------------------------------------
def _call(chains: Sequence[Sequence[Operation]], itemsize: int) -> Call:
    touched: dict[Buffer, int] = {}
    kernels = []
    for chain in chains:
        kernels.append(_kernel(chain, itemsize))
        for operation in chain:
            for source, _ in operation.reads:
                touched.setdefault(source, source.bytes)
        touched.setdefault(chain[0], chain[0].bytes)
    return Call(tuple(kernels), sum(touched.values()))


def _kernel(chain: Sequence[Operation], itemsize: int) -> Kernel:
    """One launch of operations, the last first; bytes as `totals` has them."""
    inside = set(chain)
    taken: dict[Buffer, int] = defaultdict(int)
    for operation in chain:
        for source, size in operation.reads:
            if source not in inside:
                taken[source] += size
    read = {source: min(size, source.bytes) for source, size in taken.items()}
    sparse = [o for o in chain if o.kind == "sparse"]
    chosen = [o for o in chain if o.kind == "sort"]
    product = next((o for o in chain if o.kind == "product"), None)
    sides = None if product is None else _sides(product, itemsize)
    gathers = [o for o in chain if o.gathered.rows]
    sparse_flop = sum(o.matmul_flop + o.other_flop for o in sparse)
    select_flop = sum(o.other_flop for o in chosen)
    return Kernel(
        kind=_kind(chain, product, sides),
        matmul_flop=sum(o.matmul_flop for o in chain if o.kind != "sparse"),
        other_flop=sum(o.other_flop for o in chain) - select_flop - sum(o.other_flop for o in sparse),
        sparse_flop=sparse_flop,
        select_flop=select_flop,
        sides=sides,
        held_bytes=sum(size for source, size in read.items() if not isinstance(source, Operation)),
        fresh_bytes=sum(size for source, size in read.items() if isinstance(source, Operation)),
        written_bytes=chain[0].bytes,
        gathered_rows=sum(o.gathered.rows for o in gathers),
        gathered_bytes=sum(o.gathered.bytes for o in gathers),
        gathered_from=sum(map(_table_bytes, gathers)),
        scattered_rows=sum(o.scattered.rows for o in chain),
        scattered_bytes=sum(o.scattered.bytes for o in chain),
        stored=sum(max(o.gathered.rows, o.scattered.rows) for o in sparse),
        form=next((FORMS[o.name] for o in sparse if o.name in FORMS), "rows"),
    )


def _table_bytes(gather: Operation) -> int:
    """The size of what rows are taken of: of a sparse operation its last operand."""
    sizes = [source.bytes for source, _ in gather.reads]
    return sizes[-1] if gather.kind == "sparse" else max(sizes, default=0)


def _kind(
    chain: Sequence[Operation], product: Operation | None, sides: tuple[float, float, float, float] | None
) -> KernelClass:
    kinds = {o.kind for o in chain}
    if "sort" in kinds:
        return "select"
    if "scatter" in kinds or any(o.kind == "sparse" and o.scattered.rows for o in chain):
        return "scatter"
    if "sparse" in kinds:
        return "embedding bag" if any(o.name == EMBEDDING_BAG for o in chain) else "sparse"
    if "gather" in kinds:
        return "gather"
    if product is None:
        return "elementwise"
    if product.name.startswith("conv"):
        return "convolution"
    return "small products" if sides is not None and sides[0] > 1 else "dense"


def _sides(product: Operation, itemsize: int) -> tuple[float, float, float, float]:
    """(batch, m, n, k) of a product from what it reads, writes and computes: it notes no shapes.

    With b pairs of (m, k) and (k, n): FLOP = 2bmnk and the three sizes are bmk, bkn and bmn, which tells all four. Of a
    convolution the images are not the matrix that is multiplied; its filters (k, n) are.
    """
    out = max(1.0, product.bytes / itemsize)
    pairs = max(1.0, product.matmul_flop / 2)
    k = max(1.0, pairs / out)
    sizes = sorted((size / itemsize for _, size in product.reads[-2:]), reverse=True)
    if len(sizes) < 2 or product.name.startswith("conv"):
        n = max(1.0, sizes[-1] / k if sizes else 1.0)
        return 1.0, max(1.0, out / n), n, k
    batch = max(1.0, prod(sizes) * out / pairs**2)
    batch = batch if batch > 1.5 else 1.0
    return batch, max(1.0, sizes[0] / k / batch), max(1.0, sizes[1] / k / batch), k


def _chains(operations: Sequence[Operation], outputs: Collection[Buffer]) -> list[list[Operation]]:
    """What `totals.fused` adds up: the chains of what the outputs need, each with its last operation first."""
    wanted: set[Buffer] = set(outputs)
    users: dict[Buffer, list[Operation]] = defaultdict(list)
    chain_of: dict[Operation, list[Operation]] = {}
    chains: list[list[Operation]] = []
    for operation in reversed(operations):
        if operation not in wanted:
            continue
        several = users[operation]
        chain = chain_of[several[0]] if several else None
        begins = operation.kind in ("elementwise", "copy", "gather") and not operation.kept
        goes_on = all(chain_of[user] is chain and user.kind in ("elementwise", "copy", "reduction") for user in several)
        if chain is None or not begins or operation in outputs or not goes_on:
            chains.append(chain := [])
        chain.append(operation)
        chain_of[operation] = chain
        for source, _ in operation.reads:
            wanted.add(source)
            users[source].append(operation)
    return chains
