"""JAX's candidates of `bench_best`: sparse training by Top-KAST."""

from __future__ import annotations

import jax.numpy as jnp
from _candidates import kast_layers, kast_named
from _jax_by_hand import RATE, candidate, put
from best_jax_steps import BY_RANK, COMPILED, gradients


def _all(nth):
    """All weights with masks, by dense products; then the sets anew by `nth(values, count)`, where it is given."""

    def make(x, params):
        count, layers = params["layers"], kast_layers(x, params)
        if (params["phase"] == "update") != (nth is not None):
            raise NotImplementedError("the other phase only")

        def run(h, target, last, *rest):
            weights, read, learnt = (rest[i * count : (i + 1) * count] for i in range(3))
            seen = [w * mask for w, mask in zip(weights, read, strict=True)]
            loss, found = gradients(h, target, [*seen, last])
            new = [w - RATE * g * mask for w, g, mask in zip(weights, found, learnt, strict=False)]
            sets = []
            for w, layer in zip(new if nth else [], layers, strict=False):
                size = jnp.abs(w)
                few, many = (nth(size.reshape(-1), len(which)) for which in (layer.seen, layer.rows))
                sets.append((size >= few).astype(jnp.int32) + (size >= many).astype(jnp.int32))
            return loss, *new, last - RATE * found[-1], *sets

        host = [v for vs in zip(*(layer[:3] for layer in layers), strict=True) for v in vs]
        return run, put(x["x"], x["target"], x[f"w{count}"], *host), lambda o: kast_named(o, params)

    return make


candidate.add("sparse_training", "train_step", "learnt", _all(None), *COMPILED)
for _nth in BY_RANK:
    candidate.add("sparse_training", "train_step", f"chosen{_nth.__name__}", _all(_nth), "jit", "off")
