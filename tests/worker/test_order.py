"""The order inside the worker: what is compiled for the window is compiled before compilations are counted."""

from __future__ import annotations

import importlib.util

import pytest

from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case
from harness.worker import case
from harness.worker.messages import CaseJob, DataJob

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
PARAMS = {"m": 48, "k": 32, "n": 8, "grads": "both"}


class FlushedAtOnce:
    """A GPU's conditions, on the CPU: JAX compiles what empties the caches, and runs it once when it is made."""

    between = None

    def __init__(self, ops, live_bytes):
        import jax
        import jax.numpy as jnp

        zeros = jax.device_put(jnp.zeros(1013))
        read = jax.jit(lambda x: (x * 2 + 1).sum())  # a new function: another compilation every time
        self.flush = lambda: read(zeros).block_until_ready()
        self.prepare()

    def prepare(self):
        self.flush()

    def keep(self, samples):
        return list(samples)

    def settings(self):
        return {}


class FlushedLater(FlushedAtOnce):
    """The same whose first flush is the one before the first sample."""

    def prepare(self):
        pass


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """The answer of a case under the conditions given."""

    def measure(conditions):
        monkeypatch.setattr(case, "Conditions", conditions)
        folder, phase = str(tmp_path / "data"), tmp_path / "phase"
        points = [(PARAMS, "forward")]
        data = DataJob(workload="dense_matmul", points=points, dtype="float32", seed=0, folders=[folder], threads=1)
        assert case.answer(data, phase).status == "ok"
        job = CaseJob(
            case=Case(
                workload="dense_matmul",
                formulation="nn",
                params=PARAMS,
                dtype="float32",
                mode="forward",
                backend="jax",
                execution="compiled",
                device="cpu",
            ),
            data=folder,
            threads=2,
            cache=str(tmp_path / "cache"),
            sampling=Sampling(window_s=0.0, min_samples=4, sample_s=0.0),
            power=PowerModel(),
        )
        return case.answer(job, phase)

    return measure


def test_compiling_the_first_flush_of_a_cache_is_no_retrace(measured):
    """It was counted as one, and every case of JAX on a GPU below 256 MiB ended as an error."""
    answer = measured(FlushedAtOnce)
    assert (answer.status, answer.reason) == ("ok", None)
    assert answer.trial.calls_per_sample == 1


def test_what_is_compiled_inside_the_window_is_counted(measured):
    """So the test above would fail if compilations were counted from before the conditions are made."""
    answer = measured(FlushedLater)
    assert answer.status == "error"
    assert "more times inside the timed region" in answer.reason
