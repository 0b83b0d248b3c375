"""The fork server of a GPU: CUDA must not have been started in it; and one that is only asked imports nothing ahead."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.worker import server
from harness.worker.client import Server
from harness.worker.messages import DevicesJob


def test_a_server_in_which_cuda_is_not_started_is_clean():
    assert server.started_cuda(SimpleNamespace(cuDeviceGetCount=lambda _: server.CUDA_NOT_INITIALIZED)) is None


@pytest.mark.parametrize("code", [0, 100])
def test_a_server_in_which_an_import_started_cuda_says_so_before_every_case_dies_of_it(code):
    """A fork cannot use it: each case would end with an initialization error of CUDA's."""
    said = server.started_cuda(SimpleNamespace(cuDeviceGetCount=lambda _: code))
    assert f"cuDeviceGetCount returns {code}" in said
    assert "nvidia-smi" in said


def test_without_a_driver_nothing_can_have_started_it():
    assert server.started_cuda(SimpleNamespace()) is None


@pytest.mark.parametrize(("device", "asked"), [("cuda:1", True), ("cpu", False), ("tpu", False)])
def test_only_a_server_of_a_gpu_is_asked(monkeypatch, device, asked):
    """Its answer is what the run is told in place of every case."""
    ready = []
    monkeypatch.setenv("HWLOTTERY_DEVICE", device)
    monkeypatch.setenv("HWLOTTERY_THREADS", "1")
    monkeypatch.setattr(server, "started_cuda", lambda: "it was started")
    monkeypatch.setattr(server, "_answer", lambda stream, message: ready.append(message))
    for name in ("_die_with_parent", "_keep_to"):
        monkeypatch.setattr(server, name, lambda *_: None)
    monkeypatch.setattr(server.strays, "adopt", lambda: None)
    monkeypatch.setattr(server.gc, "freeze", lambda: None)
    monkeypatch.setattr(server.os, "fdopen", lambda *_, **__: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(server.os, "dup2", lambda *_: None)
    monkeypatch.setattr(server.sys, "stdin", SimpleNamespace(buffer=[]))
    server.main("numpy", bare=True)
    assert ready[0].error == ("it was started" if asked else None)


def test_a_bare_server_answers_and_has_imported_nothing_ahead(tmp_path):
    """A run asks for its devices before it begins: the compilers that cases are forked with take 15 s to import."""
    numpy = backends()[0]["numpy"]
    with Server(numpy, Device("cpu"), 1, tmp_path, bare=True) as bare:
        assert bare.run(DevicesJob(), 60).measured.answer == ["cpu"]
    imported = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.importlib, "import_module", imported.append)
        for is_bare, count in ((True, 0), (False, len((*numpy.preload, *server.case.PRELOAD)))):
            imported.clear()
            server.preload("numpy", "cpu", bare=is_bare)
            assert len(imported) == count
