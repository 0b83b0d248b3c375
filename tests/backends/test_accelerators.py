"""Accelerators that a framework names (mps, xpu, ROCm's cuda, PJRT plug-ins), with stand-ins: none was ever met."""

from __future__ import annotations

import importlib
import importlib.metadata
from types import SimpleNamespace

import pytest
from _opened import installed

from backends import jax_device, torch_accelerator, torch_backend
from backends.device import canonical, kind_of
from backends.ops import Device, Unsupported
from harness.measuring import gpu_conditions
from harness.measuring.energy import sources
from harness.measuring.energy.meter import Unavailable
from harness.measuring.settings import PowerModel
from harness.worker.environment import environment, memory_limit

# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["mps", "xpu:1", "npu", "hpu:3", "mtia", "neuron", "iree_vulkan:2"])
def test_what_a_framework_may_name_is_a_device(text):
    assert str(Device.parse(text)) == text
    assert kind_of(text) == text.partition(":")[0]
    assert Device.parse(text).well_known is not text.startswith(("neuron", "iree"))


@pytest.mark.parametrize("text", ["cuda:0", "cuda", "cuda:00"])
def test_one_device_has_one_name(text):
    """`cuda:0` was refused with the words that PyTorch sees cuda."""
    assert canonical(text) == "cuda"


@pytest.mark.parametrize(
    "text",
    ["gpu", "rocm", "cdua", "cuda:x", "cuda:²", "Neuron", "x", "a b", "<b>", "cpu:1", "cudaa", "tpu_aot", "", "xpu:-1"],
)
def test_a_slip_is_no_accelerator(text):
    with pytest.raises(ValueError, match=r"is not one of cpu, cuda\[:i\], tpu\[:i\], mps"):
        Device.parse(text)
    assert (canonical(text), kind_of(text)) == (text, "")


# -- PyTorch ----------------------------------------------------------------------------------------------------------


class Torch:
    """As much of torch as the paths use, with two devices of the accelerator that it names."""

    def __init__(self, kind):
        self.kind, self.asked = kind, []
        self.cuda = SimpleNamespace(is_available=lambda: False)
        self.accelerator = SimpleNamespace(
            current_accelerator=lambda check_available: None if self.kind is None else SimpleNamespace(type=self.kind),
            device_count=lambda: 2,
            synchronize=lambda index: self.asked.append(("synchronize", index)),
        )

    def device(self, kind, index):
        return SimpleNamespace(type=kind, index=index)

    def zeros(self, n, device):
        self.asked.append(("zeros", device.type, device.index))


def test_pytorch_is_asked_for_its_accelerator_by_the_name_that_it_has(monkeypatch):
    monkeypatch.setattr(torch_accelerator, "count", lambda torch: 0)
    seen = {kind: list(map(str, torch_accelerator.devices(Torch(kind)))) for kind in ("xpu", "mps", "cuda", None)}
    assert seen == {"xpu": ["xpu", "xpu:1"], "mps": ["mps", "mps:1"], "cuda": [], None: []}
    monkeypatch.setattr(torch_backend.importlib, "import_module", lambda name: Torch("xpu"))
    assert list(map(str, torch_backend.devices())) == ["cpu", "xpu", "xpu:1"]


def test_pytorch_opens_it_by_a_tensor_and_waits_for_the_device_alone():
    """Nothing is deferred there, and the TPU's package is not asked."""
    torch = Torch("xpu")
    target = torch_accelerator.opened(torch, Device("xpu", 1))
    torch_accelerator.wait(torch, target, ["y"])
    assert torch.asked == [("zeros", "xpu", 1), ("synchronize", 1), ("synchronize", 1)]


def test_the_allocators_peak_is_unknown_where_pytorch_keeps_none():
    torch = Torch("mps")
    target = torch.device("mps", 0)
    torch_accelerator.reset_peak_bytes(torch, target)
    assert torch_accelerator.peak_bytes(torch, target) is None
    torch.accelerator.max_memory_allocated = lambda index: 4096
    assert torch_accelerator.peak_bytes(torch, target) == 4096


def test_a_kind_that_is_no_accelerator_of_this_machine_is_refused_though_it_takes_tensors():
    """`meta` computes nothing at all; and nothing ever runs on the host instead."""
    with pytest.raises(Unsupported, match="PyTorch has no meta here: it names xpu"):
        torch_accelerator.opened(Torch("xpu"), Device("meta"))
    with pytest.raises(Unsupported, match="PyTorch has no xpu here: it names no accelerator"):
        torch_accelerator.opened(Torch(None), Device("xpu"))


def test_a_package_that_brings_an_accelerator_registers_it_when_it_is_wanted(monkeypatch):
    """Autoload is off, so that a fork server starts no runtime."""
    torch = Torch(None)
    entry = SimpleNamespace(load=lambda: lambda: setattr(torch, "kind", "npu"))
    groups = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: groups.append(group) or [entry])
    assert torch_accelerator.opened(torch, Device("npu")).type == "npu"
    assert groups == ["torch.backends"]
    torch.kind = None
    assert list(map(str, torch_accelerator.devices(torch)))[-2:] == ["npu", "npu:1"]


def test_the_real_pytorch_names_no_accelerator_here_that_it_does_not_have():
    devices = installed("torch").devices()
    assert devices[0] == Device("cpu")
    for name in ("xpu", "mps", "meta", "neuron"):
        if Device(name) not in devices:
            with pytest.raises(Unsupported, match=f"PyTorch has no {name} here"):
                installed("torch").open(Device(name))


# -- JAX --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plug_in(monkeypatch):
    """JAX with the host and two devices of a plug-in whose platform is `METAL`."""
    installed("jax")
    jax = importlib.import_module("jax")
    backend = importlib.import_module("jax.extend.backend")
    of = {
        "cpu": [SimpleNamespace(platform="cpu")],
        "METAL": [SimpleNamespace(platform="METAL", id=i) for i in range(2)],
        "tt": [SimpleNamespace(platform="tt")],
    }
    monkeypatch.setattr(backend, "backends", lambda: of)
    monkeypatch.setattr(jax, "local_devices", lambda backend=None: of[backend])
    return of


def test_jax_lists_what_its_plug_ins_have_and_calls_a_gpu_as_pytorch_does(plug_in):
    assert list(map(str, jax_device.devices())) == ["cpu", "mps", "mps:1", "tt"]
    assert jax_device.find(Device("mps", 1)) is plug_in["METAL"][1]
    assert jax_device.find(Device("tt")) is plug_in["tt"][0]
    assert [jax_device.kind_of(name) for name in ("gpu", "rocm", "oneapi", "tt-x")] == ["cuda", "cuda", "xpu", "tt_x"]


def test_jax_refuses_an_accelerator_that_no_plug_in_has(plug_in):
    with pytest.raises(Unsupported, match="JAX has no device xpu here: it found 0 of kind xpu"):
        jax_device.find(Device("xpu"))
    with pytest.raises(Unsupported, match="JAX has no device mps:2 here: it found 2"):
        jax_device.find(Device("mps", 2))


@pytest.mark.parametrize(
    ("plug_ins", "platform"),
    [([], "cuda"), (["xla_cuda13"], "cuda"), (["xla_rocm7"], "rocm"), (["xla_cuda12", "xla_rocm7"], "cuda")],
)
def test_a_gpu_of_amds_is_cuda_here_and_rocm_to_jax(monkeypatch, plug_ins, platform):
    monkeypatch.setattr(jax_device, "_plug_ins", lambda: plug_ins)
    assert jax_device.platform("cuda") == platform


def test_jax_looks_at_all_its_plug_ins_for_what_has_no_platform_of_that_name(tmp_path):
    """And at one platform alone where the name is known, so that it never falls back."""
    environ = installed("jax").environ
    assert [environ(Device(kind), 1, tmp_path).get("JAX_PLATFORMS") for kind in ("cpu", "tpu", "mps", "tt")] == [
        "cpu", "tpu", None, None,
    ]  # fmt: skip


def test_no_plug_in_is_made_up_where_there_is_none():
    assert all(isinstance(name, str) for name in jax_device._plug_ins())


# -- the harness ------------------------------------------------------------------------------------------------------


def test_what_says_where_a_runtime_is_comes_through_to_its_device_only(tmp_path, monkeypatch):
    names = {"ZE_AFFINITY_MASK": "xpu", "PJRT_NAMES_AND_LIBRARY_PATHS": "tt", "HIP_VISIBLE_DEVICES": "cuda"}
    for name in names:
        monkeypatch.setenv(name, "here")
    numpy = installed("numpy")
    for name, kind in names.items():
        assert name in environment(numpy, Device(kind), 1, tmp_path)
        assert name not in environment(numpy, Device("cpu"), 1, tmp_path)
        assert name not in environment(numpy, Device.parse("tpu-aot:v5e"), 1, tmp_path)


def test_an_accelerator_has_no_limit_of_the_hosts_memory_and_no_energy_that_can_be_read():
    for kind in ("mps", "xpu", "neuron"):
        assert memory_limit(Device(kind), 1 << 30) is None
        assert sources.choose(Device(kind), PowerModel()).source == "none"


def test_any_accelerator_is_held_by_one_run_at_a_time_by_its_name(tmp_path):
    def no_driver(index):
        raise Unavailable("the CUDA driver is not installed")

    for text in ("xpu:1", "cuda"):  # of AMD's, for which no driver of NVIDIA's speaks
        with gpu_conditions.alone(Device.parse(text), pytest.fail, no_driver, tmp_path):
            pass
    assert len(list(tmp_path.iterdir())) == 2


def test_caches_of_other_accelerators_are_not_emptied_and_the_record_says_so():
    ops = SimpleNamespace(device=Device("xpu"), flush_cache=pytest.fail)
    found = gpu_conditions.Conditions(ops, 1 << 20, pytest.fail)
    assert (found.flush, found.between) == (None, None)
    assert found.settings() == {"l2": "warm: caches are emptied on CUDA only"}
