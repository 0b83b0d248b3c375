"""TensorFlow's candidates of `bench_best`: examples that leave or part ways, sparse training, steps in time."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from _candidates import sparse_layers, stored_values, updated_layers, where_they_leave
from _tensorflow_by_hand import RATE, TRACED, candidate, first, put, raw

ALL, NOT_XLA = ("eager", *TRACED), ("eager", "graph-called")


# -- examples of unequal work -----------------------------------------------------------------------------------------
def _margin(found):
    greatest = tf.math.top_k(found, 2).values
    return greatest[:, 0] - greatest[:, 1]


@candidate("early_exit", "forward", *NOT_XLA)
def compacted(x, params):
    """The others taken together; those that left are put in order at the end."""
    layers = params["layers"]

    def run(h, thresholds, *weights):
        here, parts, numbers, at = tf.range(params["batch"]), [], [], []
        for i in range(layers):
            h = tf.nn.relu(raw.MatMul(a=h, b=weights[i]))
            found = raw.MatMul(a=h, b=weights[layers + i])
            if i < layers - 1:
                stays = tf.cast(_margin(found) < thresholds[i], tf.int32)
                (_, h), (out, _), (left, here) = (tf.dynamic_partition(v, stays, 2) for v in (h, found, here))
            else:
                out, left = found, here
            parts, numbers, at = [*parts, out], [*numbers, left], [*at, tf.fill(tf.shape(left), i)]
        return tf.dynamic_stitch(numbers, parts), tf.dynamic_stitch(numbers, at)

    weights = (x[f"{what}{i}"] for what in "wq" for i in range(layers))
    return run, put(x["x"], x["thresholds"], *weights), lambda o: {"logits": o[0], "left_at": o[1]}


@candidate("early_exit", "forward", *ALL)
def prefixes(x, params):
    """Examples sorted by where they leave, which it is told; the margins are looked at all the same."""
    layers, left = params["layers"], where_they_leave(x, params)
    order = np.argsort(-left, kind="stable")
    plan = [int((left >= i).sum()) for i in range(layers)] + [0]

    def run(h, thresholds, *weights):
        logits, at = [], []
        for i in range(layers):
            h = tf.nn.relu(raw.MatMul(a=h[: plan[i]], b=weights[i]))
            leaving = raw.MatMul(a=h[plan[i + 1] :], b=weights[layers + i])
            logits.append(leaving)
            if i < layers - 1:
                at.append(tf.cast(_margin(leaving) < thresholds[i], tf.int32) + i)
            else:
                at.append(tf.fill((plan[i],), i))
        return tf.concat(logits[::-1], 0), tf.concat(at[::-1], 0)

    back = np.argsort(order)
    weights = (x[f"{what}{i}"] for what in "wq" for i in range(layers))
    named = lambda o: {"logits": o[0][back], "left_at": o[1][back]}  # noqa: E731
    return run, put(x["x"][order], x["thresholds"], *weights), named


@candidate("mixture_of_experts", "forward", *NOT_XLA)
def partitioned(x, params):
    """Each expert's tokens by TensorFlow's own partition, and stitched together again."""
    n, k, d, experts = (params[name] for name in ("n", "k", "d", "experts"))

    def run(x, w1, w2, chosen, gates):
        flat = tf.reshape(chosen, (-1,))
        pairs = tf.dynamic_partition(tf.range(n * k), flat, experts)
        parts = [
            raw.MatMul(a=tf.nn.relu(raw.MatMul(a=tf.gather(x, p // k), b=w1[e])), b=w2[e]) for e, p in enumerate(pairs)
        ]
        made = tf.reshape(tf.dynamic_stitch(pairs, parts), (n, k, d))
        return (tf.reduce_sum(made * gates[:, :, None], 1),)

    return run, put(x["x"], x["w1"], x["w2"], x["experts_of"], x["gates"]), first


@candidate("mixture_of_experts", "forward", "compiled-called", "graph-called")
def ranked(x, params):
    """Every expert padded to the fullest; a running count, and no sort, says the place of each pair."""
    n, k, d, experts = (params[name] for name in ("n", "k", "d", "experts"))
    capacity = int(np.bincount(x["experts_of"].ravel(), minlength=experts).max())

    def run(x, w1, w2, chosen, gates):
        flat = tf.reshape(chosen, (-1,))
        hits = tf.one_hot(flat, experts, dtype=tf.int32)
        place = flat * capacity + tf.reduce_sum(tf.cumsum(hits) * hits, 1) - 1
        token = tf.scatter_nd(place[:, None], tf.range(n * k) // k, (experts * capacity,))
        rows = tf.reshape(tf.gather(x, token), (experts, capacity, d))
        made = raw.BatchMatMulV2(x=tf.nn.relu(raw.BatchMatMulV2(x=rows, y=w1)), y=w2)
        back = tf.reshape(tf.gather(tf.reshape(made, (-1, d)), place), (n, k, d))
        return (tf.reduce_sum(back * gates[:, :, None], 1),)

    return run, put(x["x"], x["w1"], x["w2"], x["experts_of"], x["gates"]), first


# -- sparse training --------------------------------------------------------------------------------------------------
def gradients(h, target, weights, batch):
    """The loss, and the gradient of every weight; weights (in, out)."""
    read = [h]
    for w in weights[:-1]:
        read.append(tf.nn.relu(raw.MatMul(a=read[-1], b=w)))
    loss, d = raw.SoftmaxCrossEntropyWithLogits(features=raw.MatMul(a=read[-1], b=weights[-1]), labels=target)
    d, found = d / batch, []
    for i in reversed(range(len(weights))):
        found.insert(0, raw.MatMul(a=read[i], b=d, transpose_a=True))
        if i:
            d = raw.ReluGrad(gradients=raw.MatMul(a=d, b=weights[i], transpose_b=True), features=read[i])
    return tf.reduce_mean(loss), found


@candidate("sparse_training", "train_step", *ALL)
def masked(x, params):
    if params["phase"] == "update":
        raise NotImplementedError("the step only")
    count, layers = params["layers"], sparse_layers(x, params)

    def run(h, target, last, *rest):
        weights, masks = rest[:count], rest[count:]
        loss, found = gradients(h, target, [*weights, last], params["batch"])
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
            _, found = gradients(h, target, [*weights, last], params["batch"])
            new, chosen = [], []
            for i in range(count):
                magnitude = tf.abs(weights[i])
                stored = tf.gather(tf.reshape(magnitude, (-1,)), places[i])
                kept = (magnitude >= nth(stored, len(flat[i]) - dropped[i])) & masks[i]
                wanted = tf.where(kept, 0.0, tf.abs(found[i]))
                grown = wanted >= nth(tf.reshape(wanted, (-1,)), dropped[i])
                new.append(tf.where(kept, weights[i], 0.0))
                chosen.append(kept | grown)
            return *new, *chosen

        host = (x["x"], x["target"], x[f"w{count}"], *(w.T for w, _ in layers), *(m.T > 0 for _, m in layers), *flat)
        return run, put(*host), lambda o: updated_layers(o, count)

    return make


def _by_nth(values, count):
    return raw.NthElement(input=values, n=count - 1, reverse=True)


def _by_topk(values, count):
    return tf.reduce_min(tf.math.top_k(values, count, sorted=False).values)


def _by_bits(values, count):
    """Bit by bit from the top, a counting pass each: the bits of positive floats are in their order."""
    bits, found = tf.bitcast(values, tf.int32), tf.constant(0)
    for bit in range(30, -1, -1):
        tried = found + (1 << bit)
        found = tf.where(tf.reduce_sum(tf.cast(bits >= tried, tf.int32)) >= count, tried, found)
    return tf.bitcast(found, tf.float32)


def _by_eighths(values, count):
    """The same in a loop, what lies an eighth apart added up as it is compared: XLA writes no comparison down then."""
    parts = math.gcd(values.shape[0], 8)
    bits = tf.reshape(tf.bitcast(values, tf.int32), (parts, -1))

    def narrowed(i, found):
        tried = found + tf.bitwise.left_shift(1, 30 - i)
        several = tf.maximum(tf.reduce_sum(tf.cast(bits >= tried, tf.int32), 0), 0)  # else XLA makes one sum of both
        return i + 1, tf.where(tf.reduce_sum(several) >= count, tried, found)

    found = tf.while_loop(lambda i, _: i < 31, narrowed, (0, tf.constant(0)), maximum_iterations=31)
    return tf.bitcast(found[1], tf.float32)


BY_RANK = (_by_nth, _by_topk, _by_bits, _by_eighths)
candidate.add("sparse_training", "train_step", "moved_by_nth", _moved(_by_nth), *NOT_XLA)
candidate.add("sparse_training", "train_step", "moved_by_topk", _moved(_by_topk), *NOT_XLA)
for _nth in (_by_bits, _by_eighths):
    candidate.add("sparse_training", "train_step", f"moved{_nth.__name__}", _moved(_nth), *TRACED)


# -- steps in time ----------------------------------------------------------------------------------------------------
def _scan(unroll):
    """One step after the other, `unroll` of them in a turn of the loop; the state (B, S, D)."""

    def make(x, params):
        steps = params["steps"]
        if steps % unroll:
            raise NotImplementedError("steps that divide only")

        def run(x, delta, b, c, a):
            def turn(i, h, ys):
                for t in range(unroll):
                    now = i * unroll + t
                    kept = tf.exp(delta[now][:, None] * a)
                    h = kept * h + (delta[now] * x[now])[:, None] * b[now][:, :, None]
                    ys = ys.write(now, tf.reduce_sum(h * c[now][:, :, None], 1))
                return i + 1, h, ys

            empty = tf.zeros((params["batch"], params["state"], params["width"]))
            ys = tf.TensorArray(tf.float32, size=steps, element_shape=x.shape[1:])
            count = steps // unroll
            found = tf.while_loop(lambda i, *_: i < count, turn, (0, empty, ys), maximum_iterations=count)
            return (found[2].stack(),)

        turned = [np.moveaxis(x[name], 1, 0) for name in ("x", "delta", "b", "c")]
        return run, put(*turned, x["a"].T), lambda o: {"y": np.moveaxis(o[0], 0, 1)}

    return make


for _unroll in (1, 4):
    candidate.add("selective_scan", "forward", f"scan_{_unroll}", _scan(_unroll), *TRACED)


def _spikes(written_out):
    def make(x, params):
        def run(x, w):
            current = tf.reshape(raw.MatMul(a=tf.cast(tf.reshape(x, (-1, x.shape[2])), w.dtype), b=w), x.shape)

            def step(v, now):
                return tf.where(v <= 1, v * 0.5, 0.0) + now

            v = tf.zeros(current.shape[1:])
            if written_out:  # the spikes of all steps at once
                states = []
                for now in tf.unstack(current):
                    v = step(v, now)
                    states.append(v)
                states = tf.stack(states)
            else:
                states = tf.scan(step, current, v)
            return (tf.cast(states > 1, tf.int8),)

        return run, put(x["x"], x["w"]), lambda o: {"spikes": o[0]}

    return make


candidate.add("spiking", "forward", "spikes_written_out", _spikes(True), *ALL)
candidate.add("spiking", "forward", "spikes", _spikes(False), *TRACED)
