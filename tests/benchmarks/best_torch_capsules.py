"""PyTorch's candidates of `bench_best`: capsule routing and convolutions."""

from __future__ import annotations

import numpy as np
import torch
from _torch_by_hand import BOTH, LAST, RATE, candidate, first, put
from torch.nn import functional as F  # noqa: N812

EPSILON = 1e-7
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s):
    norm2 = (s * s).sum(1, keepdim=True)
    return s * (norm2 / ((1 + norm2) * torch.sqrt(norm2 + EPSILON)))


def _squash_backward(s, g):
    norm2 = (s * s).sum(1, keepdim=True)
    root, one = torch.sqrt(norm2 + EPSILON), norm2 + 1
    slope = 2 / (one * one * root) - norm2 / (one * root * root * root)
    return g * (norm2 / (one * root)) + s * (slope * (g * s).sum(1, keepdim=True))


def _routing_blocks(x, params, blocks):
    """u as (d, I', B) and W as (J, D, d·I') of every block, and labels (J, 1, B)."""
    j, D = params["out_capsules"], params["out_dim"]
    us = [u.transpose(2, 1, 0) for u in np.array_split(x["u"], blocks, axis=1)]
    ws = [w.transpose(1, 3, 2, 0).reshape(j, D, -1) for w in np.array_split(x["w"], blocks, axis=0)]
    return put(x["labels"].T[:, None, :]), put(*us), put(*ws)


def _routing_named(params):
    j, D, d = (params[name] for name in ("out_capsules", "out_dim", "in_dim"))

    def named(o):
        return {"loss": o[0], "w": np.concatenate([w.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for w in o[1:]])}

    return named


def _routing_step(blocks, compiled):
    """The framework's own differentiation of the folded form."""

    def make(x, params):
        batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
        labels, us, ws = _routing_blocks(x, params, blocks)

        def loss(ws, us, labels):
            s = sum(w.reshape(j * D, -1) @ u.reshape(-1, batch) for u, w in zip(us, ws, strict=True))
            v = total = _squash(s.view(j, D, batch) / j)
            for _ in range(1, rounds):
                s = 0
                for u, w in zip(us, ws, strict=True):
                    agreement = ((w.transpose(1, 2) @ total).view(j, d, -1, batch) * u).sum(1, keepdim=True)
                    s = s + w @ (torch.softmax(agreement, 0) * u).view(j, -1, batch)
                v = _squash(s)
                total = total + v
            length = torch.sqrt((v * v).sum(1, keepdim=True) + EPSILON)
            short, long = F.relu(PRESENT - length), F.relu(length - ABSENT)
            return (labels * short * short + DOWN * (1 - labels) * long * long).sum() / batch

        def traced(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            grads, value = torch.func.grad_and_value(loss)(ws, us, labels)
            return value, *(w - RATE * g for w, g in zip(ws, grads, strict=True))

        def eager(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            value = loss(ws, us, labels)
            grads = torch.autograd.grad(value, ws)
            with torch.no_grad():
                return value.detach(), *torch._foreach_sub(ws, grads, alpha=RATE)

        if not compiled:
            ws = [w.requires_grad_() for w in ws]
        return traced if compiled else eager, [*labels, *us, *ws], _routing_named(params)

    return make


def _routing_step_written(blocks):
    """Backward written out, in place where it can be; the update is in the last product of each block."""

    def make(x, params):
        batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
        labels, us, ws = _routing_blocks(x, params, blocks)

        def run(labels, *operands):
            us, ws = operands[:blocks], operands[blocks:]
            backs = [w.transpose(1, 2) for w in ws]
            s = torch.mm(ws[0].view(j * D, -1), us[0].view(-1, batch))
            for u, w in zip(us[1:], ws[1:], strict=True):
                s.addmm_(w.view(j * D, -1), u.view(-1, batch))
            sums = [s.div_(j).view(j, D, batch)]
            v = _squash(sums[0])
            totals, couplings = [], []
            for _ in range(1, rounds):
                totals.append(totals[-1] + v if totals else v)
                couplings.append([])
                s = torch.zeros(j, D, batch)
                for u, w, back in zip(us, ws, backs, strict=True):
                    pulled = torch.bmm(back, totals[-1]).view(j, d, -1, batch)
                    c = torch.softmax(pulled.mul_(u).sum(1, keepdim=True), 0)
                    couplings[-1].append(c)
                    s.baddbmm_(w, (c * u).view(j, -1, batch))
                sums.append(s)
                v = _squash(s)
            length = torch.sqrt((v * v).sum(1, keepdim=True) + EPSILON)
            short, long = F.relu(PRESENT - length), F.relu(length - ABSENT)
            absent = DOWN * (1 - labels)
            loss = (labels * short * short + absent * long * long).sum() / batch
            d_v = v * ((absent * long - labels * short) * (2 / batch) / length)
            updated, reached = list(ws), torch.zeros(j, D, batch)
            for r in reversed(range(1, rounds)):
                d_s, total = _squash_backward(sums[r], d_v), totals[r - 1]
                for k, (u, w, back) in enumerate(zip(us, ws, backs, strict=True)):
                    c = couplings[r - 1][k]
                    pulled = torch.bmm(back, d_s).view(j, d, -1, batch)
                    logits = pulled.mul_(u).sum(1, keepdim=True).mul_(c)
                    logits.sub_(c * logits.sum(0, keepdim=True))
                    fold = (logits * u).view(j, -1, batch)
                    reached.baddbmm_(w, fold)
                    updated[k] = torch.baddbmm(updated[k], total, fold.transpose(1, 2), alpha=-RATE)
                    fold = (c * u).view(j, -1, batch)
                    updated[k].baddbmm_(d_s, fold.transpose(1, 2), alpha=-RATE)
                d_v = reached
            d_s = _squash_backward(sums[0], d_v).view(j * D, batch)
            for u, w in zip(us, updated, strict=True):
                w.view(j * D, -1).addmm_(d_s, u.view(-1, batch).T, alpha=-RATE / j)
            return loss, *updated

        return run, [*labels, *us, *ws], _routing_named(params)

    return make


for _blocks in (1, 8):
    for _compiled in (False, True):
        _full = f"routing_step_{_blocks}_{'traced' if _compiled else 'tape'}"
        candidate.add(
            "capsule_routing",
            "train_step",
            _full,
            _routing_step(_blocks, _compiled),
            *(("compiled",) if _compiled else ("eager",)),
        )
for _blocks in (1, 4, 8, 16):
    candidate.add(
        "capsule_routing", "train_step", f"routing_step_{_blocks}_written", _routing_step_written(_blocks), "eager"
    )


# -- convolutions -----------------------------------------------------------------------------------------------------
def _convolution(x, w, params, packed, named):
    images, filters = put(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1))
    images, filters = images.to(memory_format=LAST), filters.to(memory_format=LAST)
    stride, padding = params["stride"], params["padding"]
    if not packed:
        return lambda x, w: (F.conv2d(x, w, None, stride, padding),), [images, filters], named
    s, p = [stride, stride], [padding, padding]
    w = torch.ops.mkldnn._reorder_convolution_weight(filters, p, s, [1, 1], 1, list(images.shape))
    run = torch.ops.mkldnn._convolution_pointwise
    return lambda x: (run(x, w, None, p, s, [1, 1], 1, "none", [], ""),), [images], named


def _maps(o):
    return {"y": o[0].transpose(0, 2, 3, 1)}


def _poses(o):
    n, c, side, _ = o[0].shape
    return {"v": o[0].transpose(0, 2, 3, 1).reshape(n // 4, 4, side, side, c // 4, 4).transpose(0, 2, 3, 4, 1, 5)}


def _folded(x):
    n, height, _, c, _, _ = x["poses"].shape
    k, _, ci, co, _, _ = x["w"].shape
    images = x["poses"].transpose(0, 4, 1, 2, 3, 5).reshape(4 * n, height, height, c * 4)
    return images, x["w"].transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * 4, co * 4)


@candidate("dense_conv", "forward", *BOTH)
def convolution(x, params):
    return _convolution(x["x"], x["w"], params, False, _maps)


@candidate("dense_conv", "forward", "eager")
def convolution_packed(x, params):
    """oneDNN's, its filters in the layout that it likes best beforehand."""
    return _convolution(x["x"], x["w"], params, True, _maps)


@candidate("dense_conv", "forward", "eager")
def convolution_strided_rows(x, params):
    """k·ci neighbouring values of a row are contiguous: k products of strided views, added up in place."""
    n, side, _, ci = x["x"].shape
    k, stride = params["kernel"], params["stride"]
    if params["padding"]:
        raise NotImplementedError("no padding")
    oh, co = (side - k) // stride + 1, params["out_channels"]
    images, w = put(x["x"], x["w"].reshape(k, k * ci, co))

    def run(images, w):
        y = torch.empty(n * oh * oh, co)
        for row in range(k):
            view = images.as_strided(
                (n, oh, oh, k * ci), (side * side * ci, stride * side * ci, stride * ci, 1), row * side * ci
            ).reshape(n * oh * oh, k * ci)
            torch.addmm(y, view, w[row], beta=0 if row == 0 else 1, out=y)
        return (y.view(n, oh, oh, co),)

    return run, [images, w], first


@candidate("capsule_conv", "forward", *BOTH)
def folded(x, params):
    return _convolution(*_folded(x), params, False, _poses)


@candidate("capsule_conv", "forward", "eager")
def folded_packed(x, params):
    return _convolution(*_folded(x), params, True, _poses)
