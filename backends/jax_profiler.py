"""JAX's own profiler, read by its own reader: the kernels of XLA's programs, on the host's threads or a device's lines.

Imports JAX: only a process that is profiled imports this file. What is of a GPU or a TPU has never run on one.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax

from backends import xplane
from backends.ops import Array, Matrix, Ops
from backends.profiling import CALL, CompiledCall, Profile
from backends.xplane import Event

_STATS = ("hlo_op", "hlo_module", "tf_op", "_p", "_c")  # the last two tell which end is of which beginning


def prepare() -> None:
    """XLA's kernels have names as they are."""


def profile(ops: Ops, call: CompiledCall, operands: Sequence[Array | Matrix], count: int, file: Path) -> Profile:
    """Make `count` calls under jax.profiler, after one that is not counted."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # frames of Python would slow what launches
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            ops.wait(call(*operands))
            for _ in range(count):
                with jax.profiler.TraceAnnotation(CALL):
                    outputs = call(*operands)
                    ops.wait(outputs)
        (chrome,), (planes,) = (list(Path(folder).rglob(name)) for name in ("*.trace.json.gz", "*.xplane.pb"))
        shutil.move(chrome, file)
        events = list(_events(planes))
    found = xplane.operations(events, on_host=ops.device.kind == "cpu")
    programs = list(_programs({operation.program for operation in found}))
    return Profile(profiler="jax.profiler", calls=xplane.calls(events), operations=found, programs=programs)


def _events(file: Path) -> Iterator[Event]:
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                stats = {name: value for name, value in event.stats if name in _STATS}
                start, end = int(event.start_ns), int(event.start_ns + event.duration_ns)
                yield Event(plane.name, line.name, event.name, start, end, stats)


def _programs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The optimised text of the programs of these names that are loaded."""
    for client in importlib.import_module("jax.extend.backend").backends().values():
        for executable in client.live_executables():
            for module in executable.hlo_modules():
                if module.name in names:
                    yield module.name, module.to_string()
