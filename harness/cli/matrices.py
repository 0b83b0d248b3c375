"""`run --matrix FILE…`: what each file is, said to the user, and the points that it is measured at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from harness.errors import UserError
from harness.planning.request import RunRequest
from harness.records.text import plain
from workloads.base import Definition, Point
from workloads.common import matrix_files, matrix_names, structure
from workloads.common.matrix import FileMatrix, MatrixError, Source
from workloads.common.structure import Structure

_LONGEST = 400  # characters of a sentence about a file
_ANY = "unstructured_sparse"  # whose widths are taken for a workload that has no point in the preset


def chosen(
    request: RunRequest, workloads: Mapping[str, Definition]
) -> tuple[Mapping[str, Sequence[Point]], Sequence[str]]:
    """The points of the matrices given, by workload, and a sentence about each file; the run's processes can find them.

    Each matrix runs at the widths n that were asked for, or else those of the preset, as every workload that takes
    matrices and whose structure it has. UserError names a file and what is wrong with it.
    """
    points: dict[str, list[Point]] = defaultdict(list)
    said: list[str] = []
    sources: dict[str, Source] = {}
    try:
        for text in request.matrices:
            source = matrix_files.source_of(text)
            matrix = matrix_files.read(source)
            _check_dtypes(source, matrix, request.dtypes or ("float32",))
            name = matrix_names.named(matrix, source)
            same = next((known for known in sources if known.split(":")[1] == name.split(":")[1]), None)
            if same is not None:
                said.append(f"{source}: holds the same matrix as {same}, and is measured once")
                continue
            sources[name] = source
            found = structure.structures(matrix.pattern)
            runs = [s for s in found if _takes(request, workloads, s.workload)]
            if not runs:
                raise MatrixError(
                    f"{source}: {_described(matrix, found)}: nothing in --workload runs that; leave it out"
                )
            for run in runs:
                points[run.workload] += _points(request, workloads, run, matrix, name)
            said.append(f"{source}: {_described(matrix, found)}; runs as {', '.join(run.workload for run in runs)}")
        matrix_names.at_hand([*sources.items()])
    except MatrixError as error:
        raise UserError(plain(error, _LONGEST)) from None
    for name in request.workloads:
        if sources and _takes(request, workloads, name) and name not in points:
            raise UserError(
                f"--workload {name} runs none of the matrices given, for none has its structure; leave it out"
            )
    return points, [plain(sentence, _LONGEST) for sentence in said]


def _takes(request: RunRequest, workloads: Mapping[str, Definition], name: str) -> bool:
    asked = not request.workloads or name in request.workloads
    return asked and name in workloads and matrix_names.takes_files(workloads[name])


def _points(
    request: RunRequest, workloads: Mapping[str, Definition], run: Structure, matrix: FileMatrix, name: str
) -> list[Point]:
    presets = (workloads[w].presets.get(request.preset, ()) for w in (run.workload, _ANY) if w in workloads)
    usual = next((sorted({int(p.params["n"]) for p in preset}) for preset in presets if preset), [1])
    m, k = matrix.pattern.shape
    workload = workloads[run.workload]
    return [
        Point(workload.completed({"m": m, "k": k, "n": n, **run.axes, "pattern": name}))
        for n in request.axes.get("n", usual)
    ]


def _described(matrix: FileMatrix, found: Sequence[Structure]) -> str:
    (rows, columns), count = matrix.pattern.shape, len(matrix.pattern.indices)
    values = "its own values" if matrix.values is not None else "no values, so that these are drawn"
    why = ", ".join(s.why for s in found)
    return f"{rows}×{columns} with {count} non-zeros ({why}), {values}"


def _check_dtypes(source: Source, matrix: FileMatrix, dtypes: Sequence[str]) -> None:
    """MatrixError where the largest value is none in one of the dtypes; an unknown dtype is for others to refuse."""
    if matrix.values is None:
        return
    largest = float(np.abs(matrix.values).max())
    for dtype in dtypes:
        if dtype not in ("float16", "bfloat16", "float32"):
            continue
        limits = ml_dtypes.finfo(dtype)
        low, high = float(limits.smallest_normal), float(limits.max)
        if not low <= largest <= high:
            said = f"has {largest:.3g} as its largest value, and {dtype} holds {low:.3g}…{high:.3g}"
            raise MatrixError(f"{source}: {said}; scale it, or choose another --dtype")
