"""What a process that counts answers: counted on shapes from the inputs that were made, no framework imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from harness.records.record import Case, Executed
from harness.worker import counting
from harness.worker.messages import CountJob
from workloads.base import Formulation
from workloads.discovery import workloads


@pytest.fixture
def counted(tmp_path):
    (tmp_path / "inputs").mkdir()
    for name, shape in (("a", (6, 4)), ("b", (4, 2)), ("target", (6, 2))):
        np.save(tmp_path / "inputs" / f"{name}.npy", np.zeros(shape, np.float32))

    def count(**changes):
        fields = {
            "workload": "dense_matmul",
            "formulation": "nn",
            "params": {"m": 6, "k": 4, "n": 2, "grads": "both"},
            "dtype": "float32",
            "mode": "forward",
            "backend": "torch",
            "execution": "eager",
            "device": "cpu",
        }
        job = CountJob(cases=[Case(**{**fields, **changes})], data=[str(tmp_path)])
        measured = counting.count(job, lambda _: None)
        assert measured.status == "ok"
        return measured.counted[0]

    return count


def test_a_case_is_counted_from_its_inputs_for_every_execution(counted):
    found = counted()
    assert found.reason is None
    assert found.work["eager"] == Executed(
        matmul_flop=96,
        other_flop=0,
        bytes=4 * 44,
        written_bytes=48,
        launches=1,
        gathered_rows=0,
        scattered_rows=0,
    )
    assert found.work.keys() == {"eager", "graph", "compiled"}


def test_half_the_bytes_in_half_the_dtype(counted):
    assert counted(dtype="bfloat16").work["eager"].bytes == 2 * 44


def with_step(monkeypatch, step):
    """The dense product with a formulation of which the step is another."""
    plain = workloads()[0]["dense_matmul"]
    other = Formulation(note="", prepare=lambda ops, x, p: [ops.asarray(x["a"])], step=step, restore=lambda *_: {})
    changed = {"dense_matmul": replace(plain, formulations={"forward": {"nn": other}})}
    monkeypatch.setattr(counting, "workloads", lambda: (changed, ()))


def test_what_is_written_in_a_frameworks_own_words_says_so(counted, monkeypatch):
    def step(ops, p):
        import tensorflow as tf

        return lambda a: (tf.cumsum(a),)

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with_step(monkeypatch, step)
    found = counted()
    assert found.work == {}
    assert found.reason == ("the formulation imports tensorflow: it is written in a framework's own words, not in Ops")
    assert not any(isinstance(finder, counting._Refusing) for finder in sys.meta_path)


@pytest.mark.parametrize(
    ("act", "said"),
    [(lambda a: 1 / 0, "ZeroDivisionError: division by zero"), (lambda a: sys.exit(3), "SystemExit: 3")],
)
def test_what_the_authors_code_raises_is_the_reason(counted, monkeypatch, act, said):
    with_step(monkeypatch, lambda ops, p: act)
    assert counted().reason == said


def test_counting_imports_no_framework():
    code = (
        "import sys, numpy as np, workloads.counting as c; from workloads.discovery import workloads; "
        "f = workloads()[0]['dense_matmul'].formulations['forward']['nn']; "
        "c.traced(f, {'a': np.zeros((2, 3)), 'b': np.zeros((3, 4))}, {}); "
        "print(*{'torch', 'jax', 'tensorflow'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_a_record_grows_by_little():
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
