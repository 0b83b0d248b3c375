"""The lottery across chips: what an idea's program costs on each chip that it was compiled for, and its rank there.

Of estimates only, in columns of their own. On each chip an idea stands by whichever framework's program has the least
estimated tax. Ranked are the ideas with an estimated speed-up on every chip that has any, so that the ranks mean the
same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import msgspec

from backends.device import GPU_AHEAD, TPU_AHEAD, Device
from backends.gpu_cards import GPU_CARDS
from backends.ops import TPU_CHIPS
from harness.figures.estimates import EstimateRow
from harness.stats.ranks import RankInterval, gap, rank_intervals
from workloads.base import Value

_ORDER = [f"{kind}:{name}" for kind, names in ((TPU_AHEAD, TPU_CHIPS), (GPU_AHEAD, GPU_CARDS)) for name in names]
_Idea = tuple[str, str, str, str]  # workload, point, mode, dtype


class ChipCell(msgspec.Struct, frozen=True, kw_only=True):
    """An idea on one chip. `refused` of `cases` programs did not compile; the figures are None where none did.

    `tax` is a lower bound where `tax_is_bound`, and `speed_up` then an upper one.
    """

    backend: str | None
    path: str | None
    tax: float | None
    tax_is_bound: bool
    speed_up: float | None
    temp_bytes: int | None
    kernels: int | None
    refused: int
    cases: int
    rank: RankInterval | None = None


class ChipRow(msgspec.Struct, frozen=True, kw_only=True):
    """An idea at one point on every chip, by the chip's name as a device.

    `shift` is by how many ranks it moves between two chips at least, None where it has no rank or nothing can be told.
    """

    workload: str
    point: str
    params: dict[str, Value]
    mode: str
    dtype: str
    cells: dict[str, ChipCell]
    shift: int | None


def across_chips(rows: Iterable[EstimateRow]) -> list[ChipRow]:
    """A row for each idea compiled for two chips or more; none where there is one chip. Of several runs the newest."""
    found: dict[_Idea, dict[str, list[EstimateRow]]] = defaultdict(lambda: defaultdict(list))
    for row in _newest(rows):
        if row.twin_kind not in (None, "itself"):
            found[row.workload, row.point, row.mode, row.dtype][row.device].append(row)
    chips = sorted({chip for at in found.values() for chip in at}, key=_order)
    if len(chips) < 2:
        return []
    cells = {idea: {chip: _cell(at[chip]) for chip in chips if chip in at} for idea, at in found.items()}
    ranks = _ranks(cells, chips)
    out = []
    for idea, at in cells.items():
        workload, point, mode, dtype = idea
        mine = ranks.get(idea, {})
        placed = {chip: msgspec.structs.replace(cell, rank=mine.get(chip)) for chip, cell in at.items()}
        params = next(iter(found[idea].values()))[0].params
        shift = _shift(list(mine.values()))
        out.append(
            ChipRow(workload=workload, point=point, params=params, mode=mode, dtype=dtype, cells=placed, shift=shift)
        )
    return out


def chips_of(rows: Sequence[ChipRow]) -> list[str]:
    """The chips that any of the rows was compiled for, TPUs first, each kind from the oldest on."""
    return sorted({chip for row in rows for chip in row.cells}, key=_order)


def chip_name(device: str) -> str:
    """`H100` of `gpu-aot:H100`."""
    return str(Device.parse(device).chip)


def _order(device: str) -> int:
    return _ORDER.index(device)


def _newest(rows: Iterable[EstimateRow]) -> list[EstimateRow]:
    """Of each framework's estimate of an idea for a chip that of the newest run; runs are named by when they began."""
    out: dict[tuple[object, ...], EstimateRow] = {}
    for row in sorted(rows, key=lambda row: row.run):
        out[row.workload, row.point, row.mode, row.dtype, row.device, row.backend] = row
    return list(out.values())


def _cell(rows: Sequence[EstimateRow]) -> ChipCell:
    """By the framework with the least tax; one whose tax is a lower bound only after those whose is not."""

    def order(row: EstimateRow) -> tuple[bool, bool, bool, float]:
        return row.path is None, row.tax is None, row.tax_is_bound, row.tax or 0.0

    best = min(rows, key=order)
    return ChipCell(
        backend=best.backend if best.path else None,
        path=best.path,
        tax=best.tax,
        tax_is_bound=best.tax_is_bound,
        speed_up=best.speed_up,
        temp_bytes=best.temp_bytes,
        kernels=best.kernels,
        refused=sum(row.refused for row in rows),
        cases=sum(row.cases for row in rows),
    )


def _ranks(cells: dict[_Idea, dict[str, ChipCell]], chips: Sequence[str]) -> dict[_Idea, dict[str, RankInterval]]:
    # A chip whose compiler refuses every program takes no rank away on the others.
    chips = [chip for chip in chips if any(chip in at and at[chip].speed_up for at in cells.values())]
    ranked = [idea for idea, at in cells.items() if all(chip in at and at[chip].speed_up for chip in chips)]
    out: dict[_Idea, dict[str, RankInterval]] = {idea: {} for idea in ranked}
    for chip in chips:
        speed_ups = [cells[idea][chip].speed_up or 0.0 for idea in ranked]
        spans = [
            (0.0 if cells[idea][chip].tax_is_bound else speed_up, speed_up)
            for idea, speed_up in zip(ranked, speed_ups, strict=True)
        ]
        for idea, rank in zip(ranked, rank_intervals(speed_ups, spans), strict=True):
            out[idea][chip] = rank
    return out


def _shift(ranks: Sequence[RankInterval]) -> int | None:
    """The largest gap between two; 0 of ranks that are sure and the same; else None: it cannot be told."""
    moved = max((gap(a, b) for a, b in combinations(ranks, 2)), default=0)
    sure = bool(ranks) and all(rank.low == rank.high for rank in ranks)
    return moved or (0 if sure else None)
