"""The table while a run goes on: the matrix on a terminal, in place; without one a line for each new figure."""

from __future__ import annotations

import shutil
import time

from harness.figures.frame import frame
from harness.figures.summary import Row, main_table
from harness.report.matrix import ideas
from harness.report.wording import Where, significant
from harness.running.progress import Watch
from harness.running.session import Session
from harness.stats.noise import noise_floor

EVERY_S = 5.0  # between two tables: each takes a tenth of a second of a core, while nothing is measured


class Live:
    """Told of a session after each of its steps, shows the figures of the headline points that are there."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last = float("-inf")
        self._said: set[tuple[str, ...]] = set()

    def __call__(self, session: Session) -> None:
        """Show what is new, unless the last table is not yet EVERY_S old."""
        if time.monotonic() - self._last < EVERY_S:
            return
        wanted = {planned.case.key for planned in session.plan if planned.repeated}
        records = [record for (key, _), record in session.records.items() if key in wanted]
        rows = main_table(frame([r for r in records if not r.control]), noise=noise_floor(records)) if records else []
        rows = [row for row in rows if row.principal is not None and row.principal.speed_up is not None]
        if not rows:
            return
        self._last = time.monotonic()
        where = Where(rows)
        if self._watch.live:
            self._watch.show(ideas(rows, where, shutil.get_terminal_size().columns))
            return
        for row in rows:
            which = (row.workload, row.point, row.mode, row.dtype, row.backend, row.device)
            if which not in self._said:
                self._said.add(which)
                self._watch.say(_line(row, where))


def _line(row: Row, where: Where) -> str:
    against = row.principal
    speed_up = against.speed_up if against is not None and against.speed_up is not None else 0.0
    name = f"{row.workload} {row.mode}" + (f" {row.label}" if row.label else "")
    return f"first figure: {name} on {where.of(row)} is {significant(speed_up)} times as fast as its dense twin"
