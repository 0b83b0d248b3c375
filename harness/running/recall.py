"""What a run that goes on measured before, handed out where it would measure it: so it takes the way that it took.

A run decides by its records what it measures next: which paths go on, which cases have controls, which members a group
has. With all records there from the beginning it would decide otherwise. So it begins anew, and is given what is
stored of each group when it comes to it; only what is missing is measured.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

import msgspec

from harness.planning.groups import InterleavedGroup, MemberKey
from harness.records.collecting import uncollected
from harness.records.record import Record

MOST = 0.5  # the share of those it was measured with, from which on a process is of a group


class Recall:
    """The stored processes of a run, one record each or merged ones, until each was handed out once."""

    @uncollected()
    def __init__(self, records: Iterable[Record]) -> None:
        self._timed: dict[tuple[MemberKey, int], list[Record]] = defaultdict(list)
        self._untimed: dict[MemberKey, deque[Record]] = defaultdict(deque)
        self._together: dict[int, set[MemberKey]] = defaultdict(set)  # by number of a group as it was stored
        self.last_group = 0
        for record in records:
            for process in _processes(record):
                self._add(process)

    def _add(self, process: Record) -> None:
        key = (process.case.key, process.control)
        if process.time is None:
            self._untimed[key].append(process)
            return
        trial = process.time.trials[0]
        self._timed[key, trial.round].append(process)
        if trial.heat is not None:
            self._together[trial.heat].add(key)
            self.last_group = max(self.last_group, trial.heat)

    def of(self, group: InterleavedGroup, round_: int) -> dict[MemberKey, Record]:
        """What is stored of the members of a group in a round, by member; what is not there was not measured.

        A twin is in several groups of a round: its process is of this one if most of those that were measured beside it
        are. What failed or was refused has no round, and stands for each.
        """
        wanted = {member.key for member in group.members}
        found: dict[MemberKey, Record] = {}
        for key in wanted:
            stored = self._timed.get((key, round_), [])
            ranked = [(*self._common(process, wanted), -place) for place, process in enumerate(stored)]
            share, _, place = max(ranked, default=(0.0, 0, 0))
            if share > MOST:
                found[key] = stored.pop(-place)
            elif self._untimed.get(key):
                several = self._untimed[key]
                found[key] = several.popleft() if len(several) > 1 else several[0]
        return found

    def _common(self, process: Record, wanted: set[MemberKey]) -> tuple[float, int]:
        """Of those that it was measured with, the share that is wanted, and how many these are."""
        heat = process.time.trials[0].heat if process.time is not None else None
        if heat is None:
            return 1.0, 1
        together = self._together[heat]
        return len(together & wanted) / len(together), len(together & wanted)


def _processes(record: Record) -> Iterator[Record]:
    """A record for each process of a record."""
    time = record.time
    if time is None or len(time.trials) == 1:
        yield record
        return
    for trial, samples in zip(time.trials, time.samples_s, strict=True):
        own = msgspec.structs.replace(
            time,
            first_call_s=trial.first_call_s,
            compile_s=trial.compile_s,
            convert_s=trial.convert_s,
            samples_s=[samples],
            steady=trial.steady,
            drift=trial.drift,
            trials=[trial],
        )
        yield msgspec.structs.replace(record, time=own)
