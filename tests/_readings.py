"""Readings of machines that are not this one, as files by path, and how to lay them out under a folder.

The trees have the layout of the kernel's documents (powercap.rst, cgroup-v2.rst, proc(5)) with values of the order that
such machines show.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

POWERCAP_RANGE = 262_143_328_850


def _zone(path: str, name: str, energy_uj: int, limit: int = POWERCAP_RANGE) -> dict[str, str]:
    return {
        f"{path}/name": f"{name}\n",
        f"{path}/energy_uj": f"{energy_uj}\n",
        f"{path}/max_energy_range_uj": f"{limit}\n",
        f"{path}/enabled": "1\n",
    }


# A desktop: the package holds core and uncore, the platform holds the package, and mmio tells the package once more.
DESKTOP = {
    **_zone("intel-rapl:0", "package-0", 10_000_000),
    **_zone("intel-rapl:0:0", "core", 6_000_000),
    **_zone("intel-rapl:0:1", "uncore", 1_000_000),
    **_zone("intel-rapl:1", "psys", 50_000_000),
    **_zone("intel-rapl-mmio:0", "package-0", 9_000_000),
}
# Two sockets, memory counted beside each.
SERVER = {
    **_zone("intel-rapl:0", "package-0", 262_143_000_000),
    **_zone("intel-rapl:0:0", "dram", 5_000_000, 65_712_999_613),
    **_zone("intel-rapl:1", "package-1", 20_000_000),
    **_zone("intel-rapl:1:0", "dram", 7_000_000, 65_712_999_613),
}
# AMD's driver: the same zones, a core domain, no dram.
EPYC = {
    **_zone("intel-rapl:0", "package-0", 30_000_000, 65_532_610_987),
    **_zone("intel-rapl:0:0", "core", 2_000_000, 65_532_610_987),
}


def lay(root: Path, files: Mapping[str, str]) -> Path:
    """Write `files` under `root`, which it returns."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
