"""PyTorch's candidates of `bench_best`: sparse training by Top-KAST."""

from __future__ import annotations

import numpy as np
import torch
from _candidates import kast_layers, kast_named
from _torch_by_hand import PRODUCTS, RATE, candidate, executions, put
from best_torch_steps import BY_RANK, gradients
from torch.nn import functional as F  # noqa: N812


def _all(product, nth):
    """Weights (out, in) with masks, by dense products; then the sets anew by `nth(values, count)`."""

    def make(x, params):
        count, layers = params["layers"], kast_layers(x, params)
        if (params["phase"] == "update") != (nth is not None):
            raise NotImplementedError("the other phase only")

        def run(h, target, last, *rest):
            weights, read, learnt = (rest[i * count : (i + 1) * count] for i in range(3))
            loss, found = gradients(h, target, [*(w * m for w, m in zip(weights, read, strict=True)), last], product)
            several = zip(weights, learnt, found, strict=False)
            new = [torch.addcmul(w, product(d.T, h), mask, value=-RATE) for w, mask, (d, h) in several]
            d, h = found[-1]
            out = [loss, *new, torch.addmm(last, h.T, d, alpha=-RATE)]
            if nth is None:
                return tuple(out)
            for w, layer in zip(new, layers, strict=True):
                size = w.abs()
                few, many = (nth(size.view(-1), len(which)) for which in (layer.seen, layer.rows))
                out.append((size >= few).int().add_(size >= many))
            return tuple(out)

        turned = [[v.T for v in vs] for vs in zip(*(layer[:3] for layer in layers), strict=True)]
        host = (x["x"], x["target"], x[f"w{count}"], *(v for vs in turned for v in vs))

        def named(o):
            sets = [v.T for v in o[count + 2 :]]
            return kast_named([o[0], *(v.T for v in o[1 : count + 1]), o[count + 1], *sets], params)

        return run, put(*host), named

    return make


def _bag(h, values, indices, starts):
    return F.embedding_bag(indices, h, starts, mode="sum", per_sample_weights=values, include_last_offset=True)


@candidate("sparse_training", "train_step", "eager")
def learnt_bags(x, params):
    """Bags over what is read; the gradient of all weights by a dense product, of which what learns is taken."""
    if params["phase"] == "update":
        raise NotImplementedError("the step only")
    count, layers = params["layers"], kast_layers(x, params)
    rest = []
    for layer in layers:
        fan_in, fan_out = layer.weights.shape
        rows, columns = layer.rows[layer.seen], layer.columns[layer.seen]
        order = np.lexsort((rows, columns))
        ends = [np.searchsorted(rows, np.arange(fan_out + 1)), np.searchsorted(columns[order], np.arange(fan_in + 1))]
        flat = layer.rows.astype(np.int64) * fan_in + layer.columns
        rest += [columns, ends[0], rows[order], ends[1], layer.seen, layer.seen[order], flat]

    def run(h, target, last, *rest):
        values, places = rest[:count], [rest[count + 7 * i : count + 7 * (i + 1)] for i in range(count)]
        read = [h]
        for v, (columns, starts, _, _, seen, *_) in zip(values, places, strict=True):
            read.append(torch.relu_(_bag(read[-1], v.index_select(0, seen), columns, starts)))
        log_p = torch.log_softmax(read[-1].T @ last, 1)
        d = (log_p.exp() - target).mul_(1.0 / len(target))
        dz = torch.ops.aten.threshold_backward(last @ d.T, read[-1], 0)
        new = []
        for i in reversed(range(count)):
            _, _, rows, starts, _, turned, flat = places[i]
            new.insert(0, values[i] - RATE * (dz @ read[i].T).view(-1).index_select(0, flat))
            if i:
                back = _bag(dz, values[i].index_select(0, turned), rows, starts)
                dz = torch.ops.aten.threshold_backward(back, read[i], 0)
        return (target * log_p).sum() * (-1.0 / len(target)), *new, torch.addmm(last, read[-1], d, alpha=-RATE)

    def named(o):
        all_weights = [layer.weights.copy() for layer in layers]
        for w, layer, values in zip(all_weights, layers, o[1:], strict=False):
            w[layer.columns, layer.rows] = values
        return kast_named([o[0], *all_weights, o[-1]], params)

    values = [layer.weights[layer.columns, layer.rows] for layer in layers]
    whole = [v.astype(np.int64) for v in rest]
    return run, put(x["x"].T, x["target"], x[f"w{count}"], *values, *whole), named


for _ending, _by in PRODUCTS.items():
    candidate.add("sparse_training", "train_step", f"learnt{_ending}", _all(_by, None), *executions(_by))
    for _nth in BY_RANK:
        candidate.add("sparse_training", "train_step", f"chosen{_nth.__name__}{_ending}", _all(_by, _nth), "eager")
