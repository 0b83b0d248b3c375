"""The executed work of a formulation: it is run once on shapes, through the same `Ops` in which it is written."""

from __future__ import annotations

from dataclasses import dataclass

from backends.counting.arrays import CountedArray, NotCounted
from backends.counting.counting_ops import CountingOps
from backends.counting.totals import Buffer, ExecutedWork, Operation, fused, one_by_one
from backends.ops import Execution
from workloads.base import Formulation, Inputs, Params


@dataclass(frozen=True, slots=True)
class CountedCall:
    """One call of a formulation, operation by operation, and what it gives back."""

    operations: list[Operation]
    outputs: frozenset[Buffer]

    def work(self, execution: Execution) -> ExecutedWork:
        """Chains are fused where the whole is compiled; `graph` runs operation by operation, as eager does."""
        return fused(self.operations, self.outputs) if execution == "compiled" else one_by_one(self.operations)


def traced(formulation: Formulation, inputs: Inputs, params: Params) -> CountedCall:
    """The operations of one call.

    `inputs` are those of the case, in its dtype: of real arrays only shapes are looked at, but for what `prepare` makes
    of them on the host (a pattern, its padding). NotCounted, in one sentence, for what is written in a framework's own
    words or looks at values; whatever the author's own functions raise passes.
    """
    ops = CountingOps()
    operands = list(formulation.prepare(ops, inputs, params))
    step = formulation.step(ops, params)
    ops.trace.operations.clear()  # what prepares is not in the timed call
    outputs = step(*operands)
    if not all(isinstance(output, CountedArray) for output in outputs):
        raise NotCounted("the formulation gives back what is no array of Ops: its work cannot be counted")
    return CountedCall(ops.trace.operations, frozenset(output.buffer for output in outputs))
