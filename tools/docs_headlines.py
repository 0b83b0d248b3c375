"""Four headlines of the field, from a stored run: what others published, in our numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.figures.best_paths import best_rows
from harness.figures.frame import case_rows
from harness.figures.twins import compared_rows
from harness.records.store import load
from tools.docs_pages import table

FORWARD = "forward"


class Run:
    """A stored run as rows: every case, every best path, every comparison with a twin."""

    def __init__(self, folder: Path) -> None:
        self.cases = case_rows([r for r in load(folder).records if not r.control])
        self.best = best_rows(self.cases)
        self.compared = compared_rows(self.best)
        self.backends = sorted({c["backend"] for c in self.cases}, reverse=True)

    def paths(self, workload: str, backend: str, wanted: dict[str, Any], mode: str = FORWARD) -> dict[str, float]:
        """Each formulation that is ok at a point, by its faster execution, in seconds."""
        out: dict[str, float] = {}
        for c in self.cases:
            fits = wanted.items() <= c["params"].items() and (c["workload"], c["backend"]) == (workload, backend)
            if fits and c["mode"] == mode and c["time_s"] == c["time_s"]:
                out[c["formulation"]] = min(c["time_s"], out.get(c["formulation"], c["time_s"]))
        return out

    def against(self, workload: str, backend: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """The best path of a point held against its principal twin."""
        for row in self.compared:
            idea = self.best[row["idea"]]
            found = (idea["workload"], idea["backend"], idea["mode"]) == (workload, backend, FORWARD)
            if found and row["principal"] and wanted.items() <= idea["params"].items():
                return row
        return None


def _times(value: float, low: float | None = None, high: float | None = None) -> str:
    if value != value:
        return ""
    interval = "" if low is None or low != low or high != high else f" [{low:.3g}, {high:.3g}]"
    return f"{value:.3g}×{interval}"


def _speed_up(n: int) -> Callable[[Run, str], str]:
    def cell(run: Run, backend: str) -> str:
        row = run.against("unstructured_sparse", backend, {"n": n, "density": 0.1})
        return "" if row is None else _times(row["speed_up"], row["speed_up_low"], row["speed_up_high"])

    return cell


def _formats(run: Run, backend: str) -> str:
    paths = run.paths("unstructured_sparse", backend, {"n": 128, "density": 0.1})
    paths.pop("masked_dense", None)  # no format: the zeros are multiplied
    if len(paths) < 2:
        return ""
    slow, fast = max(paths, key=paths.__getitem__), min(paths, key=paths.__getitem__)
    return f"{_times(paths[slow] / paths[fast])} ({slow} over {fast})"


def _ratio(workload: str, slow: str, wanted: dict[str, Any]) -> Callable[[Run, str], str]:
    def cell(run: Run, backend: str) -> str:
        paths = run.paths(workload, backend, wanted)
        if slow not in paths:
            return ""
        fast = min(paths, key=paths.__getitem__)
        return f"{_times(paths[slow] / paths[fast])} (over {fast})"

    return cell


def _work(run: Run, backend: str) -> str:
    row = run.against("capsule_conv", backend, {"height": 15})
    return "" if row is None or row["work_ratio"] != row["work_ratio"] else f"{row['work_ratio']:.3g}"


def _tax(run: Run, backend: str) -> str:
    row = run.against("capsule_routing", backend, {})
    return "" if row is None else _times(row["tax"], row["tax_low"], row["tax_high"])


ROWS: Sequence[tuple[str, str, Callable[[Run, str], str]]] = (
    ("Sparse pays for one column and loses its gain as columns grow", "speed-up at density 0.1, N=1", _speed_up(1)),
    ("(DeepBench 2016)", "N=128", _speed_up(128)),
    ("", "N=1500", _speed_up(1500)),
    ("Formats differ by more than ten times in one framework", "slowest over fastest, density 0.1, N=128", _formats),
    ("A capsule convolution is a folded convolution in FLOP,", "useful FLOP over the convolution's", _work),
    (
        "and patches + batched matmul pays many times over (Barham & Isard 2019)",
        "patches over the best path",
        _ratio("capsule_conv", "patches", {"height": 15}),
    ),
    (
        "Routing by the textbook costs many times its best form,",
        "textbook over the best path",
        _ratio("capsule_routing", "textbook", {}),
    ),
    ("and that several times its fully connected twin", "tax of the best path", _tax),
)


def headlines(folder: Path) -> str:
    """The Markdown table, a column for each backend."""
    run = Run(folder)
    rows = [[claim, figure, *(cell(run, b) for b in run.backends)] for claim, figure, cell in ROWS]
    return table(["what others found", "figure", *run.backends], rows)
