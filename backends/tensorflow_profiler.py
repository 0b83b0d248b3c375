"""TensorFlow's own profiler, read by the messages that come with it: operations of its executor and kernels of XLA's.

Imports TensorFlow: only a process that is profiled imports this file. What is of a GPU or a TPU has never run on one.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from backends import xplane
from backends.ops import Array, Matrix, Ops
from backends.profiling import CALL, CompiledCall, Profile
from backends.xplane import Event

PICO_PER_NANO = 1000
_HLO = "Hlo Proto"  # the statistic that holds the program of an event of the plane of metadata


def prepare() -> None:
    """TensorFlow's kernels have names as they are."""


def profile(ops: Ops, call: CompiledCall, operands: Sequence[Array | Matrix], count: int, file: Path) -> Profile:
    """Make `count` calls under tf.profiler, after one that is not counted."""
    profiler = tf.profiler.experimental
    options = profiler.ProfilerOptions(host_tracer_level=2, python_tracer_level=0, device_tracer_level=1)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        with profiler.Profile(folder, options=options):
            ops.wait(call(*operands))
            for number in range(count):
                with profiler.Trace(CALL, step_num=number):
                    outputs = call(*operands)
                    ops.wait(outputs)
        (written,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(written.read_bytes())
    events = list(_events(space))
    xplane.write_chrome(events, file)
    return Profile(
        profiler="tf.profiler",
        calls=xplane.calls(events),
        operations=xplane.operations(events, on_host=ops.device.kind == "cpu"),
        programs=list(_programs(space)),
    )


def _events(space: Any) -> Iterator[Event]:
    for plane in space.planes:
        for line in plane.lines:
            name = line.display_name or line.name
            for event in line.events:
                start = line.timestamp_ns + event.offset_ps // PICO_PER_NANO
                end = line.timestamp_ns + (event.offset_ps + event.duration_ps) // PICO_PER_NANO
                known = plane.event_metadata[event.metadata_id]
                stats = dict(_stats(plane, [*known.stats, *event.stats]))
                yield Event(plane.name, f"{name} {line.id}", known.name, start, end, stats)


def _stats(plane: Any, stats: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    names = plane.stat_metadata
    for stat in stats:
        kind = stat.WhichOneof("value")
        value = getattr(stat, kind) if kind else None
        yield names[stat.metadata_id].name, names[value].name if kind == "ref_value" else value


def _programs(space: Any) -> Iterator[tuple[str, Mapping[str, frozenset[str]]]]:
    """What each instruction of XLA's programs has inside; nothing where the message of a program has moved."""
    with contextlib.suppress(ImportError):
        message = importlib.import_module("tensorflow.compiler.xla.service.hlo_pb2").HloProto
        for plane in space.planes:
            for known in plane.event_metadata.values():
                for name, value in _stats(plane, known.stats):
                    if name == _HLO:
                        module = message.FromString(value).hlo_module
                        yield module.name, _opcodes(module)


def _opcodes(module: Any) -> dict[str, frozenset[str]]:
    computations = {computation.id: computation for computation in module.computations}

    def inside(instruction: Any) -> frozenset[str]:
        own = instruction.opcode
        named = f"{own} {instruction.custom_call_target}" if own == "custom-call" else own
        below = [computations[number] for number in instruction.called_computation_ids]
        return frozenset({named}).union(*(inside(part) for computation in below for part in computation.instructions))

    return {i.name: inside(i) for computation in module.computations for i in computation.instructions}
