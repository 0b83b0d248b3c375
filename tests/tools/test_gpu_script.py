"""The scripts for a GPU machine: what they refuse, what they unpack, and a run through on the host."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from backends.ops import Device

ROOT = Path(__file__).resolve().parents[2]


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(*arguments, **options):
    command = [sys.executable, str(ROOT / "tools" / "gpu_run.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)


def test_without_a_gpu_the_script_says_so_in_one_sentence(tmp_path):
    """Where there is a driver the device asked for is one that no machine has."""
    done = _run("--device", "cuda:99", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "run this on a machine with an NVIDIA GPU, or try it with --device cpu" in line
    assert not (tmp_path / "out").exists()


def test_a_budget_that_is_no_time_and_one_that_is_too_short_are_refused(tmp_path):
    for budget, words in (("soon", "is not a time"), ("10s", "leaves no time to measure")):
        done = _run("--device", "cpu", "--budget", budget, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert words in done.stderr


def test_every_dependency_of_the_project_is_looked_for_by_a_module_that_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = _tool("gpu_site").modules()
    assert list(modules) == [dependency.split(">")[0] for dependency in project["dependencies"]]
    assert modules["nvidia-ml-py"] == "pynvml"
    assert modules["ml-dtypes"] == "ml_dtypes"
    assert [name for name, module in modules.items() if importlib.util.find_spec(module) is None] == []


def test_what_is_not_of_the_name_of_its_distribution_is_a_dependency():
    """A name of another module for what nothing depends on any more is left over."""
    tool = _tool("gpu_site")
    assert tool.OTHER_NAMES.keys() <= tool.modules().keys()
    assert tool.missing() == []


def test_only_wheels_of_what_is_not_installed_or_too_old_are_unpacked(tmp_path, monkeypatch):
    """One click that was too old decided whether anything started."""
    tool, bundle, site = _tool("gpu_site"), tmp_path / "bundle", tmp_path / "site"
    bundle.mkdir()
    site.mkdir()
    for name in ("numpy", "click", "ml_dtypes", "hwlottery_absent"):
        with zipfile.ZipFile(bundle / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
    there = {"numpy": "2.4.6", "click": "8.0.4", "ml_dtypes": "0.5.0rc1"}

    def version(name):
        if name not in there:
            raise importlib.metadata.PackageNotFoundError
        return there[name]

    monkeypatch.setattr(tool.importlib.metadata, "version", version)
    tool.unpack(bundle, site)
    assert sorted(path.name for path in site.iterdir()) == ["click", "hwlottery_absent"]


@pytest.mark.parametrize(("text", "found"), [("8.1", (8, 1)), ("2.4.6", (2, 4, 6)), ("0.5.0rc1", (0, 5, 0)), ("x", ())])
def test_versions_are_compared_by_their_numbers(text, found):
    assert _tool("gpu_site").numbers(text) == found


def test_a_dependency_that_is_nowhere_is_named_with_the_tool_that_mends_it(tmp_path):
    """An interpreter without site-packages, with a framework of the name only, has none of the dependencies."""
    (tmp_path / "torch.py").write_text("")
    command = [sys.executable, "-S", str(ROOT / "tools" / "gpu_run.py"), "--bundle", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, timeout=60)
    assert done.returncode == 2
    assert "msgspec" in done.stderr
    assert "tools/gpu_bundle.py" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.filterwarnings("ignore:os.fork")  # of JAX, where another test of this process has imported it
def test_a_run_that_does_not_end_is_told_to_stop_and_then_made_to(monkeypatch, tmp_path):
    tool, log = _tool("gpu_run"), tmp_path / "log"
    monkeypatch.setattr(tool, "STOP_S", 2.0)
    polite = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(60)"
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('no', flush=True); time.sleep(60)"
    )
    assert tool.bounded([sys.executable, "-c", polite], 2.0, log) == 143
    assert tool.bounded([sys.executable, "-c", stubborn], 2.0, log) == -9
    assert tool.last_line(log) == "no"
    assert tool.bounded([sys.executable, "-c", "raise SystemExit(1)"], 20.0, log) == 1


@pytest.mark.filterwarnings("ignore:os.fork")  # of JAX, where another test of this process has imported it
def test_what_runs_is_told_to_stop_when_the_script_is(monkeypatch, tmp_path):
    """Whoever lends the machine ends the script by SIGTERM: what runs then must write what it has."""
    tool, wrote = _tool("gpu_run"), tmp_path / "wrote"
    process = tool.subprocess.Popen
    told = []

    class Process(process):
        def wait(self, timeout=None):
            if not told:
                while not (tmp_path / "ready").exists():
                    time.sleep(0.01)
                told.append(1)
                raise tool.Stopped(15)
            return super().wait(timeout)

    monkeypatch.setattr(tool.subprocess, "Popen", Process)
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(wrote)!r}).write_text('all'), sys.exit(0)))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(60)"
    )
    with pytest.raises(tool.Stopped):
        tool.bounded([sys.executable, "-c", code], 50.0, tmp_path / "log")
    assert wrote.read_text() == "all"


def test_the_script_runs_through_on_the_host_and_leaves_records_checks_and_report(tmp_path):
    out = tmp_path / "out"
    own = ["--device", "cpu", "--backend", "numpy", "--preset", "smoke", "--idea", "unstructured_sparse"]
    done = _run(*own, "--budget", "4m", "--out", out, "--", "--execution", "eager", "--rounds", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    said = done.stdout.splitlines()
    starts = ("machine: Python", "numpy: clean for forks", "path: a process takes numpy", "check: numpy memory cannot")
    places = [next(i for i, line in enumerate(said) if line.startswith(start)) for start in starts]
    ideas = [i for i, line in enumerate(said) if line.startswith("smoke-unstructured_sparse: ")]
    assert places == sorted(places)
    assert places[-1] < ideas[0]
    assert (out / "findings.txt").read_text().splitlines() == said
    records = [json.loads(line) for line in (out / "smoke-unstructured_sparse/records.jsonl").read_text().splitlines()]
    assert {r["case"]["backend"] for r in records} == {"numpy"}
    assert json.loads((out / "smoke-unstructured_sparse/run.json").read_text())["settings"]["timeout_s"] == 90
    assert "What ran where" in (out / "report.md").read_text()
    again = _run(*own, "--budget", "4m", "--out", out)
    assert again.stdout.splitlines()[0].startswith("done: "), "all of it is there"


# -- what the checks say no to ----------------------------------------------------------------------------------------


class _Ops:
    """A device whose allocator counts `share` of what is put on it."""

    device = Device("cuda")

    def __init__(self, share):
        self.share, self.bytes = share, 0

    def reset_peak_bytes(self):
        pass

    def asarray(self, x):
        self.bytes += x.nbytes
        return x

    def matmul(self, a, b):
        return a

    def wait(self, outputs):
        assert outputs

    def device_peak_bytes(self):
        return None if self.share is None else int(self.share * self.bytes)


@pytest.mark.parametrize(("share", "ok"), [(1.0, True), (1.01, True), (0.9, False), (2.0, False), (None, None)])
def test_the_memory_check_refuses_a_peak_that_is_off_by_more_than_two_percent(share, ok):
    assert _tool("gpu_checks").memory(_Ops(share))["ok"] is ok


class _Meter:
    def __init__(self, joules):
        self.joules, self.windows = joules, 0

    def begin(self):
        self.windows += 1

    def end(self):
        self.windows += 1

    def energy(self, **asked):
        assert self.windows == 2
        return SimpleNamespace(gross_j=self.joules, note="too short")


@pytest.mark.parametrize(
    ("counted", "polled", "ok"), [(2000.0, 2100.0, True), (2000.0, 1500.0, False), (None, 1500.0, None)]
)
def test_the_energy_check_refuses_a_counter_that_power_times_time_does_not_bear_out(monkeypatch, counted, polled, ok):
    tool = _tool("gpu_checks")
    nvml = importlib.import_module("harness.measuring.energy.nvml")
    monkeypatch.setattr(tool, "LOAD_S", 0.05)
    monkeypatch.setattr(tool, "SIDE", 8)
    monkeypatch.setattr(nvml, "open_gpu", lambda index: "card")
    monkeypatch.setattr(nvml, "counter", lambda gpu: _Meter(counted))
    monkeypatch.setattr(nvml, "sampled", lambda gpu: _Meter(polled))
    found = tool.energy(_Ops(1.0))
    assert found["ok"] is ok
    assert found["counter_j"] == counted


def test_a_machine_without_nvml_leaves_the_energy_check_open(monkeypatch):
    nvml = importlib.import_module("harness.measuring.energy.nvml")

    def absent(index):
        raise nvml.Unavailable("nvidia-ml-py is not installed")

    monkeypatch.setattr(nvml, "open_gpu", absent)
    found = _tool("gpu_checks").energy(_Ops(1.0))
    assert found == {"ok": None, "words": "nvidia-ml-py is not installed"}


def test_what_a_machine_has_in_a_version_that_is_too_old_is_collected_too():
    has = "Click==8.0.4\nnumpy==2.5.2\nml_dtypes==0.5.1\ntorch==2.11.0+cu130\nlocal @ file:///x\n"
    assert _tool("gpu_bundle").enough(has) == {"numpy", "ml-dtypes", "torch", "local @ file:///x"}
