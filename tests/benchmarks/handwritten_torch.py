"""The computations of `bench_handwritten` as a good PyTorch user writes them, with nothing of ours in between.

Layouts are PyTorch's: channels_last images, filters (co, ci, kh, kw), linear weights (out, in). Parameters of an eager
train step are leaves that require gradients; a compiled step takes them by torch.func, which is one graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

EXECUTIONS = ("eager", "compiled")
RATE = 0.1
EPSILON = 1e-7  # under the root of the squash
THETA, TINY = 2.0, 1e-4  # forward-forward: the threshold, and what is added to a length


class Twin(NamedTuple):
    """`fn(*args)` returns a flat tuple; `arrange` gives host copies of it the abstraction's order and layout."""

    fn: Callable[..., tuple[Any, ...]]
    args: Sequence[Any]
    arrange: Callable[[list[Any]], list[Any]] = list


def compile(fn, execution, args, flags):
    return torch.compile(fn, fullgraph=True, dynamic=False) if execution == "compiled" else fn


def wait(outputs):
    """Nothing: on the CPU an operator returns when it is done."""


def host(x):
    return x.detach().numpy()


def same(x, operand):
    """Whether `operand` can stand for `x`: equal, laid out alike, and recording no gradient."""
    if not all(isinstance(v, torch.Tensor) and v.layout == torch.strided for v in (x, operand)) or x.requires_grad:
        return False
    return x.dtype == operand.dtype and x.stride() == operand.stride() and torch.equal(x, operand)


def _put(*xs):
    return [torch.tensor(np.ascontiguousarray(x)) for x in xs]


# -- products ---------------------------------------------------------------------------------------------------------
def dense_matmul(x, params, execution):
    return Twin(lambda a, b: (a @ b,), _put(x["a"], x["b"]))


def unstructured_sparse(x, params, execution):
    pointers, indices, values, b = _put(x["a_indptr"], x["a_indices"], x["a"], x["b"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        a = torch.sparse_csr_tensor(pointers, indices, values, (params["m"], params["k"]), check_invariants=True)
    return Twin(lambda a, b: (a @ b,), [a, b])


def block_sparse(x, params, execution):
    m, k, n, side = (params[name] for name in ("m", "k", "n", "block"))
    rows = np.repeat(np.arange(m // side), np.diff(x["a_indptr"]))

    def run(blocks, rows, columns, b):
        products = torch.bmm(blocks, b.view(k // side, side, n)[columns])
        return (torch.zeros(m // side, side, n).index_add_(0, rows, products).view(m, n),)

    return Twin(run, _put(x["a"], rows, x["a_indices"].astype(np.int64), x["b"]))


# -- capsules ---------------------------------------------------------------------------------------------------------
def _squash(s):
    norm2 = (s * s).sum(1, keepdim=True)
    return s * (norm2 / ((1 + norm2) * torch.sqrt(norm2 + EPSILON)))


def capsule_routing(x, params, execution, blocks=8):
    """û never formed, in blocks of capsules below: each u (d, I', B), W (J, D, d·I')."""
    batch, j, d, D, rounds = (params[name] for name in ("batch", "out_capsules", "in_dim", "out_dim", "rounds"))
    blocks = min(blocks, params["in_capsules"])
    us = [u.transpose(2, 1, 0) for u in np.array_split(x["u"], blocks, axis=1)]
    ws = [w.transpose(1, 3, 2, 0).reshape(j, D, -1) for w in np.array_split(x["w"], blocks, axis=0)]

    def run(*operands):
        us, ws = operands[:blocks], operands[blocks:]
        s = sum(w.view(j * D, -1) @ u.view(-1, batch) for u, w in zip(us, ws, strict=True))
        v = total = _squash(s.view(j, D, batch) / j)
        for r in range(1, rounds):
            s = 0
            for u, w in zip(us, ws, strict=True):
                agreement = ((w.transpose(1, 2) @ total).view(j, d, -1, batch) * u).sum(1, keepdim=True)
                s = s + w @ (torch.softmax(agreement, 0) * u).view(j, -1, batch)
            v = _squash(s)
            if r + 1 < rounds:
                total = total + v
        return (v.permute(2, 0, 1),)

    return Twin(run, _put(*us, *ws))


def capsule_conv(x, params, execution):
    """As a convolution: a pose's row goes to the batch, its column to the channels."""
    n, height, ci, co, stride, padding = (
        params[name] for name in ("batch", "height", "in_capsules", "out_capsules", "stride", "padding")
    )
    k = params["kernel"]
    filters = x["w"].transpose(3, 5, 2, 4, 0, 1).reshape(co * 4, ci * 4, k, k)
    poses, w = _put(x["poses"], filters)

    def run(poses, w):
        images = poses.permute(0, 4, 1, 2, 3, 5).reshape(4 * n, height, height, ci * 4).permute(0, 3, 1, 2)
        v = F.conv2d(images, w, stride=stride, padding=padding).permute(0, 2, 3, 1)
        side = v.shape[1]
        v = v.reshape(n, 4, side, side, co, 4).permute(0, 2, 3, 4, 1, 5)
        return (v.reshape(n, side, side, co, 16),)

    return Twin(run, [poses, w.to(memory_format=torch.channels_last)])


# -- networks ---------------------------------------------------------------------------------------------------------
def _updated(w, g):
    """One pass over memory, as torch.optim.SGD's. Not under Inductor: in 2.13 it forgets alpha where g is a product."""
    return torch.add(w, g, alpha=-RATE)


def _sgd(loss, weights, execution):
    """A step of plain SGD on `loss(weights, x, target)`; the weights are the last arguments."""
    if execution == "compiled":

        def run(x, target, *weights):
            grads, value = torch.func.grad_and_value(loss)(weights, x, target)
            return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))  # see _updated

        return run, weights

    def run(x, target, *weights):
        value = loss(weights, x, target)
        grads = torch.autograd.grad(value, weights)
        with torch.no_grad():
            return value.detach(), *map(_updated, weights, grads)

    return run, [w.requires_grad_() for w in weights]


def dense_cnn(x, params, execution):
    maps = {"vgg8b": (0, 1, 0, 1, 1, 1), "conv2": (0, 1)}[params["network"]]  # 1: a max-pool behind the convolution
    convolutions = len(maps)
    side = params["side"] // 2 ** sum(maps)
    first = x[f"w{convolutions}"]
    linear = first.reshape(side, side, -1, first.shape[1]).transpose(3, 2, 0, 1)  # rows as flatten(1) of NCHW has them
    filters = _put(*(x[f"w{i}"].transpose(3, 2, 0, 1) for i in range(convolutions)))
    images, target, hidden, head = _put(
        x["x"].transpose(0, 3, 1, 2), x["target"], linear.reshape(first.shape[1], -1), x[f"w{convolutions + 1}"].T
    )
    last = torch.channels_last

    def loss(weights, h, target):
        for w, pool in zip(weights, maps, strict=False):
            h = F.relu(F.conv2d(h, w, padding=1))
            h = F.max_pool2d(h, 2) if pool else h
        h = F.relu(F.linear(h.flatten(1), weights[-2]))
        return F.cross_entropy(F.linear(h, weights[-1]), target)

    run, weights = _sgd(loss, [*(f.to(memory_format=last) for f in filters), hidden, head], execution)

    def arrange(outputs):
        value, *rest = outputs
        *conv, hidden, head = rest
        hidden = hidden.reshape(hidden.shape[0], -1, side, side).transpose(2, 3, 1, 0)
        return [value, *(w.transpose(2, 3, 1, 0) for w in conv), hidden.reshape(first.shape), head.T]

    return Twin(run, [images.to(memory_format=last), target, *weights], arrange)


def dense_mlp(x, params, execution):
    def loss(weights, h, target):
        for w in weights[:-1]:
            h = F.relu(F.linear(h, w))
        return F.cross_entropy(F.linear(h, weights[-1]), target)

    weights = _put(*(x[f"w{i}"].T for i in range(params["layers"] + 1)))
    run, weights = _sgd(loss, weights, execution)
    return Twin(run, [*_put(x["x"], x["target"]), *weights], lambda out: [out[0], *(w.T for w in out[1:])])


def local_update(x, params, execution):
    """Each layer's own classifier and loss; its activities go on detached."""
    count = sum(name.startswith("q") for name in x)

    def loss(parameters, h, target):
        h = F.relu(F.linear(h, parameters[0]))
        return F.cross_entropy(F.linear(h, parameters[1]), target), h

    def gradients(parameters, h, target):
        if execution == "compiled":
            grads, (value, h) = torch.func.grad_and_value(loss, has_aux=True)(parameters, h, target)
            return grads, value, h
        value, h = loss(parameters, h, target)
        return torch.autograd.grad(value, parameters), value.detach(), h.detach()

    def run(h, target, *parameters):
        losses, updated = [], [[], []]
        for pair in zip(parameters[:count], parameters[count:], strict=True):
            grads, value, h = gradients(pair, h, target)
            losses.append(value)
            with torch.no_grad():
                for out, p, g in zip(updated, pair, grads, strict=True):
                    out.append(p - RATE * g if execution == "compiled" else _updated(p, g))
        return *losses, *updated[0], *updated[1]

    parameters = _put(*(x[f"{name}{i}"].T for name in "wq" for i in range(count)))
    if execution != "compiled":
        parameters = [p.requires_grad_() for p in parameters]
    arranged = lambda out: [*out[:count], *(w.T for w in out[count : 2 * count]), *out[2 * count :]]  # noqa: E731
    return Twin(run, [*_put(x["x"], x["target"]), *parameters], arranged)


def forward_forward(x, params, execution):
    """The local gradient written out: ∂loss/∂y = −2·sign·sigmoid(sign·(θ − goodness))·y / samples."""
    both = np.concatenate([x["positive"], x["negative"]])
    sign = np.repeat([1.0, -1.0], len(x["positive"])).astype(both.dtype)
    count = params["layers"]

    def run(h, sign, *weights):
        losses, updated = [], []
        for i, w in enumerate(weights):
            y = F.relu(F.linear(h, w))
            goodness = (y * y).sum(1)
            short = sign * (THETA - goodness)
            losses.append(F.softplus(short).mean())
            factor = sign * torch.sigmoid(short) * (2 * RATE / len(sign))
            updated.append(torch.addmm(w, (y * factor.unsqueeze(1)).T, h))
            if i + 1 < count:
                h = y / (torch.sqrt(goodness).unsqueeze(1) + TINY)
        return *losses, *updated

    weights = _put(*(x[f"w{i}"].T for i in range(count)))
    return Twin(run, [*_put(both, sign), *weights], lambda out: [*out[:count], *(w.T for w in out[count:])])


TWINS: Mapping[str, Callable[..., Twin]] = {
    f.__name__: f
    for f in (
        dense_matmul,
        unstructured_sparse,
        block_sparse,
        capsule_routing,
        capsule_conv,
        dense_cnn,
        dense_mlp,
        local_update,
        forward_forward,
    )
}
