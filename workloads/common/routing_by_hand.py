"""A train step of dynamic routing with its backward pass written out, û formed in neither direction.

Blocks are those of the folded form (routing_forms.py): u (d, I', B), W (J, D, d·I'); labels are (J, 1, B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backends.ops import Array, Ops
from workloads.base import LEARNING_RATE, Parameters
from workloads.common.routing_forms import sizes, squash
from workloads.common.routing_reference import ABSENT, DOWN, EPSILON, PRESENT

STEP_BLOCKS = 8  # few enough that eager calls do not dominate


class _Block(NamedTuple):
    """Some capsules below: u (d, I', B), W (J, D, d·I'), and W with its sides exchanged."""

    u: Array
    w: Array
    back: Array


@dataclass(slots=True)
class _Tape:
    """What the backward pass reads again: s of each round, Σv before each, the couplings of each block in each."""

    sums: list[Array] = field(default_factory=list)
    totals: list[Array] = field(default_factory=list)
    couplings: list[list[Array]] = field(default_factory=list)


def _added(a: Array | None, b: Array) -> Array:
    return b if a is None else a + b


def _squash_gradient(ops: Ops, s: Array, g: Array) -> Array:
    """The gradient of s, from g, that of squash(s)."""
    norm2 = ops.sum(s * s, 1, keepdims=True)
    root, above = ops.sqrt(norm2 + EPSILON), norm2 + 1.0
    slope = 2.0 / (above * above * root) - norm2 / (above * root * root * root)
    return g * (norm2 / (above * root)) + s * (slope * ops.sum(g * s, 1, keepdims=True))


def _loss(ops: Ops, v: Array, labels: Array, batch: int) -> tuple[Array, Array]:
    """The margin loss, and its gradient of v (J, D, B)."""
    length = ops.sqrt(ops.sum(v * v, 1, keepdims=True) + EPSILON)
    short, long = ops.relu(PRESENT - length), ops.relu(length - ABSENT)
    absent = DOWN * (1.0 - labels)
    loss = ops.sum(labels * short * short + absent * long * long) * (1.0 / batch)
    return loss, v * ((absent * long - labels * short) * (2.0 / batch) / length)


@dataclass(frozen=True, slots=True)
class _Routing:
    """The passes of one step over its blocks; B, J, d, D and R are the sizes."""

    ops: Ops
    b: int
    j: int
    d: int
    D: int
    rounds: int

    def _fold(self, weights: Array, u: Array) -> Array:
        """Weights (J, 1, I', B) times u, as a batch of matrices (J, d·I', B)."""
        return self.ops.reshape(weights * u, (self.j, self.d * u.shape[1], self.b))

    def _agreement(self, block: _Block, x: Array) -> Array:
        """û·x of a block, (J, 1, I', B): x (J, D, B) is pulled back through W, then met with u."""
        pulled = self.ops.reshape(self.ops.matmul(block.back, x), (self.j, self.d, block.u.shape[1], self.b))
        return self.ops.sum(pulled * block.u, 1, keepdims=True)

    def forward(self, blocks: Sequence[_Block]) -> tuple[Array, _Tape]:
        """v (J, D, B) of the last round."""
        ops, tape = self.ops, _Tape()
        s = None
        for u, w, _ in blocks:
            n = self.d * u.shape[1]
            s = _added(s, ops.matmul(ops.reshape(w, (self.j * self.D, n)), ops.reshape(u, (n, self.b))))
        tape.sums.append(ops.reshape(s, (self.j, self.D, self.b)) * (1.0 / self.j))
        v = squash(ops, tape.sums[0], 1)
        for _ in range(1, self.rounds):
            total = tape.totals[-1] + v if tape.totals else v
            couplings = []
            s = None
            for block in blocks:
                coupling = ops.softmax(self._agreement(block, total), 0)
                s = _added(s, ops.matmul(block.w, self._fold(coupling, block.u)))
                couplings.append(coupling)
            tape.totals.append(total)
            tape.couplings.append(couplings)
            tape.sums.append(s)
            v = squash(ops, s, 1)
        return v, tape

    def backward(self, blocks: Sequence[_Block], tape: _Tape, gradient_v: Array) -> list[Array]:
        """Every W after its step."""
        ops = self.ops
        gradients: list[Array | None] = [None] * len(blocks)
        reached = None  # the gradient of Σv: the same for every earlier v, and summed over the rounds behind
        for r in reversed(range(1, self.rounds)):
            gradient_s, total = _squash_gradient(ops, tape.sums[r], gradient_v), tape.totals[r - 1]
            for k, (block, c) in enumerate(zip(blocks, tape.couplings[r - 1], strict=True)):
                pulled = c * self._agreement(block, gradient_s)
                fold = self._fold(pulled - c * ops.sum(pulled, 0, keepdims=True), block.u)
                reached = _added(reached, ops.matmul(block.w, fold))
                part = ops.matmul(total, ops.permute_dims(fold, (0, 2, 1)))
                fold = self._fold(c, block.u)
                part = part + ops.matmul(gradient_s, ops.permute_dims(fold, (0, 2, 1)))
                gradients[k] = _added(gradients[k], part)
            gradient_v = reached
        first = _squash_gradient(ops, tape.sums[0], gradient_v) * (1.0 / self.j)
        first = ops.reshape(first, (self.j * self.D, self.b))
        updated = []
        for (u, w, _), gradient in zip(blocks, gradients, strict=True):
            n = self.d * u.shape[1]
            part = ops.matmul(first, ops.permute_dims(ops.reshape(u, (n, self.b)), (1, 0)))
            gradient = _added(gradient, ops.reshape(part, (self.j, self.D, n)))
            updated.append(ops.sgd_step(w, gradient, LEARNING_RATE))
        return updated


def folded_by_hand(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
    """A train step of blocks u, blocks W and labels: the loss, then every W after it."""
    b, _, j, d, D, rounds = sizes(p)
    routing = _Routing(ops, b, j, d, D, rounds)

    def run(*operands: Array) -> tuple[Array, ...]:
        half = len(operands) // 2
        us, ws, labels = operands[:half], operands[half:-1], operands[-1]
        blocks = [_Block(u, w, ops.permute_dims(w, (0, 2, 1))) for u, w in zip(us, ws, strict=True)]
        v, tape = routing.forward(blocks)
        loss, gradient_v = _loss(ops, v, labels, b)
        return loss, *routing.backward(blocks, tape, gradient_v)

    return run
