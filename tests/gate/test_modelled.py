"""What is modelled may be published as such, and as nothing else."""

from __future__ import annotations

import msgspec
import pytest
from _stored import RUN

from backends.discovery import backends
from harness.gate import modelled_rules, record_rules
from harness.gate.known import Known
from harness.modelling.class_errors import class_error
from harness.modelling.device_file import read_device
from harness.modelling.kernels import CLASSES
from harness.modelling.modelled_cases import described, modelled_records
from harness.planning.plan import Ask, cases
from harness.records.record import Energy, Verdict
from workloads.discovery import workloads

DEVICE = "model:today"
TODAY = described(read_device("today"))
INFO = msgspec.structs.replace(RUN, models={DEVICE: TODAY.text})
NAMES = ("case.device", "status", "reason", "verdict", "energy", "modelled")


@pytest.fixture(scope="module")
def records():
    definitions = workloads()[0]
    ask = Ask(preset="smoke", workloads=("unstructured_sparse",), backends=("numpy",), devices=(DEVICE,))
    errors = {f"{k} numpy": class_error(f"{k} numpy", [0.9, 1.0, 1.1]) for k in CLASSES if k != "scatter"}
    plan = cases(ask, definitions, backends()[0])
    return list(modelled_records(plan, {DEVICE: TODAY}, definitions, lambda _: errors, RUN.run))


@pytest.fixture
def modelled(records):
    return next(r for r in records if r.status == "modelled")


def codes(record):
    return [r.code for r in record_rules.check(record, "records.jsonl line 1", Known())]


def test_what_the_model_wrote_passes(records):
    assert {r.status for r in records} == {"modelled", "unsupported"}
    assert [code for record in records for code in codes(record)] == []
    assert list(modelled_rules.check_devices(INFO, records)) == []


def changed(record, **facts):
    return msgspec.structs.replace(record, **facts)


def figures(record, **facts):
    return changed(record, modelled=changed(record.modelled, **facts))


VERDICT = Verdict(agrees=True, max_abs_error=0.0, max_rel_error=0.0, rtol=1e-5, atol=None)
JOULES = Energy(
    gross_j=1.0, net_j=1.0, low_j=1.0, high_j=1.0, idle_w=None, source="counter", window_s=1.0, update_s=None
)
BROKEN = {
    "measured on the host": lambda r: changed(r, case=changed(r.case, device="cpu")),
    "compiled for": lambda r: changed(r, case=changed(r.case, device="tpu-aot:v5e")),
    "said to be ok": lambda r: changed(r, status="ok"),
    "said to be estimated": lambda r: changed(r, status="estimated"),
    "checked": lambda r: changed(r, verdict=VERDICT),
    "with joules of a counter": lambda r: changed(r, energy=JOULES),
    "without figures": lambda r: changed(r, modelled=None),
    "unsupported with figures": lambda r: changed(r, status="unsupported", reason="x"),
    "a time below 0": lambda r: figures(r, time_s=-1.0),
    "no number": lambda r: figures(r, time_s=float("nan")),
    "faster than its parts": lambda r: figures(r, time_s=r.modelled.time_s / 2),
    "bound by what is not the longest": lambda r: figures(r, bound_by="select"),
    "a class that there is not": lambda r: figures(r, kind="magic"),
    "validated by nothing": lambda r: figures(r, cases=0),
    "joules below 0": lambda r: figures(r, energy_j=-1.0),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_of_the_model_is_refused(what, modelled):
    assert codes(BROKEN[what](modelled)) == ["modelled"]


def test_without_a_figure_there_is_a_reason(records):
    record = next(r for r in records if r.status == "unsupported")
    assert codes(changed(record, reason=None)) == ["reason"]


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({}, "is not described in it"),
        ({DEVICE: TODAY.text + "\n# another\n"}, "is not described in it as its records have it"),
        ({DEVICE: TODAY.text, "model:x": "name = "}, "is no device"),
        ({DEVICE: TODAY.text, "model:x": TODAY.text.replace("float32 = 2", "float32 = -2")}, "is no device"),
        ({DEVICE: TODAY.text, "model:x": "a = " + "[" * 5000}, "is no device"),
        ({f"model:{k}": "" for k in range(101)}, "describes 101 devices"),
    ],
)
def test_a_device_that_the_run_does_not_hold_is_refused(models, said, records):
    found = list(modelled_rules.check_devices(changed(INFO, models=models), records))
    assert found
    assert said in found[0].what
