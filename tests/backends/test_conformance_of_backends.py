"""Every installed backend keeps the contract, and a backend that breaks it in one way is told of that way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from _opened import BACKENDS, installed

from backends.conformance import faults
from backends.numpy_ops import NumpyOps
from backends.ops import Compiled, Device, Unsupported

CPU = Device("cpu")
# The C++ compiler takes 2 s instead of 13 without the probes for vector instructions and precompiled headers.
QUICK = {"TORCHINDUCTOR_VEC_ISA_OK": "0", "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0"}


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_it_keeps_the_contract(name, monkeypatch):
    for variable, value in QUICK.items():
        monkeypatch.setenv(variable, value)
    assert faults(installed(name), CPU) == []


def broken(**methods):
    """The faults of a backend that is NumPy's but for these methods."""
    kind = type("BrokenOps", (NumpyOps,), {"framework": "Broken", **methods})
    return faults(replace(BACKENDS["numpy"], title="Broken", open=lambda device: kind(device)), CPU)


class Lazy:
    """An output that is computed when it is read."""

    def __init__(self, make):
        self.make = make


def lazy(waited_for):
    """Outputs that are computed when they are read, of which `wait` waits for the first `waited_for`."""

    def compile(self, fn, execution, args, keep=None):
        if execution != "eager":
            raise Unsupported("there is no compiler")

        def call(*xs):
            return tuple(Lazy(lambda i=i: fn(*xs)[i]) for i in range(2))

        return Compiled(call=call)

    def wait(self, outputs):
        for output in outputs[:waited_for]:
            self.to_numpy(output)

    def to_numpy(self, x):
        return np.asarray(x.make() if isinstance(x, Lazy) else x)

    return {"compile": compile, "wait": wait, "to_numpy": to_numpy}


@pytest.mark.parametrize("waited_for", [0, 1])
def test_a_wait_that_waits_for_nothing_or_for_the_first_output_alone_is_a_fault(waited_for):
    (fault,) = broken(**lazy(waited_for))
    assert fault.startswith("Broken on cpu: wait returns after ")
    assert fault.endswith("it must wait until every output is computed")


def test_an_array_that_shares_the_hosts_memory_is_a_fault():
    found = broken(asarray=lambda self, x: x)
    assert (
        "Broken on cpu: float32 () comes back with other values; asarray must copy, and not share, the host's" in found
    )


def test_a_dtype_that_changes_is_a_fault():
    found = broken(softmax=lambda self, x, axis: NumpyOps.softmax(self, x, axis).astype(np.float64))
    assert found == ["Broken on cpu: softmax of float32 gives float64; the dtype of the operands must be kept"]
    found = broken(to_numpy=lambda self, x: np.asarray(x, np.float32))
    assert "Broken on cpu: float64 (3, 1, 2) comes back from the device as float32 (3, 1, 2)" in found


def test_another_number_and_another_shape_are_faults():
    (fault,) = broken(relu=lambda self, x: np.abs(x))
    assert fault == "Broken on cpu: relu differs from NumPy's by 2"
    (fault,) = broken(expand_dims=lambda self, x, axis: x)
    assert fault == "Broken on cpu: expand_dims gives the shape (4, 6), and (4, 1, 6) was expected"


def test_a_refusal_without_a_word_is_a_fault():
    def refuse(self, *_, **__):
        raise Unsupported

    (fault,) = broken(einsum=refuse)
    assert fault == "Broken on cpu: einsum raises Unsupported without a word; say what the framework lacks"


def test_a_refusal_of_the_core_and_an_error_are_faults():
    def refuse(self, x, y):
        raise Unsupported("there is no maximum")

    found = broken(maximum=refuse)
    assert "Broken on cpu: maximum is Unsupported (there is no maximum), and a backend cannot do without it" in found

    def fail(self, x, axis=-1, descending=False):
        raise NotImplementedError("todo")

    (fault,) = broken(sort=fail)
    assert fault == (
        "Broken on cpu: sort raises NotImplementedError (todo); what a framework lacks is Unsupported, in its own words"
    )


def test_executions_must_be_those_that_it_names():
    (fault,) = broken(compile=lambda self, fn, execution, args, keep=None: Compiled(call=fn))[:1]
    assert fault == (
        "Broken on cpu: compile for graph succeeds, and the backend does not name this execution: raise Unsupported or "
        "name it"
    )

    def refuse(self, fn, execution, args, keep=None):
        raise Unsupported("there is nothing to call")

    assert broken(compile=refuse) == [
        "Broken on cpu: compile for eager is Unsupported (there is nothing to call), "
        "and the backend names this execution"
    ]


def test_a_second_trace_and_another_result_are_faults():
    def compile(self, fn, execution, args, keep=None):
        if execution != "eager":
            raise Unsupported("there is no compiler")
        calls = []

        def call(*xs):
            calls.append(1)
            return tuple(x + np.float32(len(calls) == 2) for x in fn(*xs))

        return Compiled(call=call, traces=lambda: len(calls))

    found = broken(compile=compile)
    assert "traced again when it is called again with the same arguments" in found[0]
    assert found[1:] == ["Broken on cpu: compile for eager differs from NumPy's by 1"] * 2


def test_a_device_that_does_not_open_is_no_fault_where_it_says_why():
    assert faults(BACKENDS["numpy"], Device("cuda")) == []

    def refuse(device):
        raise Unsupported

    (fault,) = faults(replace(BACKENDS["numpy"], open=refuse), CPU)
    assert "opening the device raises Unsupported without a word" in fault
