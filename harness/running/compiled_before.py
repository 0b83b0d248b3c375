"""Which cases were compiled before, with the compile caches of this machine: an empty file for each, beside the caches.

The caches are the frameworks' own and do not say what they hold. Counting their files told cold from warm while one
process compiled at a time; several do now.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from harness.records.record import Case
from harness.records.store import RunInfo

FOLDER = "cases"


class CompiledBefore:
    """Of one set of sources and versions: other sources make other programs."""

    def __init__(self, cache: Path, info: RunInfo) -> None:
        self._folder = cache / FOLDER
        self._context = msgspec.json.encode([info.sources, info.versions], order="deterministic")

    def has(self, case: Case) -> bool:
        """Whether an earlier process compiled it."""
        return self._file(case).exists()

    def warm(self, case: Case) -> bool:
        """Whether nothing of it is yet to be compiled: also true of what runs as it is."""
        return case.execution != "compiled" or self.has(case)

    def add(self, case: Case) -> None:
        """Remember that one did. A cache that cannot be written to stays cold, which is what is then said of it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(case).touch()
        except OSError:
            return

    def _file(self, case: Case) -> Path:
        return self._folder / hashlib.sha256(self._context + case.key.encode()).hexdigest()[:24]
