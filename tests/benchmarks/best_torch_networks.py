"""PyTorch's candidates of `bench_best`: networks trained by back-propagation and layer by layer."""

from __future__ import annotations

import numpy as np
import torch
from _candidates import MAPS, local_windows
from _torch_by_hand import BOTH, LAST, PRODUCTS, RATE, candidate, less_product, put
from torch.nn import functional as F  # noqa: N812

THETA, TINY = 2.0, 1e-4  # forward-forward: the threshold, and what is added to a length

# -- networks ---------------------------------------------------------------------------------------------------------


def _cnn_operands(x, params, last=True):
    side = params["side"] // 2 ** sum(MAPS)
    first = x["w6"]
    linear = first.reshape(side, side, -1, first.shape[1]).transpose(3, 2, 0, 1)
    filters = put(*(x[f"w{i}"].transpose(3, 2, 0, 1) for i in range(6)))
    images, target, hidden, head = put(
        x["x"].transpose(0, 3, 1, 2),
        x.get("target", np.zeros(1, np.float32)),
        linear.reshape(first.shape[1], -1),
        x["w7"].T,
    )
    if last:
        images, filters = images.to(memory_format=LAST), [f.to(memory_format=LAST) for f in filters]
    return images, target, [*filters, hidden, head]


def _cnn_named(x, params):
    side, shape = params["side"] // 2 ** sum(MAPS), x["w6"].shape

    def named(o):
        conv, hidden, head = o[1:7], o[7], o[8]
        out = {f"w{i}": w.transpose(2, 3, 1, 0) for i, w in enumerate(conv)}
        hidden = hidden.reshape(hidden.shape[0], -1, side, side).transpose(2, 3, 1, 0).reshape(shape)
        return {"loss": o[0], **out, "w6": hidden, "w7": head.T}

    return named


def _cnn(h, weights, pool_first=True):
    for w, pool in zip(weights, MAPS, strict=False):
        h = F.conv2d(h, w, padding=1)
        if pool_first:  # a maximum of relus is the relu of the maximum, a quarter of the values
            h = F.relu(F.max_pool2d(h, 2) if pool else h)
        else:
            h = F.max_pool2d(F.relu(h), 2) if pool else F.relu(h)
    return F.linear(F.relu(F.linear(h.flatten(1), weights[-2])), weights[-1])


def _cnn_forward(pool_first, last):
    def make(x, params):
        images, _, weights = _cnn_operands(x, params, last)
        return lambda h, *w: (_cnn(h, w, pool_first),), [images, *weights], lambda o: {"logits": o[0]}

    return make


for _name, _args in {"cnn": (False, True), "cnn_pool_first": (True, True), "cnn_nchw": (True, False)}.items():
    candidate.add("dense_cnn", "forward", _name, _cnn_forward(*_args), *BOTH)


@candidate("dense_cnn", "forward", "eager")
def cnn_packed(x, params):
    """Filters packed by oneDNN beforehand, relu in the convolution."""
    images, _, weights = _cnn_operands(x, params)
    run, ones, packed, shape = torch.ops.mkldnn._convolution_pointwise, [1, 1], [], list(images.shape)
    for w, pool in zip(weights, MAPS, strict=False):
        packed.append(torch.ops.mkldnn._reorder_convolution_weight(w, ones, ones, ones, 1, shape))
        shape = [shape[0], w.shape[0], *(s // (2 if pool else 1) for s in shape[2:])]

    def forward(h):
        for w, pool in zip(packed, MAPS, strict=True):
            h = run(h, w, None, ones, ones, ones, 1, "relu", [], "")
            h = F.max_pool2d(h, 2) if pool else h
        return (F.linear(F.relu(F.linear(h.flatten(1), weights[-2])), weights[-1]),)

    return forward, [images], lambda o: {"logits": o[0]}


def _cnn_step(pool_first, last, compiled):
    def make(x, params):
        images, target, weights = _cnn_operands(x, params, last)

        def loss(weights, h, target):
            return F.cross_entropy(_cnn(h, weights, pool_first), target)

        def traced(h, target, *weights):
            grads, value = torch.func.grad_and_value(loss)(weights, h, target)
            return value, *(w - RATE * g for w, g in zip(weights, grads, strict=True))

        def eager(h, target, *weights):
            value = loss(weights, h, target)
            grads = torch.autograd.grad(value, weights)
            with torch.no_grad():
                return value.detach(), *torch._foreach_sub(weights, grads, alpha=RATE)

        if not compiled:
            weights = [w.requires_grad_() for w in weights]
        return traced if compiled else eager, [images, target, *weights], _cnn_named(x, params)

    return make


for _name, _pool_first, _last in (
    ("cnn_step", False, True),
    ("cnn_step_pool_first", True, True),
    ("cnn_step_nchw_pool_first", True, False),
):
    for _compiled in (False, True):
        _full = f"{_name}_{'traced' if _compiled else 'tape'}"
        candidate.add(
            "dense_cnn",
            "train_step",
            _full,
            _cnn_step(_pool_first, _last, _compiled),
            *(("compiled",) if _compiled else ("eager",)),
        )


def _mlp_put(x, names):
    return put(*(x[name].T for name in names))


def _count(x, prefix):
    return sum(name.startswith(prefix) and name[1:].isdigit() for name in x)


def _mlp(product, rows):
    """Backward written out; an update is one product that adds to the weights. Weights (out, in), or (in, out)."""

    def make(x, params):
        names = [f"w{i}" for i in range(_count(x, "w"))]

        def run(h, target, *weights):
            read = [h]
            for w in weights[:-1]:
                read.append(torch.relu_(product(read[-1], w if rows else w.T)))
            log_p = torch.log_softmax(product(read[-1], weights[-1] if rows else weights[-1].T), 1)
            loss = (target * log_p).sum() * (-1.0 / len(h))
            d = (log_p.exp_() - target).mul_(1.0 / len(h))
            updated = []
            for i in reversed(range(len(weights))):
                w = weights[i]
                updated.append(less_product(w, *((read[i].T, d) if rows else (d.T, read[i])), RATE, product))
                if i:
                    d = torch.ops.aten.threshold_backward(product(d, w.T if rows else w), read[i], 0)
            return loss, *reversed(updated)

        weights = put(*(x[name] if rows else x[name].T for name in names))
        named = lambda o: {"loss": o[0], **{n: w if rows else w.T for n, w in zip(names, o[1:], strict=True)}}  # noqa: E731
        return run, [*put(x["x"], x["target"]), *weights], named

    return make


def _local_mlp(product):
    """Layer by layer, each backward written out. Weights (out, in)."""

    def make(x, params):
        if params["network"] != "mlp":
            raise NotImplementedError("the MLP only")
        count = _count(x, "q")
        names = [f"{p}{i}" for p in "wq" for i in range(count)]

        def run(h, target, *parameters):
            losses, updated_w, updated_q = [], [], []
            for w, q in zip(parameters[:count], parameters[count:], strict=True):
                y = torch.relu_(product(h, w.T))
                log_p = torch.log_softmax(product(y, q.T), 1)
                losses.append((target * log_p).sum() * (-1.0 / len(h)))
                d = (log_p.exp_() - target).mul_(1.0 / len(h))
                updated_q.append(less_product(q, d.T, y, RATE, product))
                d = torch.ops.aten.threshold_backward(product(d, q), y, 0)
                updated_w.append(less_product(w, d.T, h, RATE, product))
                h = y
            return *losses, *updated_w, *updated_q

        def named(o):
            losses = {f"loss{i}": v for i, v in enumerate(o[:count])}
            return losses | {name: w.T for name, w in zip(names, o[count:], strict=True)}

        return run, [*put(x["x"], x["target"]), *_mlp_put(x, names)], named

    return make


def _forward_forward(product, rows):
    """Gradients written out. Weights (in, out), or (out, in)."""

    def make(x, params):
        count = params["layers"]
        both = np.concatenate([x["positive"], x["negative"]])
        sign = np.repeat([1.0, -1.0], len(x["positive"])).astype(both.dtype)

        def run(h, sign, *weights):
            losses, updated = [], []
            for w in weights:
                y = torch.relu_(product(h, w if rows else w.T))
                goodness = (y * y).sum(1)
                short = sign * (THETA - goodness)
                losses.append(F.softplus(short).mean())
                factor = sign * torch.sigmoid(short) * (2 * RATE / len(sign))
                d = y * factor.unsqueeze(1)
                updated.append(less_product(w, *((h.T, d) if rows else (d.T, h)), -1, product))
                h = y / (goodness.sqrt_().unsqueeze(1) + TINY)
            return *losses, *updated

        def named(o):
            losses = {f"loss{i}": v for i, v in enumerate(o[:count])}
            return losses | {f"w{i}": w if rows else w.T for i, w in enumerate(o[count:])}

        weights = put(*(x[f"w{i}"] if rows else x[f"w{i}"].T for i in range(count)))
        return run, [*put(both, sign), *weights], named

    return make


for _ending, _by in PRODUCTS.items():
    candidate.add("dense_mlp", "train_step", f"mlp_addmm{_ending}", _mlp(_by, False), *BOTH)
    candidate.add("dense_mlp", "train_step", f"mlp_addmm_rows{_ending}", _mlp(_by, True), *BOTH)
    candidate.add("local_update", "train_step", f"local_addmm{_ending}", _local_mlp(_by), *BOTH)
    for _rows in (False, True):
        candidate.add(
            "forward_forward",
            "train_step",
            f"forward_forward{'_rows' * _rows}{_ending}",
            _forward_forward(_by, _rows),
            *BOTH,
        )


def _local_cnn(way):
    """Layer by layer, channels last; a classifier reads the average-pooled map in the order in which it lies."""

    def make(x, params):
        if params["network"] == "mlp":
            raise NotImplementedError("the CNN only")
        count = _count(x, "q")
        filters = [f.to(memory_format=LAST) for f in put(*(x[f"w{i}"].transpose(3, 2, 0, 1) for i in range(6)))]
        images = put(x["x"].transpose(0, 3, 1, 2))[0].to(memory_format=LAST)
        windows = local_windows(x, params)
        weights = [*filters, *put(x["w6"])]
        classifiers = put(*(x[f"q{i}"] for i in range(count)))

        def layer(w, q, h, target, i):
            """(loss, y)"""
            if i == len(MAPS):
                y = F.relu(h @ w)
                return F.cross_entropy(y @ q, target), y
            y = F.relu(F.conv2d(h, w, padding=1))
            seen = F.avg_pool2d(y, windows[i]) if windows[i] != (1, 1) else y
            return F.cross_entropy(seen.permute(0, 2, 3, 1).flatten(1) @ q, target), y

        def read(y, i):
            if i == len(MAPS):
                return y
            y = F.max_pool2d(y, 2) if MAPS[i] else y
            return y.permute(0, 2, 3, 1).flatten(1) if i + 1 == len(MAPS) else y

        def tape(h, target, *parameters):
            losses, new_w, new_q = [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                loss, y = layer(w, q, h, target, i)
                grads = torch.autograd.grad(loss, (w, q))
                with torch.no_grad():
                    updated = torch._foreach_sub((w, q), grads, alpha=RATE)
                    h = read(y.detach(), i)
                losses.append(loss.detach())
                new_w.append(updated[0])
                new_q.append(updated[1])
            return *losses, *new_w, *new_q

        def traced(h, target, *parameters):
            losses, new_w, new_q = [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                step = torch.func.grad_and_value(layer, argnums=(0, 1), has_aux=True)
                (d_w, d_q), (loss, y) = step(w, q, h, target, i)
                h = read(y, i)
                losses.append(loss)
                new_w.append(w - RATE * d_w)
                new_q.append(q - RATE * d_q)
            return *losses, *new_w, *new_q

        def written(h, target, *parameters):
            n, losses, new_w, new_q = len(target), [], [], []
            for i, (w, q) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
                conv = i < len(MAPS)
                y = torch.relu_(F.conv2d(h, w, padding=1) if conv else torch.mm(h, w))
                pooled = conv and windows[i] != (1, 1)
                seen = F.avg_pool2d(y, windows[i]) if pooled else y
                flat = seen.permute(0, 2, 3, 1).reshape(n, -1) if conv else seen
                log_p = torch.log_softmax(torch.mm(flat, q), 1)
                losses.append((target * log_p).sum() * (-1.0 / n))
                d = log_p.exp_().sub_(target).div_(n)
                new_q.append(torch.addmm(q, flat.T, d, alpha=-RATE))
                d = torch.mm(d, q.T)
                if conv:
                    d = d.view(n, seen.shape[2], seen.shape[3], -1).permute(0, 3, 1, 2)
                if pooled:
                    rows, columns = windows[i]
                    d = torch.ops.aten.avg_pool2d_backward(d, y, [rows, columns], [], [0, 0], False, True, None)
                d = torch.ops.aten.threshold_backward(d, y, 0)
                if conv:
                    mask = [False, True, False]
                    d_w = torch.ops.aten.convolution_backward(
                        d, h, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
                    )[1]
                    new_w.append(torch.sub(w, d_w, alpha=RATE))
                else:
                    new_w.append(torch.addmm(w, h.T, d, alpha=-RATE))
                h = read(y, i)
            return *losses, *new_w, *new_q

        if way == "tape":
            weights = [w.requires_grad_() for w in weights]
            classifiers = [q.requires_grad_() for q in classifiers]

        def named(o):
            out = {f"loss{i}": v for i, v in enumerate(o[:count])}
            out |= {f"w{i}": w.transpose(2, 3, 1, 0) for i, w in enumerate(o[count : count + len(MAPS)])}
            out |= {"w6": o[count + len(MAPS)]}
            return out | {f"q{i}": q for i, q in enumerate(o[2 * count :])}

        target = put(x["target"])
        return (
            {"tape": tape, "traced": traced, "written": written}[way],
            [images, *target, *weights, *classifiers],
            named,
        )

    return make


for _way, _executions in {"tape": ("eager",), "traced": ("compiled",), "written": BOTH}.items():
    candidate.add("local_update", "train_step", f"local_cnn_{_way}", _local_cnn(_way), *_executions)
