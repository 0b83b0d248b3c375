"""The one definition of a case's time that planning and reporting share."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.record import Record


def process_centres(samples_s: Sequence[Sequence[float]]) -> list[float]:
    """Median of each process's steady samples: robust against the odd interrupted one."""
    return [median(samples) for samples in samples_s if samples]


def centre(record: Record | None) -> float | None:
    """A case's time in seconds: the median over its processes of their medians; None unless it is `ok`."""
    if record is None or record.status != "ok" or record.time is None:
        return None
    centres = process_centres(record.time.samples_s)
    return median(centres) if centres else None
