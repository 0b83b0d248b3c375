"""`doctor` looks: at each framework in a process of its own, and at cards through the driver."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from _command import call

from harness.cli import doctor
from harness.cli.doctor import Finding


class Nvml:
    """A driver with some cards, or that says no."""

    class NVMLError(Exception):
        pass

    def __init__(self, names, refusal=None):
        self.names, self.refusal, self.closed = names, refusal, 0

    def nvmlInit(self):  # noqa: N802
        if self.refusal:
            raise self.NVMLError(self.refusal)

    def nvmlShutdown(self):  # noqa: N802
        self.closed += 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=80 << 30)


TORCH, BLIND = Finding("PyTorch", True, "devices cpu, cuda"), Finding("JAX", True, "devices cpu")


def test_a_card_is_named_with_the_frameworks_that_see_it():
    nvml = Nvml([b"NVIDIA H100", "NVIDIA A100"])
    found = doctor._gpu([TORCH, BLIND], nvml)
    assert found.well
    assert found.found == "NVIDIA H100 (80 GiB), NVIDIA A100 (80 GiB); seen by PyTorch"
    assert nvml.closed == 1


def test_a_card_that_no_framework_sees_is_a_fault_with_what_to_do():
    found = doctor._gpu([BLIND], Nvml(["NVIDIA H100"]))
    assert not found.well
    assert "seen by no framework that is installed" in found.found
    assert "built for CUDA" in found.fix


@pytest.mark.parametrize(
    ("nvml", "words"),
    [
        (Nvml([], "NVML Shared Library Not Found"), "none found (NVML: NVML Shared Library Not Found)"),
        (Nvml([]), "none found (the driver is there and shows no card)"),
    ],
)
def test_no_card_is_said_plainly(nvml, words):
    assert doctor._gpu([TORCH], nvml) == Finding("GPU", True, words)


def test_doctor_says_what_is_there():
    out = call("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out.stdout)}
    assert findings["NumPy"]["well"]
    assert "devices cpu" in findings["NumPy"]["found"]
    for name, title in (("torch", "PyTorch"), ("jax", "JAX"), ("tensorflow", "TensorFlow")):
        if name in os.environ.get("HWLOTTERY_REQUIRE", "").split(","):
            assert findings[title]["well"], findings[title]
            assert out.returncode == 0
    assert "none found" in findings["GPU"]["found"] or "seen by" in findings["GPU"]["found"]
    assert "never run" in findings["TPU"]["found"]


@pytest.mark.parametrize(
    ("script", "well", "said"),
    [
        ("#!/bin/sh\necho mine 1.0\n", True, "mine 1.0"),
        ("#!/bin/sh\nexit 1\n", False, "does not run"),
        (None, False, "is not found"),
    ],
)
@pytest.mark.fault("$CXX that names another compiler, or none", "options")
def test_the_compiler_that_is_looked_at_is_the_one_that_will_be_used(tmp_path, monkeypatch, script, well, said):
    path = tmp_path / "my-c++"
    if script is not None:
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    finding = doctor._compiler()
    assert finding.well == well
    assert f"{path} ($CXX)" in finding.found
    assert said in finding.found
    assert well or finding.fix


def test_without_it_the_compiler_is_g_plus_plus_and_no_other_will_do(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    other = tmp_path / "clang++"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    finding = doctor._compiler()
    assert not finding.well
    assert f"export CXX={other}" in finding.fix
