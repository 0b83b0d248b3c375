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

_STAT = "cpu  {user} 0 100 900000 10 0 5 {steal} 0 0\ncpu0 1 0 1 1 0 0 0 0 0 0\n"
_PSI = "some avg10=0.00 avg60=0.00 avg300=0.00 total={waited}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
_CPU0 = "sys/devices/system/cpu/cpu0"


def machine(
    pid: int,
    *,
    user: int = 1000,
    steal: int = 0,
    ours: int = 500,
    waited: int = 0,
    swapped: int = 0,
    throttles: int = 3,
    khz: int = 2_900_000,
    governor: str = "performance",
    driver: str = "intel_pstate",
    quota: str = "max 100000",
    stopped: int = 0,
    used: int = 1 << 30,
    battery: str = "Charging",
) -> dict[str, str]:
    """A laptop in a container of cgroup v2: hundredths of a second in /proc/stat, microseconds elsewhere."""
    return {
        "proc/stat": _STAT.format(user=user, steal=steal),
        f"proc/{pid}/stat": f"{pid} (python (of ours)) S 1 1 1 0 -1 0 0 0 0 0 {ours} 0 0 0 20 0 1 0 0 0 0\n",
        f"proc/{pid}/task/{pid}/children": "4000001 \n",
        "proc/4000001/stat": "4000001 (server) S 1 1 1 0 -1 0 0 0 0 0 10 5 4 1 20 0 1 0 0 0 0\n",
        "proc/4000001/task/4000001/children": "\n",
        "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
        "proc/pressure/memory": _PSI.format(waited=waited),
        "proc/vmstat": f"nr_free_pages 1\npswpin {swapped}\npswpout 40\noom_kill 0\n",
        "proc/self/cgroup": "0::/user.slice/run.scope\n",
        "sys/fs/cgroup/user.slice/cpu.max": f"{quota}\n",
        "sys/fs/cgroup/user.slice/memory.max": f"{4 << 30}\n",
        "sys/fs/cgroup/user.slice/memory.current": f"{used + (1 << 29)}\n",
        "sys/fs/cgroup/user.slice/memory.stat": f"anon 1\ninactive_file {1 << 29}\nactive_file 2\n",
        "sys/fs/cgroup/user.slice/run.scope/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/run.scope/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/run.scope/cpu.stat": f"usage_usec 1\nnr_throttled 2\nthrottled_usec {stopped}\n",
        f"{_CPU0}/cpufreq/scaling_cur_freq": f"{khz}\n",
        f"{_CPU0}/cpufreq/cpuinfo_max_freq": "3400000\n",
        f"{_CPU0}/cpufreq/scaling_governor": f"{governor}\n",
        f"{_CPU0}/cpufreq/scaling_driver": f"{driver}\n",
        f"{_CPU0}/thermal_throttle/core_throttle_count": f"{throttles}\n",
        f"{_CPU0}/thermal_throttle/package_throttle_count": "7\n",
        "sys/class/power_supply/AC/type": "Mains\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/class/power_supply/BAT0/status": f"{battery}\n",
        "sys/class/power_supply/mouse/type": "Battery\n",
        "sys/class/power_supply/mouse/scope": "Device\n",
        "sys/class/power_supply/mouse/status": "Discharging\n",
    }


def lay(root: Path, files: Mapping[str, str]) -> Path:
    """Write `files` under `root`, which it returns."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
