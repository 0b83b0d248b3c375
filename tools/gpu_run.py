"""Measures a GPU machine that has no network, within a budget: python tools/gpu_run.py --help.

Needs a Python (3.11 or later) with PyTorch, JAX or TensorFlow in it, and this checkout. What else the harness needs is
that Python's own, or unpacked from the wheels that tools/gpu_bundle.py collected. Writes under --out: the records and
environment of a run, checks.json (A/A noise, energy against power × time, memory against a known allocation) and the
report. Imports nothing but the standard library until what is missing has been unpacked.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("torch", "jax", "tensorflow")
# Modules of pyproject's dependencies whose name is not the distribution's.
OTHER_NAMES = {"nvidia-ml-py": "pynvml", "scikit-learn": "sklearn"}
UNITS = {"s": 1, "m": 60}
CHECKS_S = 60.0  # of the budget, for the checks and the report
STOP_S = 30.0  # a run that is told to stop has this long to write what it has


def main() -> int:
    """Run everything; 0 when the run and its checks are good, 1 when something failed, 2 when nothing could be run."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu", help="results folder [runs/gpu]")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 …, or cpu to try the script [cuda]")
    parser.add_argument("--backend", help="frameworks, with commas between [all that are installed]")
    parser.add_argument("--preset", default="standard", help="smoke, quick, standard or full [standard]")
    parser.add_argument("--budget", default="7m", help="such as 90s or 7m; nothing runs much longer [7m]")
    parser.add_argument("--bundle", type=Path, default=ROOT / "build" / "gpu-bundle", help="folder of wheels")
    parser.add_argument("rest", nargs="*", help="more options of `hwlottery run`, after --")
    asked = parser.parse_args()
    try:
        budget_s = float(asked.budget[:-1]) * UNITS[asked.budget[-1:]]
    except (KeyError, ValueError):
        return refuse(f"--budget {asked.budget!r} is not a time such as 90s or 7m")
    found = [name for name in (asked.backend or ",".join(FRAMEWORKS)).split(",") if importlib.util.find_spec(name)]
    if not found:
        return refuse(
            f"no framework is installed in {sys.executable}; run this with the Python that has PyTorch or JAX"
        )
    with tempfile.TemporaryDirectory(prefix="hwlottery-site-") as site:
        unpack(asked.bundle, Path(site))
        sys.path[:0] = [str(ROOT), site]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
        importlib.invalidate_caches()
        missing = [name for name, module in modules().items() if not importlib.util.find_spec(module)]
        if missing:
            wanted = ", ".join(missing)
            return refuse(f"{wanted} missing here and in {asked.bundle}; collect wheels with tools/gpu_bundle.py")
        why = no_gpu(asked.device)
        if why:
            return refuse(f"{why}; run this on a machine with an NVIDIA GPU, or try it with --device cpu")
        return measure(asked, found, began + budget_s)


def modules() -> dict[str, str]:
    """Of what pyproject.toml depends on, the modules: what cannot be imported must come from the bundle."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w.-]", wanted, maxsplit=1)[0] for wanted in project["dependencies"]]
    return {name: OTHER_NAMES.get(name, name.replace("-", "_")) for name in names}


def refuse(sentence: str) -> int:
    """One sentence to stderr, exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def unpack(bundle: Path, site: Path) -> None:
    """Unpack those wheels whose distribution is not installed here: what is installed is never replaced."""
    for wheel in sorted(bundle.glob("*.whl")):
        try:
            importlib.metadata.version(wheel.name.partition("-")[0])
        except importlib.metadata.PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)


def no_gpu(device: str) -> str | None:
    """Why `device` cannot be measured, as the CUDA driver says; None where it can."""
    from backends.ops import Device
    from harness.measuring.energy.meter import Unavailable
    from harness.measuring.energy.nvml import cuda_uuid

    try:
        wanted = Device.parse(device)
        if wanted.kind == "cuda":
            cuda_uuid(wanted.index)
    except (Unavailable, ValueError) as error:
        return str(error)
    return None


def measure(asked: argparse.Namespace, backends: list[str], deadline: float) -> int:
    """The run, then the checks, then the report; each writes its own file and none takes another's place."""
    out: Path = asked.out
    left = deadline - time.monotonic() - CHECKS_S
    if left <= 0:
        return refuse(f"--budget {asked.budget} leaves no time to measure; give it more than {CHECKS_S:g} s")
    command = harness("run", "--preset", asked.preset, "--device", asked.device, "--backend", ",".join(backends))
    command += ["--budget", f"{left:.0f}s", "--out", str(out), *asked.rest]
    code = bounded(command, left + STOP_S)
    checks = {name: checked(name, asked.device, deadline + STOP_S) for name in backends}
    text = json.dumps({"noise": noise(out), "backends": checks}, indent=2)
    if out.is_dir():
        (out / "checks.json").write_text(text + "\n")
        with (out / "report.md").open("wb") as report:
            subprocess.run(harness("report", str(out), "--all", "--format", "markdown"), cwd=ROOT, stdout=report)
    print(text)
    good = all(check.get("ok") is not False for found in checks.values() for check in found.values())
    return code or (0 if good else 1)


def harness(*arguments: str) -> list[str]:
    """The command line of `hwlottery ARGUMENTS`, of this checkout and with this Python."""
    return [sys.executable, "-m", "harness", *arguments]


def bounded(command: list[str], limit_s: float) -> int:
    """Its exit code; told to stop, as by Ctrl-C, after `limit_s`, when it keeps all that it has measured."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def checked(backend: str, device: str, deadline: float) -> dict[str, dict[str, object]]:
    """What tools/gpu_checks.py finds with one framework, in a process of its own."""
    command = [sys.executable, str(ROOT / "tools" / "gpu_checks.py"), backend, device]
    try:
        limit_s = max(10.0, deadline - time.monotonic())
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"process": {"ok": False, "words": "not done within the budget"}}
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        words = (done.stderr.strip().splitlines() or ["it left no words"])[-1]
        return {"process": {"ok": False, "words": words}}
    return dict(json.loads(lines[-1]))


def noise(out: Path) -> float | None:
    """The A/A noise of the run as a share: how far a case differs from itself; None where there was no control."""
    from harness.errors import UserError
    from harness.records import store
    from harness.stats.noise import noise_floor

    try:
        return noise_floor(store.load(out).records)
    except (OSError, UserError):
        return None


if __name__ == "__main__":
    sys.exit(main())
