"""Compiling for a TPU that is not there: names and packages, refusals, and three routes for real."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from backends import ahead, aot
from backends.ahead import Ahead
from backends.discovery import backends
from backends.install import install_hint
from backends.ops import TPU_CHIPS, Device, Unsupported
from harness.cli.listing import listing
from harness.errors import UserError
from harness.measuring.settings import PowerModel, Sampling
from harness.planning import plan
from harness.records.record import Case
from harness.worker import compile_only
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob
from workloads.discovery import workloads

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
V5E = "tpu-aot:v5e"
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: tox run has it"
)
needs_torchax = pytest.mark.skipif(
    importlib.util.find_spec("torchax") is None, reason="torchax is not installed: tox run has it"
)


@pytest.mark.parametrize("text", ["tpu-aot:v9", "tpu-aot:", "tpu-aot"])
def test_an_unknown_chip_is_refused_with_the_known_ones(text):
    """One sentence, before anything starts."""
    with pytest.raises(ValueError, match="known are v2, v3, v4, v5e, v5p, v6e, v7x"):
        Device.parse(text)
    with pytest.raises(UserError, match="known are v2, v3, v4, v5e"):
        plan.cases(plan.Ask(devices=(text,)), workloads()[0], backends()[0])


def test_a_missing_package_is_named_with_the_command_that_mends_it(monkeypatch):
    """Neither JAX nor the frameworks are imported to find that out."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "libtpu" else SimpleNamespace())
    why = aot.missing(Device.parse(V5E))
    assert why == f"compiling for tpu-aot:v5e needs libtpu, which is not installed here; try: {install_hint('tpu-aot')}"
    with pytest.raises(Unsupported, match="needs libtpu"):
        aot.target(Device.parse(V5E))


def test_the_chips_are_listed_where_they_can_be_compiled_for(monkeypatch):
    """A device that is offered can be asked for; without libtpu none is."""
    monkeypatch.setattr(aot.Compiler, "missing", lambda self, what: None)
    assert {f"tpu-aot:{chip}" for chip in TPU_CHIPS} <= {row["device"] for row in listing("devices")}
    monkeypatch.setattr(aot.Compiler, "missing", lambda self, what: "no libtpu")
    assert not [row for row in listing("devices") if row["device"].startswith("tpu-aot")]


def test_a_route_that_another_version_broke_says_so_in_one_sentence():
    """Which step, its words, the version found and the one it was seen with."""
    with pytest.raises(Unsupported) as refusal, ahead.route("jaxlib's compiler interface", "jax", "libtpu"):
        raise AttributeError("module 'jaxlib' has no attribute\n'compile'")
    words = str(refusal.value)
    assert "broke at jaxlib's compiler interface: module 'jaxlib' has no attribute 'compile'" in words
    assert "seen working with 0.10.2" in words
    assert "\n" not in words


def test_an_unknown_precision_is_refused(monkeypatch):
    """The precision of float32 products is the same in every framework, and one of two."""
    assert aot.precision(Device.parse(V5E)) == "default"
    monkeypatch.setenv("HWLOTTERY_TPU_PRECISION", "half")
    with pytest.raises(ValueError, match="default or highest, found 'half'"):
        aot.precision(Device.parse(V5E))


@pytest.mark.parametrize("name", ["jax", "torch", "tensorflow"])
def test_the_environment_keeps_jax_on_the_host_and_libtpu_quiet(name, tmp_path):
    """No TPU runtime is looked for, no metadata server is asked, and no compile cache shortens a compilation."""
    environ = backends()[0][name].environ(Device.parse(V5E), 2, tmp_path)
    assert environ["JAX_PLATFORMS"] == "cpu"
    assert environ["TPU_SKIP_MDS_QUERY"] == "1"
    assert environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"
    assert "JAX_COMPILATION_CACHE_DIR" not in environ


# -- plan --------------------------------------------------------------------------------------------------------------


def test_only_compiling_is_planned_where_nothing_is_run():
    """Eager and graph have no meaning there; on the host they stay."""
    ask = plan.Ask(preset="smoke", devices=(V5E, "cpu"), workloads=("capsule_routing",))
    planned = plan.cases(ask, workloads()[0], backends()[0])
    executions = {device: {p.case.execution for p in planned if p.case.device == device} for device in (V5E, "cpu")}
    assert executions[V5E] == {"compiled"}
    assert "eager" in executions["cpu"]


# -- one case, with a chip made up -------------------------------------------------------------------------------------


def job(backend="jax", formulation="nn", params=None, mode="forward", execution="compiled", workload="dense_matmul"):
    case = Case(
        workload=workload,
        formulation=formulation,
        params=params or {"m": 16, "k": 16, "n": 16, "grads": "both"},
        dtype="float32",
        mode=mode,
        backend=backend,
        execution=execution,
        device=V5E,
    )
    return CaseJob(case=case, data="", threads=1, cache="", sampling=Sampling(), power=PowerModel())


class Refusing(Ahead):
    """A chip whose compiler refuses with given words; formulations of one line need nothing else of `Ops`."""

    words = ""

    def __init__(self) -> None:
        self.device = Device.parse(V5E)

    def program(self, fn, operands):
        raise Unsupported(self.words)

    def settings(self):
        return {"libtpu": "1"}


Refusing.__abstractmethods__ = frozenset()


def answered(words, **facts):
    chip = Refusing()
    chip.words = words
    asked = job(**facts)
    formulation = SimpleNamespace(prepare=lambda ops, inputs, params: [], step=lambda ops, params: None)
    made = {"jax": SimpleNamespace(title="JAX", ahead=("jax",), open=lambda device: chip)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compile_only, "backends", lambda: (made, []))
        return compile_only.case(asked, formulation, dict, lambda words: None)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM (32.00G of 15.75G)", "memory"),
        ("UNIMPLEMENTED: While rewriting computation to not contain X64 element types", "not_implemented"),
        ("INTERNAL: Mosaic failed", "other"),
        ("JAX has no kernel for this dtype", "type"),
    ],
)
def test_a_refusal_of_the_compiler_is_a_result_with_its_words_and_class(words, kind):
    """Too large for the chip is no failure of the run: the compiler was asked and said no."""
    measured = answered(words)
    assert (measured.status, measured.failure_class, measured.reason) == ("unsupported", kind, words)
    assert measured.settings == {"libtpu": "1"}
    assert measured.estimate is None


def test_other_executions_are_refused_where_nothing_is_run():
    """There is no eager on a chip that is not there, and no callable either."""
    with pytest.raises(Unsupported, match="has the execution compiled, not eager"):
        answered("", execution="eager")
    with pytest.raises(Unsupported, match="compiled for and not run"):
        Refusing().compile(lambda: (), "compiled", [])


def test_a_backend_without_a_route_says_so():
    """NumPy has no compiler at all."""
    with pytest.raises(Unsupported, match="NumPy has no route to the TPU compiler"):
        compile_only.case(job("numpy"), SimpleNamespace(), dict, lambda words: None)


# -- the three routes, for real ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["jax", "torch", "tensorflow"])
def server(request, tmp_path_factory):
    """A fork server that compiles for v5e, and the folders of two workloads' inputs."""
    if request.param == "torch" and importlib.util.find_spec("torchax") is None:
        pytest.skip("torchax is not installed: tox run has it")
    place = tmp_path_factory.mktemp("aot")
    with Server(backends()[0][request.param], Device.parse(V5E), 2, place / "cache") as server:
        yield server, place


def compile_(server, workload, formulation, point, mode="forward"):
    server, place = server
    folder = place / workload / mode
    if not folder.exists():
        data = DataJob(
            workload=workload, points=[(point, mode)], dtype="float32", seed=0, folders=[str(folder)], threads=1
        )
        assert server.run(data, 120).measured.status == "ok"
    asked = job(server.backend.name, formulation, point, mode, workload=workload)
    return server.run(msgspec.structs.replace(asked, data=str(folder)), 240).measured


PRODUCT = {"m": 256, "k": 256, "n": 128, "grads": "both"}
SPARSE = {"m": 64, "k": 48, "n": 8, "density": 0.2, "pattern": "uniform"}


@needs_libtpu
def test_each_framework_gets_its_programs_compiled_by_the_real_compiler(server):
    """A product and its gradients: FLOP at least the mathematics', cycles for the product, and it fits."""
    for mode, formulation, flop in (("forward", "nn", 2), ("train_step", "autodiff", 6)):
        measured = compile_(server, "dense_matmul", formulation, PRODUCT, mode)
        assert (measured.status, measured.reason) == ("estimated", None)
        made = measured.estimate
        assert made.chip == "v5e"
        assert made.fits
        assert 1 <= made.flop / (flop * 256 * 256 * 128) < 1.2
        assert made.optimal_s > 0
        assert made.cycles > 0
        assert 0 < made.covered_share <= 1
        assert made.argument_bytes >= 4 * 256 * 384
        assert "TPU v5 lite" in made.compiler
        assert measured.settings["matmul_precision"] == "default"
        assert measured.trial is None
        assert measured.samples_s == []


@needs_libtpu
def test_gathers_and_scatters_are_counted_as_uncovered(server):
    """What the compiler has no estimate for is the idea's own part, and its absence is said."""
    made = compile_(server, "unstructured_sparse", "gather_segment", SPARSE).estimate
    assert made.covered_share < 1
    assert any("scatter" in kind for kind in made.uncovered), made.uncovered


@needs_libtpu
def test_a_formulation_that_does_not_get_there_is_refused_in_somebodys_words(server):
    """No framework has a CSR product on a TPU; each says so itself."""
    measured = compile_(server, "unstructured_sparse", "csr", SPARSE)
    assert measured.status == "unsupported"
    assert any(words in measured.reason for words in ("no CSR kernel", "torch.sparse_csr", "SparseMatrixMatMul"))


@needs_torchax
def test_overloads_that_pytorch_no_longer_has_are_tolerated_while_torchax_registers_and_not_after():
    """The stand-in is a key that is never looked up; nothing of it is left behind."""
    code = (
        "import torch\n"
        "from backends import torch_aot\n"
        "absent = []\n"
        "with torch_aot._tolerant(absent):\n"
        "    held = torch.ops.aten.add.no_such_overload\n"
        "assert absent == ['aten.add.no_such_overload'], absent\n"
        "assert type(held).__name__ == '_Absent'\n"
        "try:\n"
        "    torch.ops.aten.add.no_such_overload\n"
        "except AttributeError:\n"
        "    print('strict')\n"
    )
    environ = {**aot.environ(Device.parse(V5E)), "PATH": "/usr/bin:/bin", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "strict\n", done.stderr


@needs_libtpu
@pytest.mark.parametrize("chip", list(TPU_CHIPS))
def test_libtpu_knows_every_chip_by_the_name_it_is_asked_for(chip):
    """A topology of one chip; in a process of its own, since libtpu is loaded for good."""
    code = (
        "from backends.aot import target\nfrom backends.ops import Device\n"
        f"print(target(Device.parse('tpu-aot:{chip}')).target.device_kind)"
    )
    environ = {**aot.environ(Device.parse(V5E)), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("TPU"), done.stderr
