"""Compiling for a GPU that is not there: cards, packages and their versions, refusals, and three routes for real."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from backends import ahead, aot, gpu_target, tpu_target
from backends.ahead import Target
from backends.discovery import backends
from backends.dtypes import PRECISION, TF32
from backends.gpu_cards import GPU_CARDS, REFUSED
from backends.install import install_hint
from backends.ops import TPU_CHIPS, Device, Unsupported
from harness.cli import doctor
from harness.cli.listing import listing
from harness.errors import UserError
from harness.measuring.settings import PowerModel, Sampling
from harness.planning import plan
from harness.records.record import Case
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob
from workloads.discovery import workloads

ROOT = Path(__file__).resolve().parents[2]
H100 = "gpu-aot:H100"
needs_plugin = pytest.mark.skipif(
    aot.missing(Device.parse(H100)) is not None,
    reason="the extra gpu-aot is not installed: its compiler is 460 MB and is loaded whenever JAX starts",
)


# -- cards -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["gpu-aot:K80", "gpu-aot:", "gpu-aot", "gpu-aot:v5e", "gpu-aot:h100"])
def test_an_unknown_card_is_refused_with_the_known_ones(text):
    """One sentence, before anything starts."""
    with pytest.raises(ValueError, match="names no card to compile for; known are V100, A100, H100, H200, B200"):
        Device.parse(text)
    with pytest.raises(UserError, match="known are V100, A100, H100, H200, B200"):
        plan.cases(plan.Ask(devices=(text,)), workloads()[0], backends()[0])


def test_a_card_whose_compiler_does_not_start_without_one_is_refused_in_its_words():
    for card in REFUSED:
        with pytest.raises(ValueError, match=r"No AMD GPUs were found.*known are V100"):
            Device.parse(f"gpu-aot:{card}")


@pytest.mark.parametrize("name", list(GPU_CARDS))
def test_a_card_is_described_from_public_sources_by_the_fields_that_every_version_knows(name):
    card = GPU_CARDS[name]
    assert all(source.startswith("https://") for source in card.sources)
    assert f"core_count: {card.multiprocessors}\n" in card.text(name)
    assert card.text(name).count("{") == card.text(name).count("}")
    assert ("ACCELERATED_FEATURES" in card.text(name)) == (float(card.capability) >= 9)
    # 2 FLOP a clock and unit: the rate in the hardware table is made of the same facts.
    rate = 2 * card.multiprocessors * card.float32_units * card.clock_ghz * 1e9
    known = aot_hardware(name)
    assert rate == pytest.approx(known.peak_flop_per_s["float32"], rel=0.02)
    assert card.bandwidth_bytes_per_s == known.bandwidth_bytes_per_s
    assert card.memory_bytes == known.memory_bytes


def aot_hardware(name):
    from harness.machine import hardware

    return hardware.of_chip(name)


# -- packages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["jax_cuda12_plugin", "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc", "jax"])
def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch, module):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else SimpleNamespace())
    why = aot.missing(Device.parse(H100))
    assert "compiling for gpu-aot:H100 needs" in why
    assert why.endswith(f"is not installed here; try: {install_hint('gpu-aot')}")
    with pytest.raises(Unsupported, match="is not installed here"):
        aot.target(Device.parse(H100))


def test_a_package_below_one_that_is_missing_is_missing():
    """`nvidia.cuda_nvcc` cannot even be looked for where there is no `nvidia`."""
    assert not aot._there("no_such_package_of_ours.part")


def test_versions_that_do_not_fit_are_both_named(monkeypatch):
    """JAX itself would leave such a plug-in aside with a warning, and run on the host."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    found = {"jaxlib": "0.10.2", "jax-cuda12-plugin": "0.12.0.1", "jax-cuda12-pjrt": "0.12.0.1"}
    monkeypatch.setattr(aot, "versions", lambda *names: {name: found[name] for name in names})
    why = aot.missing(Device.parse(H100))
    assert "packages of one version, found jaxlib 0.10.2, jax-cuda12-plugin 0.12.0.1" in why
    assert why.endswith(install_hint("gpu-aot"))
    found |= {"jaxlib": "0.12.0.1"}
    assert aot.missing(Device.parse(H100)) is None


def test_cards_are_listed_and_looked_at_where_they_can_be_compiled_for(monkeypatch):
    """A device that is offered can be asked for; without its packages none is, and the other kind's still are."""
    only_tpu = lambda self, what: None if self.kind == "tpu-aot" else "needs jax-cuda12-plugin; try: pip"  # noqa: E731
    monkeypatch.setattr(aot.Compiler, "missing", only_tpu)
    listed = {row["device"] for row in listing("devices")}
    assert not any(device.startswith("gpu-aot") for device in listed)
    assert f"tpu-aot:{next(iter(TPU_CHIPS))}" in listed
    finding = doctor._ahead("gpu-aot")
    assert (finding.well, finding.found) == (False, "needs jax-cuda12-plugin")
    assert "[gpu-aot]" in finding.fix
    monkeypatch.setattr(aot.Compiler, "missing", lambda self, what: None)
    assert {f"gpu-aot:{card}" for card in GPU_CARDS} <= {row["device"] for row in listing("devices")}


@pytest.mark.parametrize("name", ["jax", "torch", "tensorflow"])
def test_the_environment_keeps_everything_on_the_host(name, tmp_path):
    """No card is looked for, no start-up check of CUDA's libraries is made, and no cache shortens a compilation."""
    environ = backends()[0][name].environ(Device.parse(H100), 2, tmp_path)
    assert environ["JAX_PLATFORMS"] == "cpu"
    assert environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] == "1"
    assert environ["CUDA_VISIBLE_DEVICES"] == ""
    assert "JAX_COMPILATION_CACHE_DIR" not in environ
    assert "JAX_SKIP_CUDA_CONSTRAINTS_CHECK" not in backends()[0][name].environ(Device("cpu"), 2, tmp_path)


def test_float32_is_float32_as_where_a_card_runs(monkeypatch):
    """The TPU's variable has no say; a run that asks TF32 has it in every framework, of which none says its own."""
    monkeypatch.setenv("HWLOTTERY_TPU_PRECISION", "default")
    assert aot.precision(Device.parse(H100)) == "highest"
    monkeypatch.setenv(PRECISION, TF32)
    assert aot.precision(Device.parse(H100)) == "default"
    monkeypatch.setenv("HWLOTTERY_TPU_PRECISION", "highest")
    assert aot.precision(Device.parse("tpu-aot:v5e")) == "highest"


def test_the_record_says_tf32_of_a_card_and_not_of_a_tpu():
    card, tpu = object.__new__(gpu_target.CardTarget), object.__new__(tpu_target.Chip)
    assert [card.settings(said)["tf32"] for said in ("highest", "default")] == [False, True]
    assert "tf32" not in tpu.settings("default")


def test_only_compiling_is_planned():
    ask = plan.Ask(preset="smoke", devices=(H100,), workloads=("capsule_routing",))
    planned = plan.cases(ask, workloads()[0], backends()[0])
    assert {p.case.execution for p in planned} == {"compiled"}


# -- the target, with a compiler made up -------------------------------------------------------------------------------


def test_a_workspace_that_cusparse_cannot_tell_is_of_no_bytes_and_one_that_it_can_is_kept():
    """The library asks a card; the call stands in the program all the same."""

    def refusing(*args):
        raise RuntimeError("The cuSPARSE library was not found.")

    module = SimpleNamespace(
        build_csr_matmat_descriptor=refusing, build_coo_matvec_descriptor=lambda *args: (64, b"x"), other=refusing
    )
    gpu_target._let_cusparse_be_absent(module)
    assert module.build_csr_matmat_descriptor("f32", 4) == (0, b"")
    assert module.build_coo_matvec_descriptor("f32", 4) == (64, b"x")
    with pytest.raises(RuntimeError, match="not found"):
        module.other()


def test_xla_takes_the_assembler_of_our_package_whatever_is_on_the_path(monkeypatch):
    """That of CUDA 13 knows no V100, and TensorFlow's programs were refused by it: "ptxas too old"."""
    monkeypatch.setitem(sys.modules, "nvidia.cuda_nvcc", SimpleNamespace(__path__=["/ours/cuda_nvcc"]))
    debug = SimpleNamespace(xla_gpu_cuda_data_dir="")
    options = SimpleNamespace(executable_build_options=SimpleNamespace(debug_options=debug))
    assert object.__new__(gpu_target.CardTarget)._options(options) is options
    assert debug.xla_gpu_cuda_data_dir == "/ours/cuda_nvcc"


class Refusing(Target):
    """A target that cannot be described."""

    packages = ("jax-cuda12-plugin",)
    kind = "cuda"

    def _described(self, topologies, device):
        raise NotImplementedError("topology not implemented for cuda")


def test_a_target_that_jax_cannot_describe_is_refused_in_its_words():
    pytest.importorskip("jax")
    import jax

    before = jax.config.jax_default_matmul_precision, jax.config.jax_enable_compilation_cache
    try:
        with pytest.raises(Unsupported, match=r"^topology not implemented for cuda$"):
            Refusing(Device.parse(H100), "pip", "highest")
    finally:
        jax.config.update("jax_default_matmul_precision", before[0])
        jax.config.update("jax_enable_compilation_cache", before[1])


def test_a_route_that_another_version_broke_names_every_version():
    with pytest.raises(Unsupported) as refusal, ahead.route("XLA's description of a card", *gpu_target.PACKAGES):
        raise TypeError("unexpected keyword argument 'target_config'")
    assert "broke at XLA's description of a card: unexpected keyword" in str(refusal.value)
    assert "jax-cuda12-plugin" in str(refusal.value)
    assert "seen working with 12.9.86" in str(refusal.value)


# -- for real ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["jax", "torch", "tensorflow"])
def server(request, tmp_path_factory):
    """A fork server that compiles for an H100, and a folder for inputs."""
    if importlib.util.find_spec(backends()[0][request.param].module) is None:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "torch" and importlib.util.find_spec("torchax") is None:
        pytest.skip("torchax is not installed")
    place = tmp_path_factory.mktemp("gpu")
    with Server(backends()[0][request.param], Device.parse(H100), 2, place / "cache") as server:
        yield server, place


def compile_(server, workload, formulation, point, mode="forward"):
    server, place = server
    folder = place / workload / mode
    if not folder.exists():
        data = DataJob(
            workload=workload, points=[(point, mode)], dtype="float32", seed=0, folders=[str(folder)], threads=1
        )
        assert server.run(data, 120).measured.status == "ok"
    case = Case(
        workload=workload,
        formulation=formulation,
        params=point,
        dtype="float32",
        mode=mode,
        backend=server.backend.name,
        execution="compiled",
        device=H100,
    )
    job = CaseJob(case=case, data="", threads=1, cache="", sampling=Sampling(), power=PowerModel())
    return server.run(msgspec.structs.replace(job, data=str(folder)), 240).measured


@needs_plugin
def test_each_framework_gets_its_programs_compiled_by_the_real_compiler(server):
    """A product and its gradients: exactly the mathematics' FLOP in products, launches, and it fits."""
    point = {"m": 256, "k": 256, "n": 128, "grads": "both"}
    for mode, formulation, flop in (("forward", "nn", 2), ("train_step", "autodiff", 6)):
        measured = compile_(server, "dense_matmul", formulation, point, mode)
        assert (measured.status, measured.reason) == ("estimated", None)
        made = measured.estimate
        assert (made.chip, made.fits, made.covered_share) == ("H100", True, 1.0)
        assert 1 <= made.flop / (flop * 256 * 256 * 128) < 1.2
        assert made.optimal_s > made.kernels * made.launch_s > 0
        assert made.argument_bytes >= 4 * 256 * 384
        assert (measured.settings["matmul_precision"], measured.settings["tf32"]) == ("highest", False)
        assert (measured.trial, measured.samples_s) == (None, [])


@needs_plugin
@pytest.mark.parametrize("name", ["jax", "torch", "tensorflow"])
def test_tf32_is_in_the_program_of_each_framework_where_it_is_asked(name, tmp_path):
    """The product takes the time of the faster rate: here it is bound by arithmetic in float32."""
    if importlib.util.find_spec(backends()[0][name].module) is None:
        pytest.skip(f"{name} is not installed")
    seconds = {}
    for tf32 in (False, True):
        with Server(backends()[0][name], Device.parse(H100), 2, tmp_path / "cache", tf32=tf32) as server:
            measured = compile_((server, tmp_path), "dense_matmul", "nn", {"m": 1024, "k": 1024, "n": 1024})
        assert measured.settings["tf32"] == tf32
        seconds[tf32] = measured.estimate.optimal_s
    assert seconds[False] > 2 * seconds[True]


@needs_plugin
def test_a_sparse_product_is_a_call_of_cusparse_or_refused_in_somebodys_words(server):
    point = {"m": 64, "k": 48, "n": 8, "density": 0.2, "pattern": "uniform"}
    measured = compile_(server, "unstructured_sparse", "csr", point)
    if server[0].backend.name == "jax":
        assert measured.estimate.libraries == {"cusparse_csr_matmat_ffi": 1}
    else:
        assert measured.status == "unsupported"
        assert any(words in measured.reason for words in ("torch.sparse_csr", "SparseMatrixMatMul"))


@needs_plugin
@pytest.mark.parametrize("card", list(GPU_CARDS))
def test_xla_takes_every_cards_description_and_compiles_a_module_for_it(card):
    """In a process of its own, since the plug-in is loaded for good."""
    module = (
        "module @m { func.func public @main(%a: tensor<4xf32>) -> tensor<4xf32> { "
        "%b = stablehlo.add %a, %a : tensor<4xf32> return %b : tensor<4xf32> } }"
    )
    code = (
        "from backends.aot import target\nfrom backends.ops import Device\n"
        f"opened = target(Device.parse('gpu-aot:{card}'))\nopened.compile_mlir('by hand', {module!r}, 0.0)\n"
        "print(opened.target.device_kind)"
    )
    environ = {**aot.environ(Device.parse(H100)), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == card, done.stderr


@needs_plugin
def test_jax_on_the_cpu_is_unchanged_and_quiet_beside_the_plug_in(tmp_path):
    """The plug-in says on stderr that it finds no CUDA: in a process's log, never before the user."""
    command = [sys.executable, "-m", "harness", "run", "--preset", "smoke", "--workload", "dense_matmul"]
    command += ["--backend", "jax", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cudart" not in done.stdout + done.stderr
    assert "cuda drivers" not in done.stdout + done.stderr
    records = (tmp_path / "out" / "records.jsonl").read_text()
    assert '"device":"cpu"' in records.replace(" ", "")
    assert "jax-cuda12" not in records
    assert "estimated" not in records
