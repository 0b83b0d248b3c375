"""What there is to choose from: `list`. Imports no framework, so that it answers at once and with none installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from backends import aot
from backends.device import MODEL
from backends.discovery import backends
from harness.cli.parameters import program
from harness.errors import UserError, nearest
from workloads.base import Axis, Definition
from workloads.discovery import workloads

Row: TypeAlias = dict[str, Any]

WIDTH = 80  # of a line of text, where the terminal is not narrower
_PRESET_USE = {  # those of planning, which takes longer to import than the list to make
    "smoke": "tests and CI: every workload, backend and formulation once",
    "ideas": "the wide picture: every idea at one point",
    "quick": "the default: a true picture of this machine in minutes",
    "standard": "publishable shapes",
    "full": "accelerators",
}


def listing(what: str, names: Sequence[str] = ()) -> list[Row]:
    """Rows of one kind; with names, all about these workloads. UserError names the kinds, or the nearest names."""
    kinds: Mapping[str, Callable[[], list[Row]]] = {
        "workloads": _workloads,
        "backends": _backends,
        "devices": _devices,
        "presets": _presets,
        "formulations": _formulations,
    }
    if what not in kinds:
        raise nearest("list of", what, kinds)
    if not names:
        return kinds[what]()
    if what != "workloads":
        raise UserError(f"list {what} takes no name; list workloads NAME shows all about a workload")
    found = workloads()[0]
    for name in names:
        if name not in found:
            raise nearest("workload", name, found)
    return [_about(found[name]) for name in names]


def left_out() -> list[str]:
    """Why plug-ins cannot be used, a sentence each."""
    return [broken.reason for broken in (*workloads()[1], *backends()[1])]


# -- rows -------------------------------------------------------------------------------------------------------------


def _workloads() -> list[Row]:
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


def _about(w: Definition) -> Row:
    """All that a workload says of itself; twins by preset, as its first point there has them."""
    return {
        "name": w.name,
        "role": w.role,
        "what": w.title,
        "source": w.source,
        "leaves_out": w.leaves_out,
        "axes": {name: _axis(axis) for name, axis in w.axes.items()},
        "presets": {
            preset: [
                {"mode": p.mode, "headline": p.headline, "survey": p.survey, "axes": dict(p.params)} for p in points
            ]
            for preset, points in w.presets.items()
        },
        "formulations": {
            mode: {
                name: {"note": f.note, "executions": None if f.executions is None else list(f.executions)}
                for name, f in by_name.items()
            }
            for mode, by_name in w.formulations.items()
        },
        "twins": _twins(w),
    }


def _axis(axis: Axis) -> Row:
    return {
        "what": axis.help,
        "kind": axis.kind.__name__,
        "default": axis.default,
        "low": axis.low,
        "high": axis.high,
        "choices": None if axis.choices is None else list(axis.choices),
        "further": axis.further.what if axis.further else None,
        "break_even": axis.break_even,
    }


def _twins(w: Definition) -> list[Row]:
    """The twins at the first point of the largest preset, each mode once: what a user compares by."""
    out: dict[str, Row] = {}
    for points in (w.presets[name] for name in ("quick", "ideas", "smoke") if name in w.presets):
        for point in points:
            params = w.check(point.params)
            for twin in w.twins(params, point.mode):
                row = {"kind": twin.kind, "workload": twin.workload, "mode": twin.mode, "axes": dict(twin.params)}
                out.setdefault(f"{twin.kind} {twin.workload} {twin.mode}", row)
        if out:
            break
    return list(out.values())


def _backends() -> list[Row]:
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
    except (importlib.metadata.PackageNotFoundError, IndexError):
        return "not installed"


def _devices() -> list[Row]:
    """What the system shows, without asking a framework (`doctor` asks them), and what files describe."""
    from harness.modelling import device_file  # and with it what reads and checks files

    rows = [{"device": "cpu", "found_by": "always there"}]
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*"))
    rows += [{"device": f"cuda:{i}" if i else "cuda", "found_by": str(p)} for i, p in enumerate(gpus)]
    tpus = sorted(Path("/dev").glob("accel[0-9]*")) or sorted(Path("/dev/vfio").glob("[0-9]*"))
    rows += [{"device": f"tpu:{i}" if i else "tpu", "found_by": str(p)} for i, p in enumerate(tpus)]
    for kind, compiler in aot.COMPILERS.items():
        if compiler.missing(kind) is None:
            by = f"{compiler.found()}: compiled for, not run"
            rows += [{"device": f"{kind}:{name}", "found_by": by} for name in compiler.names]
    files = [
        {"device": f"{MODEL}:{name}", "found_by": f"{path.name}: reckoned, not run"}
        for name, path in device_file.shipped().items()
    ]
    sheets = [
        {"device": f"{MODEL}:{name}", "found_by": "its maker's datasheet: reckoned, not run"}
        for name in device_file.datasheets()
    ]
    return [*rows, *files, *sheets]


def _presets() -> list[Row]:
    found, _ = workloads()
    return [
        {
            "preset": name,
            "for": _PRESET_USE[name],
            "points": sum(len(w.presets.get(name, ())) for w in found.values()),
        }
        for name in _PRESET_USE
    ]


def _formulations() -> list[Row]:
    return [
        {"workload": w.name, "mode": mode, "formulation": name, "note": f.note}
        for w in workloads()[0].values()
        for mode, by_name in w.formulations.items()
        for name, f in by_name.items()
    ]


# -- text -------------------------------------------------------------------------------------------------------------


def show(what: str, rows: Sequence[Row], *, detailed: bool = False) -> None:
    """Print rows on stdout: a line each of a list, a paragraph each where they are `detailed`."""
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    if detailed:
        click.echo("\n\n".join("\n".join(_paragraph(row, width)) for row in rows))
        return
    if what == "workloads":
        rows = [{k: row[k] for k in ("name", "what", "modes")} for row in rows if row["role"] != "broken"]
    for line in table(rows, width):
        click.echo(line)
    if what == "workloads":
        click.echo(f"more: {program()} list workloads NAME", err=True)


def table(rows: Sequence[Row], width: int) -> list[str]:
    """Rows as lines under a head, each column as wide as it must be; the last one is wrapped to the width."""
    columns = list(rows[0])
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    room = max(width - sum(widths[:-1]) - 2 * (len(columns) - 1), 20)
    lines = []
    for line in cells:
        first, *others = textwrap.wrap(line[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        start = "".join(f"{cell:{size + 2}}" for cell, size in zip(line[:-1], widths[:-1], strict=True))
        lines += [(start + first).rstrip(), *(" " * len(start) + other for other in others)]
    return lines


def _paragraph(row: Row, width: int) -> list[str]:
    def wrapped(start: str, text: str) -> list[str]:
        return textwrap.wrap(
            text, width, initial_indent=start, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False
        )

    lines = wrapped("", f"{row['name']}: {row['what']} ({row['role']})")
    lines += wrapped("  ", f"source: {row['source']}")
    if row["leaves_out"]:
        lines += wrapped("  ", f"leaves out of the dense path: {row['leaves_out']}")
    lines.append("  axes")
    for name, axis in row["axes"].items():
        lines += wrapped("    ", f"{name}: {'; '.join(_of_axis(axis))}")
    lines.append("  presets")
    for preset, points in row["presets"].items():
        first = next((p for p in points if p["headline"]), points[0] if points else None)
        more = f"; {len(points)} points" if len(points) > 1 else ""
        shown = "" if first is None else ", ".join(f"{name}={value}" for name, value in first["axes"].items())
        lines += wrapped("    ", f"{preset}: {shown}{more}")
    for mode, by_name in row["formulations"].items():
        lines.append(f"  formulations, {mode}")
        for name, formulation in by_name.items():
            only = formulation["executions"]
            lines += wrapped("    ", f"{name}: {formulation['note']}{f' ({chr(44).join(only)} only)' if only else ''}")
    if row["twins"]:
        lines.append("  twins")
    for twin in row["twins"]:
        axes = ", ".join(f"{name}={value}" for name, value in twin["axes"].items())
        lines += wrapped("    ", f"{twin['kind']}: {twin['workload']}, {twin['mode']}, such as {axes}")
    return lines


def _of_axis(axis: Row) -> list[str]:
    low, high = axis["low"], axis["high"]
    bounds = [f"{low:g}…{high:g}"] if low is not None and high is not None else [f"from {low:g}"] if low else []
    further = [axis["further"]] if axis["further"] else []
    return [
        *filter(None, [axis["what"]]),
        *([f"one of {', '.join([*axis['choices'], *further])}"] if axis["choices"] else bounds),
        *([f"default {axis['default']}"] if axis["default"] is not None else []),
        *(["break-even is looked for"] if axis["break_even"] else []),
    ]
