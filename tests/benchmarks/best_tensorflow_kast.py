"""TensorFlow's candidates of `bench_best`: sparse training by Top-KAST."""

from __future__ import annotations

import tensorflow as tf
from _candidates import kast_layers, kast_named
from _tensorflow_by_hand import RATE, TRACED, candidate, put
from best_tensorflow_steps import ALL, BY_RANK, NOT_XLA, gradients


def _all(nth):
    """All weights with masks, by dense products; then the sets anew by `nth(values, count)`, where it is given."""

    def make(x, params):
        count, layers = params["layers"], kast_layers(x, params)
        if (params["phase"] == "update") != (nth is not None):
            raise NotImplementedError("the other phase only")

        def run(h, target, last, *rest):
            weights, read, learnt = (rest[i * count : (i + 1) * count] for i in range(3))
            seen = [w * mask for w, mask in zip(weights, read, strict=True)]
            loss, found = gradients(h, target, [*seen, last], params["batch"])
            new = [w - RATE * g * mask for w, g, mask in zip(weights, found, learnt, strict=False)]
            sets = []
            for w, layer in zip(new if nth else [], layers, strict=False):
                size = tf.abs(w)
                few, many = (nth(tf.reshape(size, (-1,)), len(which)) for which in (layer.seen, layer.rows))
                sets.append(tf.cast(size >= few, tf.int32) + tf.cast(size >= many, tf.int32))
            return loss, *new, last - RATE * found[-1], *sets

        host = [v for vs in zip(*(layer[:3] for layer in layers), strict=True) for v in vs]
        return run, put(x["x"], x["target"], x[f"w{count}"], *host), lambda o: kast_named(o, params)

    return make


candidate.add("sparse_training", "train_step", "learnt", _all(None), *ALL)
for _nth, _where in zip(BY_RANK, (NOT_XLA, NOT_XLA, TRACED, TRACED), strict=True):
    candidate.add("sparse_training", "train_step", f"chosen{_nth.__name__}", _all(_nth), *_where)
