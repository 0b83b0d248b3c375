"""PyTorch's candidates of `bench_best`: examples that leave or part ways, sparse training, steps in time."""

from __future__ import annotations

import numpy as np
import torch
from _candidates import sparse_layers, stored_values, updated_layers, where_they_leave
from _torch_by_hand import PRODUCTS, RATE, by_packed, candidate, executions, first, packed, put, relu_of
from torch.nn import functional as F  # noqa: N812


# -- examples of unequal work -----------------------------------------------------------------------------------------
def _margin(found):
    greatest = torch.topk(found, 2, 1).values
    return greatest[:, 0] - greatest[:, 1]


def _exit_operands(x, params, plan=None):
    """Every layer, then every head; packed for as many rows as `plan` says, where it says."""
    names = [(f"{what}{i}", i) for what in "wq" for i in range(params["layers"])]
    return [put(x[name])[0] if plan is None else packed(x[name], plan[i]) for name, i in names]


def _left(o):
    return {"logits": o[0], "left_at": o[1]}


def _compacted(product):
    """Those that leave are written where they belong, and the others taken together."""

    def make(x, params):
        layers, thresholds = params["layers"], x["thresholds"].tolist()

        def run(h, *weights):
            logits = torch.empty(len(h), params["classes"])
            at, here = torch.empty(len(h), dtype=torch.int32), None
            for i in range(layers):
                h = torch.relu_(product(h, weights[i]))
                found = product(h, weights[layers + i])
                if here is None:
                    logits, at, here = found, at.fill_(i), torch.arange(len(h))
                else:
                    logits.index_copy_(0, here, found)
                    at.index_fill_(0, here, i)
                if i < layers - 1:
                    stays = torch.nonzero(_margin(found) < thresholds[i]).squeeze(1)
                    h, here = h.index_select(0, stays), here.index_select(0, stays)
            return logits, at

        return run, [*put(x["x"]), *_exit_operands(x, params)], _left

    return make


def _prefixes(product, looks):
    """Examples sorted by where they leave, which it is told; the margins are looked at all the same."""

    def make(x, params):
        layers, thresholds = params["layers"], x["thresholds"].tolist()
        left = where_they_leave(x, params)
        order = np.argsort(-left, kind="stable")
        plan, hidden = [int((left >= i).sum()) for i in range(layers)] + [0], relu_of(product)

        def run(h, *weights):
            logits, at = [], []
            for i in range(layers):
                h = hidden(h[: plan[i]], weights[i])
                leaving = product(h, weights[layers + i])[plan[i + 1] :]
                logits.append(leaving)
                late = looks(leaving) < thresholds[i] if i < layers - 1 else torch.zeros(len(leaving), dtype=torch.bool)
                at.append(late.to(torch.int32).add_(i))
            return torch.cat(logits[::-1]), torch.cat(at[::-1])

        back, weights = np.argsort(order), _exit_operands(x, params, plan if product is by_packed else None)
        return run, [*put(x["x"][order]), *weights], lambda o: _left([o[0][back], o[1][back]])

    return make


for _ending, _by in PRODUCTS.items():
    candidate.add("early_exit", "forward", f"compacted{_ending}", _compacted(_by), "eager")
    candidate.add("early_exit", "forward", f"prefixes{_ending}", _prefixes(_by, _margin), *executions(_by))
candidate.add("early_exit", "forward", "prefixes_packed", _prefixes(by_packed, _margin), "eager")


def _experts(product, mixed):
    """Pairs sorted by expert, a product of each expert's."""

    def make(x, params):
        n, k, experts = params["n"], params["k"], params["experts"]
        hidden = relu_of(product)

        def run(x, w1, w2, chosen, gates):
            flat = chosen.view(-1)
            order = torch.argsort(flat)
            rows = x.index_select(0, torch.div(order, k, rounding_mode="floor"))
            counts = torch.bincount(flat, minlength=experts).tolist()
            parts, start = [], 0
            for e, count in enumerate(counts):
                parts.append(product(hidden(rows[start : start + count], w1[e]), w2[e]))
                start += count
            made = torch.cat(parts)
            if mixed == "bag":  # the weighted sum of each token's results
                back = torch.empty_like(order).index_copy_(0, order, torch.arange(n * k))
                return (F.embedding_bag(back.view(n, k), made, mode="sum", per_sample_weights=gates),)
            scaled = made.mul_(gates.view(-1).index_select(0, order).unsqueeze(1))
            y = torch.zeros_like(x).index_add_(0, torch.div(order, k, rounding_mode="floor"), scaled)
            return (y,)

        h, chosen, gates = put(x["x"], x["experts_of"].astype(np.int64), x["gates"])
        both = [x["w1"], x["w2"]]
        both = [[packed(w, n * k // experts) for w in v] for v in both] if product is by_packed else put(*both)
        return run, [h, *both, chosen, gates], first

    return make


@candidate("mixture_of_experts", "forward", "eager")
def tokens_of_each(x, params):
    """Expert by expert: which tokens are its, as models are written."""

    def run(x, w1, w2, chosen, gates):
        y = torch.zeros_like(x)
        for e in range(params["experts"]):
            tokens, places = torch.nonzero(chosen == e, as_tuple=True)
            made = torch.mm(torch.relu_(torch.mm(x.index_select(0, tokens), w1[e])), w2[e])
            y.index_add_(0, tokens, made.mul_(gates[tokens, places].unsqueeze(1)))
        return (y,)

    return run, put(x["x"], x["w1"], x["w2"], x["experts_of"], x["gates"]), first


for _ending, _by in PRODUCTS.items():
    for _mixed in ("bag", "add"):
        candidate.add("mixture_of_experts", "forward", f"experts_{_mixed}{_ending}", _experts(_by, _mixed), "eager")
candidate.add("mixture_of_experts", "forward", "experts_packed", _experts(by_packed, "add"), "eager")
candidate.add("mixture_of_experts", "forward", "experts_packed_bag", _experts(by_packed, "bag"), "eager")


# -- sparse training --------------------------------------------------------------------------------------------------
def gradients(h, target, weights, product):
    """The loss, and of each layer what its gradient is the product of: d (n, out) and h (n, in); weights (out, in)."""
    read = [h]
    for w in weights[:-1]:
        read.append(torch.relu_(product(read[-1], w.T)))
    log_p = torch.log_softmax(product(read[-1], weights[-1]), 1)
    loss = (target * log_p).sum() * (-1.0 / len(h))
    d = (log_p.exp_() - target).mul_(1.0 / len(h))
    found = [(d, read[-1])]
    for i in reversed(range(len(weights) - 1)):
        back = product(d, weights[i + 1].T if i == len(weights) - 2 else weights[i + 1])
        d = torch.ops.aten.threshold_backward(back, read[i + 1], 0)
        found.insert(0, (d, read[i]))
    return loss, found


def _masked(product):
    def make(x, params):
        if params["phase"] == "update":
            raise NotImplementedError("the step only")
        count, layers = params["layers"], sparse_layers(x, params)

        def run(h, target, last, *rest):
            weights, masks = rest[:count], rest[count:]
            loss, found = gradients(h, target, [*weights, last], product)
            new = [
                torch.addcmul(w, product(d.T, h), mask, value=-RATE)
                for w, mask, (d, h) in zip(weights, masks, found, strict=False)
            ]
            d, h = found[-1]
            return loss, *new, torch.addmm(last, h.T, d, alpha=-RATE)

        host = (x["x"], x["target"], x[f"w{count}"], *(w for w, _ in layers), *(m for _, m in layers))
        return run, put(*host), lambda o: stored_values(o, x, params)

    return make


def _moved(product, nth):
    """The pattern moves: `nth(values, count)` is the count-th greatest."""

    def make(x, params):
        if params["phase"] == "step" or params["rule"] != "rigl":
            raise NotImplementedError("the update by RigL only")
        count, layers = params["layers"], sparse_layers(x, params)
        flat = [np.flatnonzero(mask.ravel()) for _, mask in layers]
        dropped = [max(1, round(0.3 * len(places))) for places in flat]

        def run(h, target, last, *rest):
            weights, masks, places = rest[:count], rest[count : 2 * count], rest[2 * count :]
            _, found = gradients(h, target, [*weights, last], product)
            new, chosen = [], []
            for i in range(count):
                magnitude = weights[i].abs()
                stored = magnitude.view(-1).index_select(0, places[i])
                kept = (magnitude >= nth(stored, len(stored) - dropped[i])).logical_and_(masks[i])
                d, h = found[i]
                wanted = product(d.T, h).abs_().masked_fill_(kept, 0.0)
                grown = wanted >= nth(wanted.view(-1), dropped[i])
                new.append(weights[i] * kept)
                chosen.append(grown.logical_or_(kept))
            return *new, *chosen

        host = (x["x"], x["target"], x[f"w{count}"], *(w for w, _ in layers), *(m > 0 for _, m in layers), *flat)
        return run, put(*host), lambda o: updated_layers([v.T for v in o], count)

    return make


def _by_kth(values, count):
    return torch.kthvalue(values, len(values) - count + 1).values


def _by_topk(values, count):
    return torch.topk(values, count, sorted=False).values.amin()


def _by_sample(values, count):
    """The same among those above what a sample says, where they are enough."""
    if len(values) < 200_000:
        return _by_kth(values, count)
    sample = values[:: len(values) // 10_000].contiguous()
    guess = _by_kth(sample, min(len(sample), int(1.15 * count * len(sample) / len(values)) + 50))
    high = torch.masked_select(values, values >= guess)
    return _by_kth(high, count) if len(high) >= count else _by_kth(values, count)


BY_RANK = (_by_kth, _by_topk, _by_sample)
for _ending, _by in PRODUCTS.items():
    candidate.add("sparse_training", "train_step", f"masked{_ending}", _masked(_by), *executions(_by))
    for _nth in BY_RANK:
        candidate.add("sparse_training", "train_step", f"moved{_nth.__name__}{_ending}", _moved(_by, _nth), "eager")


# -- steps in time ----------------------------------------------------------------------------------------------------
def _scan(at_once):
    """States (steps, B, S, D), what needs no state for `at_once` steps together; an addition in place a step."""

    def make(x, params):
        def run(x, delta, b, c, a):
            steps, batch, width = x.shape
            h = torch.zeros(batch, a.shape[0], width)
            out = torch.empty_like(x)
            for t in range(0, steps, at_once):
                span = slice(t, min(t + at_once, steps))
                kept = torch.exp_(delta[span].unsqueeze(2) * a)
                states = (delta[span] * x[span]).unsqueeze(2) * b[span].unsqueeze(3)
                for kept_t, state in zip(kept.unbind(), states.unbind(), strict=True):
                    h = state.addcmul_(kept_t, h)
                part = torch.matmul(c[span].unsqueeze(2), states)
                out[span] = part.squeeze(2)
            return (out,)

        turned = [np.moveaxis(x[name], 1, 0) for name in ("x", "delta", "b", "c")]
        return run, put(*turned, x["a"].T), lambda o: {"y": np.moveaxis(o[0], 0, 1)}

    return make


for _steps in (16, 64):
    candidate.add("selective_scan", "forward", f"scan_{_steps}", _scan(_steps), "eager")


def _spikes(product):
    """The product of all steps, then the neurons in place."""

    def make(x, params):
        def run(x, w):
            current = product(x.view(-1, x.shape[2]).to(torch.float32), w).view(x.shape)
            v, out = torch.zeros(current.shape[1:]), torch.empty_like(x, dtype=torch.bool)
            for now, spikes in zip(current.unbind(), out.unbind(), strict=True):
                v = now.add_(v, alpha=0.5)
                torch.gt(v, 1.0, out=spikes)
                v = v.masked_fill(spikes, 0.0)
            return (out.view(torch.int8),)

        return run, put(x["x"], x["w"]), lambda o: {"spikes": o[0]}

    return make


for _ending, _by in PRODUCTS.items():
    candidate.add("spiking", "forward", f"spikes{_ending}", _spikes(_by), *executions(_by))


@candidate("spiking", "forward", "eager")
def spikes_bag(x, params):
    """The rows of W at the spikes, by an embedding bag; spikes as a sensor gives them."""
    rows, places = np.nonzero(x["x"].reshape(-1, params["n"]))
    begins = np.searchsorted(rows, np.arange(params["steps"] * params["batch"]))

    def run(places, begins, w):
        current = F.embedding_bag(places, w, begins, mode="sum").view(x["x"].shape)
        v, out = torch.zeros(current.shape[1:]), torch.empty(current.shape, dtype=torch.bool)
        for now, spikes in zip(current.unbind(), out.unbind(), strict=True):
            v = now.add_(v, alpha=0.5)
            torch.gt(v, 1.0, out=spikes)
            v = v.masked_fill(spikes, 0.0)
        return (out.view(torch.int8),)

    return run, put(places.astype(np.int32), begins.astype(np.int32), x["w"]), lambda o: {"spikes": o[0]}
