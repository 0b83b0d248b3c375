"""What tools/gpu_run.py needs before it can begin: the harness's dependencies, from the machine or the bundle; a GPU.

Imports nothing but the standard library until it is asked for a GPU.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Modules of pyproject's dependencies whose name is not the distribution's.
OTHER_NAMES = {"nvidia-ml-py": "pynvml", "scikit-learn": "sklearn"}


def missing() -> list[str]:
    """The dependencies of which no module can be found."""
    return [name for name, module in modules().items() if not importlib.util.find_spec(module)]


def modules() -> dict[str, str]:
    """Of what pyproject.toml depends on, the modules: what cannot be imported must come from the bundle."""
    return {name: OTHER_NAMES.get(name, name.replace("-", "_")) for name in least_versions()}


def least_versions() -> dict[str, tuple[int, ...]]:
    """Of what pyproject.toml depends on, the versions that are asked for at least."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pairs = [re.split(r"\s*>=\s*", wanted, maxsplit=1) for wanted in project["dependencies"]]
    return {name: numbers(least[0]) if least else () for name, *least in pairs}


def numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, such as (8, 1) of 8.1rc2."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part)


def unpack(bundle: Path, site: Path) -> None:
    """Unpack those wheels whose distribution is not installed here, or in a version that is too old for the harness."""
    least = {name.replace("-", "_"): version for name, version in least_versions().items()}
    for wheel in sorted(bundle.glob("*.whl")):
        name = wheel.name.partition("-")[0]
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            there = None
        if there is None or numbers(there) < least.get(name, ()):
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
