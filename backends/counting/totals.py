"""Operations as facts, and their totals: one by one as eager execution has them, or in fused chains as compiled.

Imports nothing of ours. Conventions, held against torch's FlopCounterMode and XLA's cost analysis by a test:

- an elementwise operation is one FLOP a value that it writes, exp, log and sqrt too; copies and casts are none;
- a sum or a maximum of n values is n − 1; a product of (m, k) and (k, n) is 2mkn; taps on zero padding are counted;
- an operation reads what it reads of each buffer once, and writes its result once; indices are read as well;
- a view (reshape, slice, transpose, new axis) moves nothing; reshaping a transposed view copies it;
- compiled: what the outputs do not need is left out, and a chain of elementwise operations and copies that only one
  operation goes on from is one with it, and so is a reduction at its end; a gather may begin one. Nothing else fuses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

OperationKind = Literal["elementwise", "copy", "gather", "scatter", "reduction", "product", "sparse", "sort"]

_BEGINS: frozenset[OperationKind] = frozenset({"elementwise", "copy", "gather"})
_GOES_ON: frozenset[OperationKind] = frozenset({"elementwise", "copy", "reduction"})


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that are reached by an index, and their bytes in all: the width of one is bytes / rows."""

    rows: int = 0
    bytes: int = 0


@dataclass(eq=False, slots=True)
class Buffer:
    """Something in memory: an operand of `bytes`, or what an operation writes."""

    bytes: int


@dataclass(eq=False, slots=True)
class Operation(Buffer):
    """One operation: `bytes` are those that it writes, `reads` the bytes that it reads of each buffer.

    What is `kept` is written whoever reads it: no chain goes on from it.
    """

    name: str
    kind: OperationKind
    reads: tuple[tuple[Buffer, int], ...] = ()
    matmul_flop: int = 0
    other_flop: int = 0
    gathered: Rows = Rows()
    scattered: Rows = Rows()
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedWork:
    """What one call does. `bytes` are read and written, of them `written_bytes`; `launches` are operations or chains.

    `gathered_bytes` are of the `gathered_rows`, which are part of `bytes` where they are read; so of the scattered.
    """

    matmul_flop: int
    other_flop: int
    bytes: int
    written_bytes: int
    gathered_rows: int
    gathered_bytes: int
    scattered_rows: int
    scattered_bytes: int
    launches: int


def one_by_one(operations: Sequence[Operation]) -> ExecutedWork:
    """The work of every operation by itself: eager execution, and a graph that nothing is fused in."""
    return _total([[operation] for operation in operations])


def fused(operations: Sequence[Operation], outputs: Collection[Buffer]) -> ExecutedWork:
    """The work of what `outputs` need, chains counted as one; `operations` in the order in which they were made."""
    wanted: set[Buffer] = set(outputs)
    users: dict[Buffer, list[Operation]] = defaultdict(list)
    chain_of: dict[Operation, list[Operation]] = {}
    chains: list[list[Operation]] = []
    for operation in reversed(operations):  # whoever reads it was seen before
        if operation not in wanted:
            continue
        chain = _goes_on_in(operation, users[operation], outputs, chain_of)
        if chain is None:
            chains.append(chain := [])
        chain.append(operation)
        chain_of[operation] = chain
        for buffer, _ in operation.reads:
            wanted.add(buffer)
            users[buffer].append(operation)
    return _total(chains)


def _goes_on_in(
    operation: Operation,
    users: Sequence[Operation],
    outputs: Collection[Buffer],
    chain_of: dict[Operation, list[Operation]],
) -> list[Operation] | None:
    """The chain that an operation is part of: that of all who read it, where it is one and may go on from it."""
    if operation.kind not in _BEGINS or operation.kept or operation in outputs or not users:
        return None
    first = chain_of[users[0]]
    same = all(chain_of[user] is first and user.kind in _GOES_ON for user in users)
    return first if same else None


def _total(chains: Iterable[Sequence[Operation]]) -> ExecutedWork:
    """Each chain reads of every buffer outside of it no more than there is, and writes what its first one writes."""
    read = written = launches = 0
    every: list[Operation] = []
    for chain in chains:
        inside: set[Buffer] = set(chain)
        taken: dict[Buffer, int] = defaultdict(int)
        for operation in chain:
            for buffer, size in operation.reads:
                if buffer not in inside:
                    taken[buffer] += size
        read += sum(min(size, buffer.bytes) for buffer, size in taken.items())
        written += chain[0].bytes
        launches += 1
        every += chain
    return ExecutedWork(
        matmul_flop=sum(o.matmul_flop for o in every),
        other_flop=sum(o.other_flop for o in every),
        bytes=read + written,
        written_bytes=written,
        gathered_rows=sum(o.gathered.rows for o in every),
        gathered_bytes=sum(o.gathered.bytes for o in every),
        scattered_rows=sum(o.scattered.rows for o in every),
        scattered_bytes=sum(o.scattered.bytes for o in every),
        launches=launches,
    )
