"""Collects wheels of the project's dependencies for a machine without a network: python tools/gpu_bundle.py --help.

PyTorch and JAX are that machine's own. What it has besides need not be carried: `python -m pip list --format=freeze`
there, saved as a file, goes to --has. The folder then travels with the checkout, and tools/gpu_run.py unpacks of it
what is missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from gpu_site import least_versions, numbers

ROOT = Path(__file__).resolve().parent.parent
# pip matches the number after manylinux exactly; these are the ones that wheels are published for.
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux_2_5", "manylinux1")


def main() -> int:
    """Download, leave out what the machine has, and say what is in the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="Python of that machine [3.12]")
    parser.add_argument("--machine", default="x86_64", help="its architecture [x86_64]")
    parser.add_argument("--has", type=Path, help="its `pip list --format=freeze`: what need not be carried")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "gpu-bundle")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    for stale in asked.output.glob("*.whl"):
        stale.unlink()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "-d", str(asked.output)]
    command += ["-c", str(ROOT / "constraints.txt"), "--implementation", "cp", "--python-version", asked.python]
    for platform in PLATFORMS:
        command += ["--platform", f"{platform}_{asked.machine}"]
    wanted = [f"{name}>={'.'.join(map(str, least))}" for name, least in least_versions().items()]
    done = subprocess.run([*command, *wanted])
    if done.returncode != 0:
        print("error: pip could not download the wheels; its words stand above", file=sys.stderr)
        return 1
    had = set() if asked.has is None else enough(asked.has.read_text())
    for wheel in sorted(asked.output.glob("*.whl")):
        if key(wheel.name.partition("-")[0]) in had:
            wheel.unlink()
    left = sorted(asked.output.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in left) / 2**20
    print(f"{len(left)} wheels, {size:.0f} MiB, in {asked.output}")
    return 0


def enough(freeze: str) -> set[str]:
    """Of the lines `name==version` that a machine has, the distributions that are new enough for the harness."""
    least = {key(name): version for name, version in least_versions().items()}
    pairs = [line.partition("==") for line in freeze.splitlines()]
    return {key(name) for name, _, version in pairs if numbers(version) >= least.get(key(name), ()) or not version}


def key(distribution: str) -> str:
    """A distribution's name in one spelling."""
    return distribution.strip().lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    sys.exit(main())
