"""Variables of the user's that change numbers: passed on and recorded, or named as dropped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _command import call

from backends.discovery import backends
from backends.ops import Device
from harness.records.store import load
from harness.worker import variables
from harness.worker.environment import environment


def of(environ, tmp_path, monkeypatch, *devices):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    numpy = backends()[0]["numpy"]
    servers = [environment(numpy, Device(device), 2, tmp_path) for device in devices or ("cpu",)]
    return variables.of_user(environ, servers)


@pytest.mark.parametrize(
    "name",
    [
        *("OMP_NUM_THREADS", "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "MKL_DYNAMIC", "KMP_AFFINITY", "TORCH_LOGS"),
        *("OPENBLAS_CORETYPE", "TORCHINDUCTOR_MAX_AUTOTUNE", "ONEDNN_MAX_CPU_ISA", "MALLOC_ARENA_MAX", "LD_PRELOAD"),
        *("GOMP_CPU_AFFINITY", "GLIBC_TUNABLES", "JAX_ENABLE_X64", "CFLAGS", "CPATH", "DNNL_VERBOSE"),
    ],
)
@pytest.mark.fault("a variable that changes numbers, in the user's environment", "options")
def test_what_changes_numbers_and_is_not_passed_on_is_named(name, tmp_path, monkeypatch):
    passed, dropped = of({name: "1"}, tmp_path, monkeypatch)
    assert (passed, dropped) == ({}, [name])
    assert variables.note(dropped).startswith(f"not passed on from your environment: {name}; ")


def test_compilers_are_passed_on_and_recorded_with_nobody_s_home(tmp_path, monkeypatch):
    compiler = f"{Path.home()}/bin/clang++"
    passed, dropped = of({"CXX": compiler, "CC": "gcc-13"}, tmp_path, monkeypatch)
    assert passed == {"CXX": "~/bin/clang++", "CC": "gcc-13"}
    assert dropped == []


def test_what_some_of_the_servers_get_is_recorded_and_named(tmp_path, monkeypatch):
    assert of({"XLA_FLAGS": "--x"}, tmp_path, monkeypatch, "cpu", "cuda") == ({"XLA_FLAGS": "--x"}, ["XLA_FLAGS"])


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "EDITOR", "TF_CLI_CONFIG_FILE", "CUDA_VERSION", "OMPHALOS", "TRITON_CACHE_DIR"]
)
def test_what_changes_no_number_is_not_spoken_of(name, tmp_path, monkeypatch):
    assert of({name: "1"}, tmp_path, monkeypatch) == ({}, [])
    assert variables.note([]) is None


def test_a_value_that_every_server_has_anyway_is_recorded(tmp_path, monkeypatch):
    assert of({"OMP_NUM_THREADS": "2"}, tmp_path, monkeypatch) == ({"OMP_NUM_THREADS": "2"}, [])


def test_a_run_says_it_in_a_note_and_on_stderr(tmp_path):
    arguments = ["run", "--preset", "smoke", "--workload", "stream", "--backend", "numpy", "--out", str(tmp_path / "r")]
    out = call(*arguments, "--threads", "1", OMP_NUM_THREADS="3", CXX="g++")
    assert out.returncode == 0, out.stderr
    (said,) = [
        line for line in out.stderr.splitlines() if line.startswith("note: not passed on from your environment: ")
    ]
    assert "OMP_NUM_THREADS" in said
    info = load(tmp_path / "r").info
    assert any("OMP_NUM_THREADS" in note for note in info.notes)
    assert info.settings[f"{variables.RECORDED}CXX"] == "g++"


def test_what_no_user_set_is_not_called_the_user_s(tmp_path):
    """Libraries set variables when they are imported, also those that the commands import."""
    arguments = ["run", "--preset", "smoke", "--workload", "stream", "--backend", "numpy", "--out", str(tmp_path / "r")]
    unset = dict.fromkeys(variables.of_user(os.environ, [{}])[1])
    out = call(*arguments, **unset)
    assert out.returncode == 0, out.stderr
    assert "not passed on" not in out.stderr
    assert not [note for note in load(tmp_path / "r").info.notes if "environment" in note]
