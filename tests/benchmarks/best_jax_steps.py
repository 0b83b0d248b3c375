"""JAX's candidates of `bench_best`: examples that leave or part ways, sparse training, steps in time."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from _candidates import sparse_layers, stored_values, updated_layers, where_they_leave
from _jax_by_hand import RATE, candidate, first, put
from jax import lax

COMPILED = ("jit", "off", "dot")


# -- examples of unequal work -----------------------------------------------------------------------------------------
def _margin(found):
    first = jnp.argmax(found, 1, keepdims=True)
    others = jnp.where(jnp.arange(found.shape[1]) == first, -jnp.inf, found)
    return jnp.max(found, 1) - jnp.max(others, 1)


@candidate("early_exit", "forward", *COMPILED)
def prefixes(x, params):
    """Examples sorted by where they leave, which it is told; the margins are looked at all the same."""
    layers, left = params["layers"], where_they_leave(x, params)
    order = np.argsort(-left, kind="stable")
    plan = [int((left >= i).sum()) for i in range(layers)] + [0]

    def run(h, thresholds, *weights):
        logits, at = [], []
        for i in range(layers):
            h = jax.nn.relu(h[: plan[i]] @ weights[i])
            leaving = h[plan[i + 1] :] @ weights[layers + i]
            late = _margin(leaving) < thresholds[i] if i < layers - 1 else jnp.zeros(len(leaving), bool)
            logits.append(leaving)
            at.append(late.astype(jnp.int32) + i)
        return jnp.concatenate(logits[::-1]), jnp.concatenate(at[::-1])

    back = np.argsort(order)
    weights = (x[f"{what}{i}"] for what in "wq" for i in range(layers))
    named = lambda o: {"logits": o[0][back], "left_at": o[1][back]}  # noqa: E731
    return run, put(x["x"][order], x["thresholds"], *weights), named


def _experts(way):
    """Pairs sorted by expert; of each expert a slice as long as the fullest has, or the rows of its places."""

    def make(x, params):
        n, k, d, experts = (params[name] for name in ("n", "k", "d", "experts"))
        capacity = int(np.bincount(x["experts_of"].ravel(), minlength=experts).max())

        def run(x, w1, w2, chosen, gates):
            flat = chosen.reshape(-1)
            hits = flat[:, None] == jnp.arange(experts)
            counts = jnp.sum(hits, 0, dtype=jnp.int32)
            starts = jnp.cumsum(counts) - counts
            if way == "ranked":  # no sort: a running count says the place of each pair
                rank = jnp.take_along_axis(jnp.cumsum(hits.astype(jnp.int32), 0), flat[:, None], 1)[:, 0] - 1
                place = flat * capacity + rank
                token = jnp.zeros(experts * capacity, jnp.int32).at[place].set(jnp.arange(n * k, dtype=jnp.int32) // k)
                made = jax.nn.relu(x[token].reshape(experts, capacity, d) @ w1) @ w2
                back = made.reshape(-1, d)[place].reshape(n, k, d)
                return (jnp.sum(back * gates[:, :, None], 1),)
            order = jnp.argsort(flat)
            rows = jnp.concatenate([x[order // k], jnp.zeros((capacity, d), x.dtype)])
            out = jnp.zeros((n * k + capacity, d), x.dtype)
            for e in range(experts):  # ascending, so that each overwrites what the one before wrote beyond its own
                part = lax.dynamic_slice_in_dim(rows, starts[e], capacity)
                out = lax.dynamic_update_slice_in_dim(out, jax.nn.relu(part @ w1[e]) @ w2[e], starts[e], 0)
            back = out[jnp.argsort(order)].reshape(n, k, d)
            return (jnp.sum(back * gates[:, :, None], 1),)

        return run, put(x["x"], x["w1"], x["w2"], x["experts_of"], x["gates"]), first

    return make


for _way in ("ranked", "slices"):
    candidate.add("mixture_of_experts", "forward", f"experts_{_way}", _experts(_way), *COMPILED)


@candidate("mixture_of_experts", "forward", *COMPILED)
def all_experts(x, params):
    """Every expert for every token, one after the other."""

    def run(x, w1, w2, chosen, gates):
        weight = jnp.sum(jnp.where(chosen[:, :, None] == jnp.arange(params["experts"]), gates[:, :, None], 0.0), 1)
        return (sum(jax.nn.relu(x @ w1[e]) * weight[:, e : e + 1] @ w2[e] for e in range(params["experts"])),)

    return run, put(x["x"], x["w1"], x["w2"], x["experts_of"], x["gates"]), first


# -- sparse training --------------------------------------------------------------------------------------------------
def gradients(h, target, weights):
    """The loss, and the gradient of every weight; weights (in, out)."""
    read = [h]
    for w in weights[:-1]:
        read.append(jax.nn.relu(read[-1] @ w))
    log_p = jax.nn.log_softmax(read[-1] @ weights[-1])
    loss = jnp.sum(target * log_p) * (-1.0 / len(h))
    d, found = (jnp.exp(log_p) - target) / len(h), []
    for i in reversed(range(len(weights))):
        found.insert(0, lax.dot_general(read[i], d, (((0,), (0,)), ((), ()))))
        if i:
            d = jnp.where(read[i] > 0, lax.dot_general(d, weights[i], (((1,), (1,)), ((), ()))), 0)
    return loss, found


@candidate("sparse_training", "train_step", *COMPILED)
def masked(x, params):
    if params["phase"] == "update":
        raise NotImplementedError("the step only")
    count, layers = params["layers"], sparse_layers(x, params)

    def run(h, target, last, *rest):
        weights, masks = rest[:count], rest[count:]
        loss, found = gradients(h, target, [*weights, last])
        new = [w - RATE * g * mask for w, g, mask in zip(weights, found, masks, strict=False)]
        return loss, *new, last - RATE * found[-1]

    host = (x["x"], x["target"], x[f"w{count}"], *(w.T for w, _ in layers), *(m.T for _, m in layers))
    return run, put(*host), lambda o: stored_values([o[0], *(w.T for w in o[1:-1]), o[-1]], x, params)


def _moved(nth):
    def make(x, params):
        if params["phase"] == "step" or params["rule"] != "rigl":
            raise NotImplementedError("the update by RigL only")
        count, layers = params["layers"], sparse_layers(x, params)
        flat = [np.flatnonzero(mask.T.ravel()).astype(np.int32) for _, mask in layers]
        dropped = [max(1, round(0.3 * len(places))) for places in flat]

        def run(h, target, last, *rest):
            weights, masks, places = rest[:count], rest[count : 2 * count], rest[2 * count :]
            _, found = gradients(h, target, [*weights, last])
            new, chosen = [], []
            for i in range(count):
                magnitude = jnp.abs(weights[i])
                stored = magnitude.reshape(-1)[places[i]]
                kept = (magnitude >= nth(stored, len(stored) - dropped[i])) & masks[i]
                wanted = jnp.where(kept, 0.0, jnp.abs(found[i]))
                grown = wanted >= nth(wanted.reshape(-1), dropped[i])
                new.append(jnp.where(kept, weights[i], 0.0))
                chosen.append((kept | grown).astype(jnp.int32))
            return *new, *chosen

        host = (x["x"], x["target"], x[f"w{count}"], *(w.T for w, _ in layers), *(m.T > 0 for _, m in layers), *flat)
        return run, put(*host), lambda o: updated_layers(o, count)

    return make


def _by_bits(values, count):
    """Bit by bit from the top, a counting pass each: the bits of positive floats are in their order."""
    bits = lax.bitcast_convert_type(values, jnp.int32)

    def narrowed(i, found):
        tried = found + (jnp.int32(1) << (30 - i))
        return jnp.where(jnp.sum(bits >= tried, dtype=jnp.int32) >= count, tried, found)

    return lax.bitcast_convert_type(lax.fori_loop(0, 31, narrowed, jnp.int32(0)), jnp.float32)


def _by_four(values, count):
    """The same with 15 thresholds a pass: an eighth of the passes, each of 15 counts."""
    bits, found = lax.bitcast_convert_type(values, jnp.int32), jnp.int32(0)
    for shift in range(28, -1, -4):
        tried = found + (jnp.arange(1, 8 if shift == 28 else 16, dtype=jnp.int32) << shift)
        enough = jnp.sum(bits[None] >= tried[:, None], 1, dtype=jnp.int32) >= count
        found = found + (jnp.sum(enough, dtype=jnp.int32) << shift)
    return lax.bitcast_convert_type(found, jnp.float32)


def _by_eighths(values, count):
    """Bit by bit, what lies an eighth apart added up as it is compared: XLA writes no comparison down for that."""
    bits = lax.bitcast_convert_type(values, jnp.int32)
    parts = math.gcd(len(values), 8)
    bits = bits.reshape(parts, -1)

    def narrowed(i, found):
        tried = found + (jnp.int32(1) << (30 - i))
        several = jnp.maximum(jnp.sum(bits >= tried, 0, dtype=jnp.int32), 0)  # else XLA makes one sum of both
        return jnp.where(jnp.sum(several, dtype=jnp.int32) >= count, tried, found)

    return lax.bitcast_convert_type(lax.fori_loop(0, 31, narrowed, jnp.int32(0)), jnp.float32)


def _by_topk(values, count):
    return lax.top_k(values, count)[0][-1]


BY_RANK = (_by_bits, _by_eighths, _by_four, _by_topk)
for _nth in BY_RANK:
    candidate.add("sparse_training", "train_step", f"moved{_nth.__name__}", _moved(_nth), "jit", "off")


# -- steps in time ----------------------------------------------------------------------------------------------------
def _scan(unroll, states_first):
    """One step after the other; the state (B, S, D), whose sum over S is of whole vectors, or (B, D, S)."""

    def make(x, params):
        aside = 1 if states_first else 2

        def run(x, delta, b, c, a):
            def step(h, now):
                x, delta, b, c = now
                b, c = (jnp.expand_dims(v, 3 - aside) for v in (b, c))
                kept = jnp.exp(jnp.expand_dims(delta, aside) * a)
                h = kept * h + jnp.expand_dims(delta * x, aside) * b
                return h, jnp.sum(h * c, aside)

            empty = jnp.zeros((x.shape[1], *a.shape), x.dtype)
            return (lax.scan(step, empty, (x, delta, b, c), unroll=unroll)[1],)

        turned = [np.moveaxis(x[name], 1, 0) for name in ("x", "delta", "b", "c")]
        return run, put(*turned, x["a"].T if states_first else x["a"]), lambda o: {"y": np.moveaxis(o[0], 0, 1)}

    return make


for _unroll in (1, 4, 16):
    candidate.add("selective_scan", "forward", f"scan_{_unroll}", _scan(_unroll, True), "jit", "fast-math")
    candidate.add("selective_scan", "forward", f"scan_rows_{_unroll}", _scan(_unroll, False), "jit")


def _spikes(unroll):
    def make(x, params):
        def run(x, w):
            current = (x.reshape(-1, x.shape[2]).astype(w.dtype) @ w).reshape(x.shape)

            def step(v, now):
                v = jnp.where(v <= 1, v * 0.5, 0.0) + now
                return v, (v > 1).astype(jnp.int8)

            return (lax.scan(step, jnp.zeros(current.shape[1:], w.dtype), current, unroll=unroll)[1],)

        return run, put(x["x"], x["w"]), lambda o: {"spikes": o[0]}

    return make


for _unroll in (1, 5, 20):
    candidate.add("spiking", "forward", f"spikes_{_unroll}", _spikes(_unroll), *COMPILED)
