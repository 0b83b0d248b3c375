"""Holds a backend to the contract of `Ops`, and says in a sentence each what it breaks.

`faults` is for the author of a backend: it knows no workload and takes a few seconds. What a framework does not have
is no fault, as long as the adapter says so with words (Unsupported).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from backends.ops import CSR, EXECUTIONS, SPARSE_FORMATS, Array, Backend, Device, Execution, HostArray, Ops, Unsupported

FLOATS = ("float64", "float32", "float16", "bfloat16")
CLOSE = 1e-4  # relative to the largest value: these are sums of a few float32 products
LEAST_S = 0.02  # of a product whose wait is timed: far above the noise of a clock
LEAST_READ_S = 2e-3  # reading a single number takes less
READ_SHARE = 0.1  # of the time of the product: what is left to compute behind the wait takes more
SIZES = (512, 1024, 2048, 4096)
TRIALS = 3

_RNG_SEED = 0
_X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)
_Y = np.cos(np.arange(24, dtype=np.float32)).reshape(4, 6)
_W = np.sin(np.arange(30, dtype=np.float32)).reshape(6, 5)
_INDICES = np.array([[2, 0], [3, 3], [1, 2]])
_IMAGES = np.sin(np.arange(2 * 4 * 4 * 3, dtype=np.float32)).reshape(2, 4, 4, 3)
_FILTERS = np.cos(np.arange(3 * 2, dtype=np.float32)).reshape(1, 1, 3, 2)
_ROWS, _GROUPS = _IMAGES[0, 0].repeat(4, 1), np.cos(np.arange(2 * 12 * 4, dtype=np.float32)).reshape(2, 12, 4)


def _running(carry: tuple[Array], x: tuple[Array]) -> tuple[tuple[Array], tuple[Array]]:
    total = carry[0] + x[0]
    return (total,), (total,)


def _softmax(x: HostArray) -> HostArray:
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


# What is called: its name, the call, its operands on the host, and what NumPy makes of them. `core` may not be refused.
Check = tuple[str, Callable[..., Any], tuple[HostArray, ...], HostArray]
_CORE: tuple[Check, ...] = (
    ("reshape", lambda ops, x: ops.reshape(x, (6, 4)), (_X,), _X.reshape(6, 4)),
    ("permute_dims", lambda ops, x: ops.permute_dims(x, (1, 0)), (_X,), _X.T),
    ("expand_dims", lambda ops, x: ops.expand_dims(x, 1), (_X,), _X[:, None]),
    ("concat", lambda ops, x, y: ops.concat([x, y], 1), (_X, _Y), np.concatenate([_X, _Y], 1)),
    ("stack", lambda ops, x, y: ops.stack([x, y], 0), (_X, _Y), np.stack([_X, _Y])),
    ("zeros", lambda ops: ops.zeros((2, 3), "float32"), (), np.zeros((2, 3), np.float32)),
    ("sum", lambda ops, x: ops.sum(x), (_X,), _X.sum()),
    ("sum along axes", lambda ops, x: ops.sum(x, (0, 1), True), (_X,), _X.sum(keepdims=True)),
    ("max", lambda ops, x: ops.max(x, 1, True), (_Y,), _Y.max(1, keepdims=True)),
    ("exp", lambda ops, x: ops.exp(x), (_X,), np.exp(_X)),
    ("log", lambda ops, x: ops.log(x), (np.exp(_X),), _X),
    ("sqrt", lambda ops, x: ops.sqrt(x), (_X * _X,), np.abs(_X)),
    ("where", lambda ops, x, y: ops.where(x > 0, x, y), (_X, _Y), np.where(_X > 0, _X, _Y)),
    ("where with a number", lambda ops, x: ops.where(x > 0, x, 0.0), (_X,), np.where(_X > 0, _X, np.float32(0))),
    ("maximum", lambda ops, x, y: ops.maximum(x, y), (_X, _Y), np.maximum(_X, _Y)),
    ("maximum with a number", lambda ops, x: ops.maximum(x, 0.0), (_X,), np.maximum(_X, np.float32(0))),
    ("take", lambda ops, x: ops.take(x, ops.positions(_INDICES[:, 0]), 0), (_X,), _X[_INDICES[:, 0]]),
    ("take along the last axis", lambda ops, x: ops.take(x, ops.positions(_INDICES), 1), (_X,), _X[:, _INDICES]),
    ("matmul", lambda ops, x, w: ops.matmul(x, w), (_X, _W), _X @ _W),
    ("arithmetic", lambda _, x, y: (2.0 * x - y / 4.0) * x + 1.0, (_X, _Y), (2 * _X - _Y / 4) * _X + 1),
)
_OPTIONAL: tuple[Check, ...] = (
    ("sort", lambda ops, x: ops.sort(x, 1, True), (_Y,), -np.sort(-_Y, 1)),
    ("topk", lambda ops, x: ops.topk(x, 3)[0], (_Y,), -np.sort(-_Y, 1)[:, :3]),
    ("round", lambda ops, x: ops.round(x), (_X,), np.round(_X)),
    ("cumsum", lambda ops, x: ops.cumsum(x, 1), (_Y,), np.cumsum(_Y, 1)),
    ("embedding_bag", lambda ops, x: ops.embedding_bag(x, ops.asarray(_INDICES)), (_X,), _X[_INDICES].sum(1)),
    ("argsort", lambda ops, x: ops.take_along_axis(x, ops.argsort(x), 1), (_Y,), np.sort(_Y, 1)),
    (
        "grouped_matmul",
        lambda ops, x, w: ops.grouped_matmul(x, w, ops.asarray(np.array([1, 3], np.int32))),
        (_ROWS, _GROUPS),
        np.concatenate([_ROWS[:1] @ _GROUPS[0], _ROWS[1:] @ _GROUPS[1]]),
    ),
    ("scan", lambda ops, x: ops.scan(_running, (x[0, ...] * 0.0,), (x,))[1][0], (_Y,), np.cumsum(_Y, 0)),
    ("relu", lambda ops, x: ops.relu(x), (_X,), np.maximum(_X, np.float32(0))),
    ("softplus", lambda ops, x: ops.softplus(x), (_X,), np.logaddexp(_X, np.float32(0))),
    ("softmax", lambda ops, x: ops.softmax(x, 1), (_X,), _softmax(_X)),
    ("log_softmax", lambda ops, x: ops.log_softmax(x, 1), (_X,), np.log(_softmax(_X))),
    ("einsum", lambda ops, x, w: ops.einsum("ij,jk->ki", x, w), (_X, _W), (_X @ _W).T),
    (
        "conv2d",
        lambda ops, x: ops.conv2d(x, ops.filters(_FILTERS), stride=1, padding=0, layout="nhwc"),
        (_IMAGES,),
        _IMAGES @ _FILTERS[0, 0],
    ),
    (
        "max_pool2d",
        lambda ops, x: ops.max_pool2d(x, 2, layout="nhwc"),
        (_IMAGES,),
        _IMAGES.reshape(2, 2, 2, 2, 2, 3).max((2, 4)),
    ),
    (
        "avg_pool2d",
        lambda ops, x: ops.avg_pool2d(x, 2, layout="nhwc"),
        (_IMAGES,),
        _IMAGES.reshape(2, 2, 2, 2, 2, 3).mean((2, 4)),
    ),
    (
        "segment_sum",
        lambda ops, x: ops.segment_sum(x, ops.asarray(np.array([0, 0, 1, 1], np.int32)), 2),
        (_X,),
        _X.reshape(2, 2, 6).sum(1),
    ),
    (
        "value_and_grad",
        lambda ops, x: ops.value_and_grad(lambda x: ops.sum(x * x), [0])(x)[1][0],
        (_X,),
        2 * _X,
    ),
)


def faults(backend: Backend, device: Device) -> list[str]:
    """One sentence for everything that `backend`, opened on `device`, does not keep; empty where it keeps all.

    Opens the device in this process. The environment that the backend asks for is the caller's to set before.
    """
    try:
        ops = backend.open(device)
    except Unsupported as refusal:
        return list(_wordless("opening the device", refusal))
    found: list[str] = []
    for check in (_round_trips, _operations, _sparse, _compiled):
        found += check(ops, backend)
    found += _waits(ops, backend)
    return [f"{backend.title} on {device}: {sentence}" for sentence in found]


def _wordless(what: str, refusal: Unsupported) -> Iterator[str]:
    if not str(refusal).strip():
        yield f"{what} raises Unsupported without a word; say what the framework lacks"


def _raised(what: str, error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{what} raises {type(error).__name__} ({words}); what a framework lacks is Unsupported, in its own words"


def _round_trips(ops: Ops, _: Backend) -> Iterator[str]:
    """Values, dtype and shape of every dtype survive the way to the device and back, and the host's array is copied."""
    for dtype in FLOATS:
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
        for shape in ((), (3, 1, 2)):
            host = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape).astype(kind)
            kept = host.copy()
            try:
                array = ops.asarray(host)
                host[...] = 0
                back = ops.to_numpy(array)
            except Unsupported as refusal:
                yield from _wordless(f"asarray of {dtype}", refusal)
            except Exception as error:
                yield _raised(f"asarray of {dtype} {shape}", error)
            else:
                if back.dtype != kept.dtype or back.shape != shape:
                    yield f"{dtype} {shape} comes back from the device as {back.dtype} {back.shape}"
                elif not np.array_equal(back, kept):
                    yield f"{dtype} {shape} comes back with other values; asarray must copy, and not share, the host's"


def _operations(ops: Ops, _: Backend) -> Iterator[str]:
    """Every operation gives NumPy's numbers and keeps float32."""
    for required, checks in ((True, _CORE), (False, _OPTIONAL)):
        for name, call, hosts, expected in checks:
            try:
                result = call(ops, *(ops.asarray(x) for x in hosts))
                ops.wait([result])
                host = ops.to_numpy(result)
            except Unsupported as refusal:
                yield from _wordless(name, refusal)
                if required and str(refusal).strip():
                    yield f"{name} is Unsupported ({refusal}), and a backend cannot do without it"
            except Exception as error:
                yield _raised(name, error)
            else:
                yield from _differences(name, host, expected)


def _differences(name: str, host: HostArray, expected: HostArray) -> Iterator[str]:
    if host.shape != np.shape(expected):
        yield f"{name} gives the shape {host.shape}, and {np.shape(expected)} was expected"
    elif host.dtype != np.float32:
        yield f"{name} of float32 gives {host.dtype}; the dtype of the operands must be kept"
    elif not np.allclose(host, expected, rtol=CLOSE, atol=CLOSE * float(np.max(np.abs(expected), initial=1))):
        yield f"{name} differs from NumPy's by {float(np.max(np.abs(host - expected))):.2g}"


def _sparse(ops: Ops, _: Backend) -> Iterator[str]:
    """Every sparse format that can be made multiplies as its dense matrix does."""
    dense = np.where(_X > 1, _X, np.float32(0))
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(dense, axis=1))]).astype(np.int32)
    csr = CSR(dense[rows, columns], columns.astype(np.int32), indptr, (4, 6))
    for name in SPARSE_FORMATS:
        try:
            product = ops.sparse_matmul(ops.sparse(csr, name, 2), ops.asarray(_W))
            ops.wait([product])
            yield from _differences(f"the product of {name}", ops.to_numpy(product), dense @ _W)
        except Unsupported as refusal:
            yield from _wordless(f"the product of {name}", refusal)
        except Exception as error:
            yield _raised(f"the product of {name}", error)


def _step(ops: Ops) -> Callable[..., tuple[Array, ...]]:
    return lambda x, w: (ops.matmul(ops.exp(x), w), ops.sum(x, 0))


def _compiled(ops: Ops, backend: Backend) -> Iterator[str]:
    """Each execution gives the numbers of eager, twice and without a second trace; the others are refused."""
    args = [ops.asarray(_X), ops.asarray(_W)]
    for execution in EXECUTIONS:
        what = f"compile for {execution}"
        try:
            compiled = ops.compile(_step(ops), execution, args)
            first = compiled.call(*args)
            ops.wait(first)
            traces = compiled.traces()
            second = compiled.call(*args)
            ops.wait(second)
            if execution not in backend.executions:
                yield f"{what} succeeds, and the backend does not name this execution: raise Unsupported or name it"
            if compiled.traces() != traces:
                yield f"a function made by {what} is traced again when it is called again with the same arguments"
            for outputs in (first, second):
                for output, expected in zip(outputs, (np.exp(_X) @ _W, _X.sum(0)), strict=True):
                    yield from _differences(what, ops.to_numpy(output), expected)
        except Unsupported as refusal:
            yield from _wordless(what, refusal)
            if execution in backend.executions and str(refusal).strip():
                yield f"{what} is Unsupported ({refusal}), and the backend names this execution"
        except Exception as error:
            yield _raised(what, error)


def _waits(ops: Ops, backend: Backend) -> Iterator[str]:
    """`wait` returns when every output is there: what is read behind it is ready."""
    for execution in backend.executions:
        try:
            waited, read = _wait_and_read(ops, execution)
        except Unsupported:
            continue  # said by `_compiled`
        except Exception as error:
            yield _raised(f"a large product ({execution})", error)
            continue
        if read > max(READ_SHARE * waited, LEAST_READ_S):
            yield (
                f"wait returns after {waited * 1e3:.3g} ms ({execution}) and reading one number behind it takes "
                f"{read * 1e3:.3g} ms more: it must wait until every output is computed"
            )


def _wait_and_read(ops: Ops, execution: Execution) -> tuple[float, float]:
    """Seconds until `wait` returns and of reading a number behind it, of the trial whose reading took least.

    Of two outputs the last one is read, so that to wait for the first alone is not enough.
    """

    def step(x: Array) -> tuple[Array, ...]:
        first = ops.matmul(x, x)
        return ops.sum(first), ops.sum(ops.matmul(ops.matmul(first, x), x))

    for size in SIZES:
        host = np.random.default_rng(_RNG_SEED).standard_normal((size, size), np.float32) / np.float32(size)
        args: Sequence[Array] = [ops.asarray(host)]
        compiled = ops.compile(step, execution, args)
        trials = [_trial(ops, compiled.call, args) for _ in range(1 + TRIALS)][1:]  # the first also compiles
        if min(sum(trial) for trial in trials) > LEAST_S:
            break
    return min(trials, key=lambda trial: trial[1])


def _trial(ops: Ops, call: Callable[..., tuple[Array, ...]], args: Sequence[Array]) -> tuple[float, float]:
    start = time.perf_counter()
    outputs = call(*args)
    ops.wait(outputs)
    waited = time.perf_counter()
    ops.to_numpy(outputs[-1])
    return waited - start, time.perf_counter() - waited
