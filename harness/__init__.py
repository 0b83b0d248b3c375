"""Plans, runs, records, reports: plan → spawn → worker → record → store, then store → metrics → report.

In a notebook: `import harness; frame = harness.load(["runs/…"])`, a pandas DataFrame with the columns of
`harness.frame.COLUMNS`; `harness.metrics` has the derived figures as functions of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load(folders: Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """One row a case of the results folders, controls left out; StoreError for a folder that is none."""
    from harness.figures.frame import frame
    from harness.records.store import load as read

    return frame([record for folder in folders for record in read(Path(folder)).records if not record.control])
