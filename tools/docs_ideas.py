"""What was found here of one idea: rows of a stored run in words and a table, and the picture of its formulations.

And what no run measures: how much gradient reaches the layers of a sparse network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tools import docs_blocks, docs_picture
from tools import docs_sources as sources
from tools.docs_pages import BLOCK, Block, PageError, table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.figures.break_even import BreakEven
    from harness.figures.summary import Row

_TITLES = {backend: title for backend, (title, _) in docs_picture.SERIES.items()}
_FLOW = {"batch": 64, "features": 784, "hidden": 256, "layers": 3, "density": 0.1, "phase": "step"}
_MOVED = {"rigl": "weights", "blocks": "blocks of 16×16"}  # what is stored, by the rule that moves it
_SEEDS = range(3)
_VERDICTS = {"faster": "is faster than", "tie": "ties with", "slower": "is slower than"}


def found(block: Block) -> str:
    """The rows of an idea in a stored run, or that none is stored; the block names the run and the workload."""
    name, workload = _words(block)
    if not _stored(name):
        return f"No run is stored yet. `hwlottery run --preset ideas --out results/{name}` measures it."
    rows = [row for row in sources.summary(name).rows if row.workload == workload]
    if not rows:
        raise PageError(f"{block.page}: results/{name} has no row of {workload}; hwlottery run --preset ideas has")
    picture = f"![Every way to write it over the dense twin](../_static/{_picture(workload)})"
    made = [_where(block, name), said(rows), _figures(rows)]
    made += ["\n".join(f"- {_even(even)}" for even in sources.summary(name).break_even if even.workload == workload)]
    return "\n\n".join(part for part in (*made, picture) if part)


def pictures() -> dict[Path, str]:
    """The picture of every idea that a page tells of, by its file."""
    made = {}
    for page in sorted((sources.DOCS / "ideas").glob("*.md")):
        for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if match["name"] == "found":
                name, workload = _words(Block("found", tuple(match["words"].split()), match["body"], page))
                if _stored(name):
                    made[sources.DOCS / "_static" / _picture(workload)] = docs_picture.ways(name, workload)
    return made


def _words(block: Block) -> tuple[str, str]:
    if len(block.words) != 2:
        raise PageError(f"{block.page}: found takes the names of a stored run and of a workload")
    return block.words[0], block.words[1]


def _stored(name: str) -> bool:
    return (sources.RESULTS / name / "records.jsonl").is_file()


def _picture(workload: str) -> str:
    return f"idea-{workload.replace('_', '-')}.svg"


def _where(block: Block, name: str) -> str:
    return f"By {docs_blocks.command(Block('command', (name,), '', block.page))} on {docs_picture.machine(name)}."


def said(rows: Sequence[Row]) -> str:
    """In which framework each point is faster than its dense twin, ties with it or is slower; in one sentence each."""
    sentences = []
    for label in dict.fromkeys(row.label for row in rows):
        at_point = [row for row in rows if row.label == label]
        parts = []
        for verdict, words in _VERDICTS.items():
            where = [
                f"{_TITLES.get(row.backend, row.backend)}"
                for row in at_point
                if row.principal is not None and row.principal.verdict == verdict
            ]
            parts += [f"{words} its dense twin in {_listed(where)}"] if where else []
        without = [_TITLES.get(r.backend, r.backend) for r in at_point if r.path is None]
        parts += [f"runs in no way in {_listed(without)}"] if without else []
        if parts:
            sentences.append(f"With {label}, it {_listed(parts)}." if label else f"It {_listed(parts)}.")
    return " ".join(sentences)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _figures(rows: Sequence[Row]) -> str:
    """A line a point and framework: the best path, and the figures against every twin."""
    from harness.report import wording

    labels = len({row.label for row in rows}) > 1
    kinds = list(dict.fromkeys(against.kind for row in rows for against in row.against))
    head = [*(["point"] if labels else []), "framework", "best path", "time"]
    head += [f"{figure} ({kind.replace('_', ' ')})" for kind in kinds for figure in ("speed-up", "tax")]
    lines = []
    for row in rows:
        cells = sources.cells(row)
        line = [
            *([row.label] if labels else []),
            _TITLES.get(row.backend, row.backend),
            cells["best path"],
            cells["time"],
        ]
        for kind in kinds:
            against = next((a for a in row.against if a.kind == kind), None)
            line += [wording.speed_up_cell(against).replace("*", "\\*"), wording.tax_cell(against)]
        lines.append(line)
    return table(head, lines)


def _even(even: BreakEven) -> str:
    return f"{_TITLES.get(even.backend, even.backend)}: {even.sentence}"


def flow(_: Block) -> str:
    """The gradient of the stored weights of each layer over that of the dense network, the range over the seeds."""
    from workloads.base import Parameters
    from workloads.common import gradient_flow

    found = {
        moved: [gradient_flow.gradient_flow(Parameters({**_FLOW, "rule": rule}), seed) for seed in _SEEDS]
        for rule, moved in _MOVED.items()
    }
    when = {"in the first step": "first", f"after {gradient_flow.STEPS} steps": "after"}
    head = ["layer", *(f"{moved}, {words}" for moved in found for words in when)]
    lines = []
    for layer in range(int(_FLOW["layers"]) + 1):
        values = [
            [getattr(one, moment)[layer] for one in several] for several in found.values() for moment in when.values()
        ]
        lines.append([str(layer + 1), *(f"{min(v):.2f}…{max(v):.2f}" for v in values)])
    network = "{features}-{layers}×{hidden}-10 at density {density}, batches of {batch} digits".format(**_FLOW)
    return f"{network}, seeds {_SEEDS[0]} to {_SEEDS[-1]}.\n\n{table(head, lines)}"
