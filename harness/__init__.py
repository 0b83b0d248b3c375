"""Plans, runs, records, reports: cli → planning → running → worker → records, then records → figures → report.

In a notebook, from the folder of the checkout:

    import harness

    frame = harness.load("results/quick-cpu")  # a row a case, columns as in harness.COLUMNS
    best = harness.best_paths(frame)  # of each point, backend and device the fastest path that is right
    against = harness.comparisons(best)  # an idea beside a dense twin; `idea` and `twin` are their rows in `best`
    named = against.join(best[["workload", "point", "mode", "backend"]], on="idea")
    print(named[["workload", "point", "mode", "backend", "twin_workload", "time_ratio", "tax"]])

Every public name is in `__all__`, and is imported when it is first used: `import harness` itself is light.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from harness.errors import UserError
    from harness.figures.amortisation import amortisation
    from harness.figures.best_paths import best_paths
    from harness.figures.break_even import break_even
    from harness.figures.ceilings import ceilings
    from harness.figures.frame import COLUMNS
    from harness.figures.lottery import lottery_shift
    from harness.figures.portability import portability
    from harness.figures.summary import summarise
    from harness.figures.twins import comparisons
    from harness.records.store import load as read_run

__all__ = [
    "COLUMNS",
    "UserError",
    "amortisation",
    "best_paths",
    "break_even",
    "ceilings",
    "comparisons",
    "load",
    "lottery_shift",
    "portability",
    "read_run",
    "summarise",
]

# Where each public name lives, and what it is called there.
_HOMES = {
    "COLUMNS": "harness.figures.frame.COLUMNS",
    "UserError": "harness.errors.UserError",
    "amortisation": "harness.figures.amortisation.amortisation",
    "best_paths": "harness.figures.best_paths.best_paths",
    "break_even": "harness.figures.break_even.break_even",
    "ceilings": "harness.figures.ceilings.ceilings",
    "comparisons": "harness.figures.twins.comparisons",
    "lottery_shift": "harness.figures.lottery.lottery_shift",
    "portability": "harness.figures.portability.portability",
    "read_run": "harness.records.store.load",
    "summarise": "harness.figures.summary.summarise",
}


def load(folders: str | PathLike[str] | Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """One row a case of one results folder or of several, controls left out; StoreError for a folder that is none.

    Times are in seconds, sizes in bytes, energies in joules, as the names of the columns say.
    """
    from harness.figures.frame import frame
    from harness.records.store import load as read

    several = [folders] if isinstance(folders, str | PathLike) else list(folders)
    return frame([record for folder in several for record in read(Path(folder)).records if not record.control])


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'harness' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    module, _, own = home.rpartition(".")
    return getattr(importlib.import_module(module), own)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
