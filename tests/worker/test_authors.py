"""What an author gets wrong is told with file and line, the same under every compiler, and never as the framework's."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case
from harness.worker import printed
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob

SOURCE = Path(__file__).parents[1] / "helpers" / "faulty.py"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(SOURCE, tmp_path)
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    return tmp_path


def at(words):
    """FILE:LINE of the one line of the workload that has these words."""
    (number,) = (n for n, line in enumerate(SOURCE.read_text().splitlines(), 1) if words in line)
    return f"faulty.py:{number}"


class Asked:
    """A server of one backend, asked for cases of the faulty workload."""

    def __init__(self, folder, name):
        if importlib.util.find_spec(backends()[0][name].module) is None:
            pytest.skip(f"{name} is not installed")
        self.folder, self.backend = folder, backends()[0][name]
        self.server = Server(self.backend, Device("cpu"), 2, cache_folder())

    def data(self, fault="none", dtype="float32"):
        job = DataJob(
            workload="faulty",
            points=[({"n": 16, "fault": fault}, "forward")],
            dtype=dtype,
            seed=0,
            folders=[str(self.folder / "data")],
            threads=1,
        )
        return self.server.run(job, 120)

    def case(self, formulation, execution="eager", dtype="float32"):
        case = Case(
            workload="faulty",
            formulation=formulation,
            params={"n": 16, "fault": "none"},
            dtype=dtype,
            mode="forward",
            backend=self.backend.name,
            execution=execution,
            device="cpu",
        )
        job = CaseJob(
            case=case,
            data=str(self.folder / "data"),
            threads=2,
            cache=str(cache_folder()),
            sampling=Sampling(window_s=0.0, min_samples=4, sample_s=0.0),
            power=PowerModel(),
        )
        return self.server.run(job, 240)


@pytest.fixture
def numpy_server(folder):
    asked = Asked(folder, "numpy")
    with asked.server:
        assert asked.data().measured.status == "ok"
        yield asked


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_the_authors_exception_is_the_same_error_in_every_execution(folder, name):
    """Under torch.compile it was `unsupported`, in words of PyTorch's that were cut before the author's."""
    asked = Asked(folder, name)
    with asked.server:
        assert asked.data().measured.status == "ok"
        for execution in asked.backend.executions:
            for formulation, words, line in (
                ("value_error", "ValueError: rows must be 1, found 16", "raise ValueError(f"),
                ("type_error", "TypeError: object of type 'int' has no len()", "x + len("),
            ):
                answer = asked.case(formulation, execution)
                assert answer.measured.status == "error", execution
                assert answer.measured.reason == f"{words} ({at(line)})", execution
                assert words in answer.log
                assert "Traceback" in answer.log


@pytest.mark.parametrize(
    ("formulation", "reason", "line"),
    [
        ("bad_prepare", "KeyError: 'no_such_input'", 'x["no_such_input"]'),
        ("bad_restore", "IndexError: list index out of range", "outputs[2]"),
    ],
)
def test_an_exception_around_the_step_names_its_line(numpy_server, formulation, reason, line):
    assert numpy_server.case(formulation).measured.reason == f"{reason} ({at(line)})"


def test_outputs_in_another_dtype_than_the_cases_are_wrong_however_close(numpy_server):
    """A step that went on in float64 was recorded as float32 and `ok`."""
    wide = numpy_server.case("wide").measured
    assert (wide.status, wide.failure_class) == ("wrong", "type")
    assert wide.reason.startswith("output y is float64 in a case of float32; ")
    assert not wide.verdict.agrees
    assert wide.trial is None
    indices = numpy_server.case("float_indices").measured
    assert indices.reason.startswith("output largest is float64 in a case of float32; ")


def test_integers_such_as_indices_are_allowed(numpy_server):
    assert numpy_server.case("good").measured.status == "ok"


@pytest.mark.parametrize(
    ("fault", "line", "words"),
    [
        ("inputs", "no inputs here", "inputs of faulty raises KeyError: 'no inputs here'"),
        ("infinite inputs", "def _inputs", "inputs of faulty: 1 of 16 values of x are not finite"),
        ("reference", "no reference here", "reference of faulty raises ValueError: no reference here"),
        ("nan", "def _reference", "reference of faulty: 1 of 16 values of y are not finite"),
    ],
)
def test_inputs_and_references_that_nothing_can_be_held_against_are_blamed(numpy_server, fault, line, words):
    measured = numpy_server.data(fault).measured
    assert measured.status == "error"
    assert measured.reason == f"{at(line)}: {words} at n=16, fault={fault}, mode forward"


def test_what_a_step_prints_is_kept_and_where_nothing_is_printed_nothing_is(numpy_server):
    chatty = numpy_server.case("chatty")
    assert chatty.measured.status == "ok"
    assert chatty.log == "the step is made\n"
    assert numpy_server.case("good").log is None


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path):
    log = tmp_path / "log"
    assert printed.words(log) is None
    log.write_text("first\n" + "x" * (1 << 20) + "\nlast")
    kept = printed.words(log)
    assert kept.startswith("first\n")
    assert kept.endswith("\nlast")
    assert f"… {log.stat().st_size - printed.HEAD_BYTES - printed.TAIL_BYTES} bytes were left out …" in kept
    assert len(kept) < printed.HEAD_BYTES + printed.TAIL_BYTES + 100
    log.write_text("short")
    assert printed.words(log) == "short"
    log.write_text(" \n")
    assert printed.words(log) is None
