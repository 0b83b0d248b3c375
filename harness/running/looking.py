"""The looks: what may yet be the best path, and the points of sweeps, in short windows beside the best known."""

from __future__ import annotations

from collections.abc import Sequence

from backends.device import is_ahead_of_time
from harness.planning import selection
from harness.planning.batches import batches
from harness.planning.groups import InterleavedGroup
from harness.planning.looks import behind_twins, doubting, looks, neglected_twins, window, worth
from harness.planning.plan import Planned
from harness.running.session import BudgetSpentError, Session

SURVEY, SWEEP = "survey", "sweep"


def look(session: Session, name: str, plan: Sequence[Planned]) -> None:
    """Look at the cases of `plan` that have no record yet, while there is time; `name` is SURVEY or SWEEP.

    A survey looks first, at any headline point, at what is in doubt (`_in_doubt`). Then goes what is most likely the
    best path, over the seconds that it takes. A survey ends early enough for the sweep and the rounds that follow, and
    a sweep with the time of the preset; what they did not come to is told in the run's account of what was left out.
    """
    plan = [planned for planned in plan if not is_ahead_of_time(planned.case.device)]
    with session.clock.timing(f"{name}_s"):
        first = _in_doubt(session) if name == SURVEY else []
        keys = {planned.case.key for planned in first}
        for part in (first, [planned for planned in plan if planned.case.key not in keys]):
            if part:
                _look(session, name, part)
        session.late += [planned for planned in plan if (planned.case.key, False) not in session.records]


def _in_doubt(session: Session) -> list[Planned]:
    """What may well show that a point is not slower than its dense twin, or that a twin is faster, and has no record.

    These are the worst that a table can say in error.
    """
    records = session.cases()
    here = [planned for planned in session.plan if planned.repeated and not is_ahead_of_time(planned.case.device)]
    found = doubting(here, session.foresight, behind_twins(here, records))
    wanted = {planned.case.key: planned for planned in (*neglected_twins(here, records), *found)}
    return [planned for key, planned in wanted.items() if key not in records]


def _look(session: Session, name: str, plan: Sequence[Planned]) -> None:
    options = session.options
    behind = behind_twins(session.plan, session.cases())

    def promise(cases: Sequence[Planned]) -> float:
        return worth(cases, session.foresight, behind)

    def new(group: InterleavedGroup) -> list[Planned]:
        return [member.planned for member in group.members if member.key not in session.records]

    order = selection.shuffled(plan, options.seed, 0)
    order.sort(key=lambda planned: promise([planned]), reverse=True)
    groups = looks(order, session.plan, session.records, options.memory_bytes, together=options.rounds > 0)
    groups.sort(key=lambda group: promise(new(group)), reverse=True)
    session.watch.begin(name, sum(len(new(group)) for group in groups))
    for batch in batches(groups, session.records, options.memory_bytes):
        cases = [planned for group in batch for planned in new(group)]
        seconds = sum(session.expected_s(group, window(group, options)) for group in batch)
        past = session.past_looks if name == SURVEY else session.past_sweeps
        if session.spent() or past(seconds):
            break
        try:
            session.measure(batch, lambda group: window(group, options))
        except BudgetSpentError:
            break
        session.watch.done(len(cases))
