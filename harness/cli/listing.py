"""What there is to choose from: `list`. Imports no framework, so that it answers at once and with none installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from backends import aot
from backends.discovery import backends
from backends.ops import TPU_CHIPS, Device
from harness.errors import UserError, nearest
from harness.planning.plan import PRESETS
from workloads.discovery import workloads

_PRESET_USE = {
    "smoke": "tests and CI: every workload, backend and formulation once",
    "quick": "the default: a true picture of this machine in minutes",
    "standard": "publishable shapes",
    "full": "accelerators",
}


def listing(what: str) -> list[dict[str, Any]]:
    """Rows of one kind; UserError names the kinds."""
    kinds = {
        "workloads": _workloads,
        "backends": _backends,
        "devices": _devices,
        "presets": _presets,
        "formulations": _formulations,
    }
    if what not in kinds:
        raise nearest("list of", what, kinds)
    return kinds[what]()


def _workloads() -> list[dict[str, Any]]:
    found, broken = workloads()
    if not found and broken:
        raise UserError(broken[0].reason)
    return [
        {
            "name": w.name,
            "role": w.role,
            "modes": ", ".join(w.formulations),
            "axes": ", ".join(w.axes),
            "what": w.title,
            "source": w.source,
        }
        for w in found.values()
    ] + [
        {"name": b.path.stem, "role": "broken", "modes": "", "axes": "", "what": b.reason, "source": ""} for b in broken
    ]


def _backends() -> list[dict[str, Any]]:
    return [
        {
            "name": b.name,
            "framework": b.title,
            "version": _version(b.distributions),
            "executions": ", ".join(b.executions),
            "install": b.install if importlib.util.find_spec(b.module) is None else "",
        }
        for b in backends()[0].values()
    ]


def _version(distributions: tuple[str, ...]) -> str:
    try:
        return importlib.metadata.version(distributions[0])
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[dict[str, Any]]:
    """What the system shows, without asking a framework; `doctor` asks them."""
    rows = [{"device": "cpu", "found_by": "always there"}]
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*"))
    rows += [{"device": f"cuda:{i}" if i else "cuda", "found_by": str(p)} for i, p in enumerate(gpus)]
    tpus = sorted(Path("/dev").glob("accel[0-9]*")) or sorted(Path("/dev/vfio").glob("[0-9]*"))
    rows += [{"device": f"tpu:{i}" if i else "tpu", "found_by": str(p)} for i, p in enumerate(tpus)]
    if aot.missing(Device("tpu-aot", 0, "v5e")) is None:
        by = f"libtpu {aot.versions('libtpu')['libtpu']}: compiled for, not run"
        rows += [{"device": f"tpu-aot:{chip}", "found_by": by} for chip in TPU_CHIPS]
    return rows


def _presets() -> list[dict[str, Any]]:
    found, _ = workloads()
    return [
        {
            "preset": name,
            "for": _PRESET_USE[name],
            "points": sum(len(w.presets.get(name, ())) for w in found.values()),
        }
        for name in PRESETS
    ]


def _formulations() -> list[dict[str, Any]]:
    return [
        {"workload": w.name, "mode": mode, "formulation": name, "note": f.note}
        for w in workloads()[0].values()
        for mode, by_name in w.formulations.items()
        for name, f in by_name.items()
    ]


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(str(v) for v in row.values()))
    Console(highlight=False).print(table)
