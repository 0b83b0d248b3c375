"""The words of processes that failed or printed, beside the records: `logs/KEY.txt`, KEY being the case's."""

from __future__ import annotations

from pathlib import Path

from harness.records.disk import why
from harness.records.record import Case
from harness.worker.client import Answer

FOLDER = "logs"
MOST = 1000  # files: with the most that is kept of each (worker/printed.py) a run's logs stay below 20 MiB


class Logs:
    """Tracebacks and output of a run's cases; a file holds those of the case's last process that had any."""

    def __init__(self, results: Path) -> None:
        self._folder = results / FOLDER
        self._kept: set[str] = set()
        self._lost: str | None = None  # why words were not kept

    def keep(self, case: Case, answer: Answer) -> None:
        """Write what a process of `case` said, if it said anything."""
        if answer.log is None or (case.key not in self._kept and len(self._kept) >= MOST):
            return
        outcome = answer.measured.status if answer.measured.reason is None else answer.measured.reason
        try:  # words are worth less than the run
            self._folder.mkdir(exist_ok=True)
            (self._folder / f"{case.key}.txt").write_text(f"{case}\n{outcome}\n\n{answer.log}", "utf-8", "replace")
        except OSError as error:
            self._lost = why(error)
            return
        self._kept.add(case.key)

    @property
    def note(self) -> str | None:
        """One sentence that says where they are; None where there are none."""
        if self._lost is not None:
            return f"what some cases printed could not be kept in {FOLDER}/ ({self._lost})"
        if not self._kept:
            return None
        cases = "1 case" if len(self._kept) == 1 else f"{len(self._kept)} cases"
        return (
            f"tracebacks and output of {cases} that failed or printed are in {FOLDER}/, a file each, named by its key"
        )
