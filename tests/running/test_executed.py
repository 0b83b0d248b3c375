"""Executed work of a run's cases: counted once a point, from the inputs that were made, with no framework imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from harness.records.record import Case, Executed
from harness.running import executed
from harness.running.executed import Counter
from workloads.base import Formulation
from workloads.discovery import workloads

PARAMS = {"m": 6, "k": 4, "n": 2, "grads": "both"}


def case(**changes):
    fields = {
        "workload": "dense_matmul",
        "formulation": "nn",
        "params": PARAMS,
        "dtype": "float32",
        "mode": "forward",
        "backend": "torch",
        "execution": "eager",
        "device": "cpu",
    }
    return Case(**{**fields, **changes})


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "inputs").mkdir()
    for name, shape in (("a", (6, 4)), ("b", (4, 2)), ("target", (6, 2))):
        np.save(tmp_path / "inputs" / f"{name}.npy", np.zeros(shape, np.float32))
    return tmp_path


def test_a_case_is_counted_from_its_inputs(inputs):
    found = Counter().of(case(), inputs)
    assert found == Executed(
        matmul_flop=96,
        other_flop=0,
        bytes=4 * 44,
        written_bytes=48,
        launches=1,
        gathered_rows=0,
        scattered_rows=0,
    )
    assert Counter().of(case(), None) is None


def test_a_point_is_counted_once_for_every_backend_and_execution(inputs, monkeypatch):
    counter, calls = Counter(), []
    monkeypatch.setattr(executed, "traced", lambda *given, real=executed.traced: calls.append(1) or real(*given))
    for backend in ("torch", "jax"):
        for execution in ("eager", "compiled"):
            assert counter.of(case(backend=backend, execution=execution), inputs).launches == 1
    assert calls == [1]


def test_half_the_bytes_in_half_the_dtype(inputs):
    assert Counter().of(case(dtype="bfloat16"), inputs).bytes == 2 * 44


def with_step(monkeypatch, step):
    """The dense product with a formulation of which the step is another."""
    plain = workloads()[0]["dense_matmul"]
    other = Formulation(note="", prepare=lambda ops, x, p: [ops.asarray(x["a"])], step=step, restore=lambda *_: {})
    changed = {"dense_matmul": replace(plain, formulations={"forward": {"nn": other}})}
    monkeypatch.setattr(executed, "workloads", lambda: (changed, ()))


def test_what_is_written_in_a_frameworks_own_words_says_so_once(inputs, monkeypatch):
    def step(ops, p):
        import tensorflow as tf

        return lambda a: (tf.cumsum(a),)

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with_step(monkeypatch, step)
    counter = Counter()
    assert counter.of(case(), inputs) is None
    assert counter.of(case(params={**PARAMS, "n": 3}), inputs) is None
    assert counter.notes == [
        "the executed work of dense_matmul/nn forward is not known: the formulation imports tensorflow: it is written "
        "in a framework's own words, not in Ops"
    ]
    assert not any(isinstance(finder, executed._Refusing) for finder in sys.meta_path)


def test_an_authors_fault_is_no_fault_of_the_run(inputs, monkeypatch):
    with_step(monkeypatch, lambda ops, p: lambda a: 1 / 0)
    counter = Counter()
    assert counter.of(case(), inputs) is None
    assert "ZeroDivisionError" in counter.notes[0]


def test_counting_imports_no_framework():
    code = (
        "import sys, numpy as np, workloads.counting as c; from workloads.discovery import workloads; "
        "f = workloads()[0]['dense_matmul'].formulations['forward']['nn']; "
        "c.traced(f, {'a': np.zeros((2, 3)), 'b': np.zeros((3, 4))}, {}); "
        "print(*{'torch', 'jax', 'tensorflow'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_a_record_grows_by_little_and_an_old_one_is_read():
    found = Executed(
        matmul_flop=10**10,
        other_flop=10**8,
        bytes=10**9,
        written_bytes=10**8,
        launches=30,
        gathered_rows=10**5,
        gathered_bytes=10**8,
        scattered_rows=0,
    )
    assert len(msgspec.json.encode(found)) < 200  # of records of 4.6 kB
    assert msgspec.json.decode(msgspec.json.encode(found), type=Executed) == found
