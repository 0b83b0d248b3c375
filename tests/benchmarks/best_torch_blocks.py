"""PyTorch's candidates of `bench_best`: sparse training over whole blocks. Activities are (units, images)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from _candidates import SIDE, Blocks, block_layers, moved_blocks, sparse_layers, stored_blocks, updated_layers
from _torch_by_hand import RATE, candidate, put


class _Layer(NamedTuple):
    """The values; y and what the gradient reads from values and h; what goes back; the values after a step."""

    values: Any
    forward: Callable[..., Any]
    back: Callable[..., Any]
    stepped: Callable[..., Any]
    blocks: Callable[..., Any]  # of values on the host


def _tiles(x):
    return x.view(-1, SIDE, x.shape[1])


def _summed(made, at, count):
    """Tiles (t, 16, n) added up where they belong."""
    return torch.zeros(count, *made.shape[1:]).index_add_(0, at, made).view(count * SIDE, -1)


def _gathered(b: Blocks) -> _Layer:
    """A batched product of each block with its 16 rows."""
    values, rows, columns = put(b.values, b.rows.astype(np.int64), b.columns.astype(np.int64))

    def forward(v, h):
        right = _tiles(h).index_select(0, columns)
        return _summed(torch.bmm(v, right), rows, b.shape[0]), right

    def back(v, dz):
        return _summed(torch.bmm(v.mT, _tiles(dz).index_select(0, rows)), columns, b.shape[1])

    def stepped(v, dz, right):
        return torch.baddbmm(v, _tiles(dz).index_select(0, rows), right.mT, alpha=-RATE)

    return _Layer(values, forward, back, stepped, lambda v: v)


def _rows(b: Blocks) -> _Layer:
    """A product of each block row with the rows that it meets, padded to the longest; none is summed but backward."""
    wide, columns, filled = b.padded()
    values, columns, mask = put(wide, columns.ravel().astype(np.int64), np.repeat(filled, SIDE, 1)[:, None, :])
    mask = mask.to(torch.float32)

    def forward(v, h):
        right = _tiles(h).index_select(0, columns).view(len(v), v.shape[2], -1)
        return torch.bmm(v, right).view(len(v) * SIDE, -1), right

    def back(v, dz):
        made = torch.bmm(v.mT, _tiles(dz))
        return _summed(made.view(-1, SIDE, dz.shape[1]), columns, b.shape[1])

    def stepped(v, dz, right):
        return torch.baddbmm(v, _tiles(dz), right.mT, alpha=-RATE).mul_(mask)

    return _Layer(values, forward, back, stepped, b.of_padded)


def _scalars(b: Blocks, back: bool) -> tuple[Any, ...]:
    """Columns, row offsets and where each value stands among the blocks, of A or of its transpose."""
    rows, columns = (b.columns, b.rows) if back else (b.rows, b.columns)
    within = np.arange(SIDE)
    down = within[:, None] + np.zeros((SIDE, SIDE), int)
    inner, outer = (down, down.T) if back else (down.T, down)
    r, c = ((at[:, None, None] * SIDE + v).ravel() for at, v in ((rows, outer), (columns, inner)))
    order = np.lexsort((c, r))
    indptr = np.searchsorted(r[order], np.arange(b.shape[1 if back else 0] * SIDE + 1))
    return put(c[order].astype(np.int32), indptr.astype(np.int32), order)


def _bags(b: Blocks) -> _Layer:
    """Embedding bags of single weights forward and back; batched products for the gradient of the blocks."""
    gathered, there, back = _gathered(b), _scalars(b, False), _scalars(b, True)
    columns = put(b.columns.astype(np.int64))[0]

    def bag(v, h, at):
        return torch.embedding_bag(h, at[0], at[1], False, 0, False, v.view(-1).index_select(0, at[2]), True)[0]

    return gathered._replace(
        forward=lambda v, h: (bag(v, h, there), _tiles(h).index_select(0, columns)),
        back=lambda v, dz: bag(v, dz, back),
    )


def _bags_and_rows(b: Blocks) -> _Layer:
    """The same, the gradient by block rows."""
    rows, count = _rows(b), len(b.values)
    number = np.zeros(b.padded()[2].shape, np.int64)
    number[b.padded()[2]] = np.arange(count)
    filled = b.padded()[2]
    # where a block stands among the padded ones, value by value
    at = np.flatnonzero(filled.ravel())
    row, slot = at // filled.shape[1], at % filled.shape[1]
    within = np.arange(SIDE)
    wide = filled.shape[1] * SIDE
    flat = ((row[:, None, None] * SIDE + within[:, None]) * wide + slot[:, None, None] * SIDE + within).ravel()
    there, back = ((*v[:2], put(flat[v[2].numpy()])[0]) for v in (_scalars(b, False), _scalars(b, True)))
    columns = put(b.padded()[1].ravel().astype(np.int64))[0]

    def bag(v, h, at):
        return torch.embedding_bag(h, at[0], at[1], False, 0, False, v.view(-1).index_select(0, at[2]), True)[0]

    def forward(v, h):
        return bag(v, h, there), _tiles(h).index_select(0, columns).view(len(v), wide, -1)

    return rows._replace(forward=forward, back=lambda v, dz: bag(v, dz, back))


def _pass(layers, h, target, weights):
    """The loss, what each gradient reads, what each layer gave, and the error behind each."""
    *sparse, last = weights
    given, read = [h], []
    for layer, v in zip(layers, sparse, strict=True):
        y, right = layer.forward(v, given[-1])
        given.append(y.relu_())
        read.append(right)
    log_p = torch.log_softmax(torch.mm(last.T, given[-1]), 0)
    loss = (target * log_p).sum() * (-1.0 / h.shape[1])
    error = log_p.exp_().sub_(target).mul_(1.0 / h.shape[1])
    back, errors = torch.mm(last, error), []
    for i in reversed(range(len(layers))):
        errors.insert(0, torch.ops.aten.threshold_backward(back, given[i + 1], 0))
        if i:
            back = layers[i].back(sparse[i], errors[0])
    return loss, read, given, errors, error


def _step(form):
    def make(x, params):
        found = block_layers(x, params, "step")
        layers = [form(b) for b in found]

        def run(h, target, *weights):
            loss, read, given, errors, error = _pass(layers, h, target, weights)
            new = [la.stepped(v, dz, r) for la, v, dz, r in zip(layers, weights, errors, read, strict=False)]
            return loss, *new, torch.addmm(weights[-1], given[-1], error.T, alpha=-RATE)

        def named(o):
            blocks = [layer.blocks(v) for layer, v in zip(layers, o[1:-1], strict=True)]
            return stored_blocks([o[0], *blocks, o[-1]], found, x, params)

        args = [*put(x["x"].T, x["target"].T), *(layer.values for layer in layers), *put(x[f"w{params['layers']}"])]
        return run, args, named

    return make


def _sizes(matrix):
    """The squared norm of each block of a matrix: rows first, which are contiguous."""
    rows, columns = matrix.shape
    return torch.square(matrix).view(-1, SIDE, columns).sum(1).view(rows // SIDE, -1, SIDE).sum(2)


def _exchanged(values, places, gradient):
    """Blocks and places after the smallest gave their storage to where the gradient is largest."""
    dropped = max(1, round(0.3 * len(values)))
    gone = torch.topk(values.square().sum((1, 2)), dropped, largest=False, sorted=False).indices
    kept = torch.ones(len(values), dtype=torch.bool).index_fill_(0, gone, False)
    wanted = _sizes(gradient).view(-1)
    wanted.index_fill_(0, places[kept], 0.0)
    grown = torch.topk(wanted, dropped, sorted=False).indices
    return values.index_fill(0, gone, 0.0), places.index_copy(0, gone, grown)


def _moved(form):
    def make(x, params):
        found = block_layers(x, params, "update")
        layers = [form(b) for b in found]
        places = put(*(b.rows.astype(np.int64) * b.shape[1] + b.columns for b in found))

        def run(h, target, *weights):
            _, _, given, errors, _ = _pass(layers, h, target, weights)
            moved = [
                _exchanged(v, at, torch.mm(dz, h.T))
                for v, at, dz, h in zip(weights, places, errors, given, strict=False)
            ]
            return *(v for v, _ in moved), *(at for _, at in moved)

        args = [*put(x["x"].T, x["target"].T), *(layer.values for layer in layers), *put(x[f"w{params['layers']}"])]
        return run, args, lambda o: moved_blocks(o, found)

    return make


@candidate("sparse_training", "train_step", "eager")
def blocks_moved_dense(x, params):
    """Layers (out, in) with their zeros, dense products, the masks by block."""
    found = block_layers(x, params, "update")
    count, kept_of = len(found), [len(b.values) for b in found]
    masks = [m[::SIDE, ::SIDE] > 0 for _, m in sparse_layers(x, params)]

    def run(h, target, last, *rest):
        weights, masks = rest[:count], rest[count:]
        given = [h]
        for w in weights:
            given.append(torch.mm(w, given[-1]).relu_())
        log_p = torch.log_softmax(torch.mm(last.T, given[-1]), 0)
        back, new, chosen = torch.mm(last, log_p.exp_().sub_(target).mul_(1.0 / h.shape[1])), [], []
        for i in reversed(range(count)):
            dz = torch.ops.aten.threshold_backward(back, given[i + 1], 0)
            if i:
                back = torch.mm(weights[i].T, dz)
            dropped = max(1, round(0.3 * kept_of[i]))
            size = _sizes(weights[i])
            keep = size >= torch.topk(size.view(-1), kept_of[i] - dropped, sorted=False).values.amin()
            keep.logical_and_(masks[i])
            wanted = _sizes(torch.mm(dz, given[i].T)).masked_fill_(keep, 0.0)
            grown = wanted >= torch.topk(wanted.view(-1), dropped, sorted=False).values.amin()
            tiles = weights[i].view(len(keep), SIDE, -1, SIDE)
            new.insert(0, (tiles * keep[:, None, :, None]).view_as(weights[i]))
            chosen.insert(0, grown.logical_or_(keep))
        return *new, *chosen

    args = put(x["x"].T, x["target"].T, x[f"w{count}"], *(w for w, _ in sparse_layers(x, params)), *masks)
    return run, args, lambda o: updated_layers([v.T for v in o], count)


for _form in (_gathered, _rows, _bags, _bags_and_rows):
    candidate.add("sparse_training", "train_step", f"blocks{_form.__name__}", _step(_form), "eager")
# of stored blocks alone: bags and rows of equal length would have to be built anew for the next step
candidate.add("sparse_training", "train_step", "blocks_moved_gathered", _moved(_gathered), "eager")
