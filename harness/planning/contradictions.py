"""Options that contradict each other, and names for which the rest leaves no use: refused, never ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from backends.device import GPU_AHEAD, kind_of
from backends.gpu_cards import GPU_CARDS
from harness.errors import PlanError, UserError, nearest
from harness.planning.plan import PRESETS, Ask, Planned
from harness.planning.request import RunRequest
from workloads.base import Definition
from workloads.common import matrix_names

_OF_THE_FILE = ("m", "k", "density", "block", "keep", "out_of", "transposable", "pattern")


def refuse(request: RunRequest, workloads: Mapping[str, Definition], own: Sequence[str]) -> None:
    """UserError for the first two options that cannot both be followed; `own` are the workloads of the user's files.

    Purely: nothing is read but the request and what the workloads say of themselves.
    """
    if request.preset not in PRESETS:
        raise nearest("preset", request.preset, PRESETS)
    for name in request.workloads:
        if name not in workloads:
            raise nearest("workload", name, workloads)
    if request.precision is not None and not request.narrows:
        why = "--rounds says how many there are" if request.budget_s is not None else "there is no --budget"
        raise UserError(f"--precision says when a budget has gone far enough, but {why}; leave --precision out")
    if request.tf32:
        _tf32(request)
    takers = [name for name, workload in workloads.items() if matrix_names.takes_files(workload)]
    _matrices(request, takers)
    chosen = set(request.workloads) or (set(takers) if request.matrices else set()) | set(own)
    ideas = [w for name, w in workloads.items() if w.role == "idea" and (not chosen or name in chosen)]
    for axis in request.axes:
        known = {axis for w in workloads.values() if w.role == "idea" for axis in w.axes}
        if axis in known and not any(axis in w.axes for w in ideas):
            have = "; ".join(f"{w.name}: {', '.join(w.axes)}" for w in ideas) or "none is an idea"
            raise UserError(f"--set {axis} sets an axis that no chosen workload has; their axes are {have}")


def _tf32(request: RunRequest) -> None:
    """TF32 is of NVIDIA's GPUs, and of float32: anywhere else it would be a word without a meaning."""
    for device in request.devices or ("cpu",):
        if not _has_tf32(device):
            raise UserError(
                f"--tf32 is for GPUs of NVIDIA's from Ampere on, and {device} has no TF32; "
                "add --device cuda or gpu-aot:A100, or leave it out"
            )
    if request.dtypes and "float32" not in request.dtypes:
        raise UserError(f"--tf32 is of float32, and --dtype has {', '.join(request.dtypes)}; leave one of them out")


def _has_tf32(device: str) -> bool:
    """Whether float32 products may be in TF32 there; of a card that is there only it knows."""
    kind, _, card = device.partition(":")
    return kind_of(device) == "cuda" or (kind == GPU_AHEAD and (card not in GPU_CARDS or GPU_CARDS[card].has_tf32))


def idle_files(request: RunRequest, workloads: Mapping[str, Definition], own: Sequence[str]) -> list[str]:
    """What to note of the ideas in the user's own files that --workload leaves out: they are known and do not run."""
    idle = [name for name in own if request.workloads and name not in request.workloads]
    return [
        f"--workload-file defines {name}, which --workload leaves out, so that it does not run"
        for name in idle
        if workloads[name].role == "idea"
    ]


def _matrices(request: RunRequest, takers: Sequence[str]) -> None:
    for value in request.axes.get("pattern", ()):
        if isinstance(value, str) and re.fullmatch(matrix_names.OF_FILE.matches, value, re.DOTALL):
            raise UserError(f"--set pattern={value} names a file's matrix; give the file itself by --matrix FILE")
    if not request.matrices:
        return
    if request.workloads and not set(takers) & set(request.workloads):
        names = ", ".join(takers)
        raise UserError(f"--matrix runs {names}, which --workload leaves out; add one of them, or leave one option out")
    for axis in _OF_THE_FILE:
        if axis in request.axes:
            raise UserError(f"--set {axis} and --matrix cannot go together, for the file gives {axis}; leave --set out")


def refuse_unused(request: RunRequest, ask: Ask, plan: Iterable[Planned], workloads: Mapping[str, Definition]) -> None:
    """PlanError for a name that was asked for and is in no case of the plan, though others are."""
    chosen = set(ask.workloads) or {name for name, workload in workloads.items() if workload.role == "idea"}
    cases = [planned.case for planned in plan if planned.case.workload in chosen]
    for option, names, field in (
        ("--backend", request.backends, "backend"),
        ("--device", request.devices, "device"),
        ("--execution", request.executions, "execution"),
        ("--formulation", request.formulations, "formulation"),
    ):
        used = {getattr(case, field) for case in cases}
        for name in names:
            if name not in used:
                raise PlanError(f"{option} {name} has no case beside the other options; leave it or one of them out")
