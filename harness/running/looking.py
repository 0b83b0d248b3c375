"""The looks: what may yet be the best path, and the points of sweeps, in short windows beside the best known."""

from __future__ import annotations

from collections.abc import Sequence

from backends.device import is_ahead_of_time
from harness.planning import selection
from harness.planning.batches import batches
from harness.planning.groups import InterleavedGroup
from harness.planning.looks import behind_twins, doubting, looks, window, worth
from harness.planning.plan import Planned
from harness.running.session import BudgetSpentError, Session

SURVEY, SWEEP = "survey", "sweep"


def look(session: Session, name: str, plan: Sequence[Planned]) -> None:
    """Look at the cases of `plan` that have no record yet, while there is time; `name` is SURVEY or SWEEP.

    First what may well show that a point is not slower than its dense twin, as it is so far: that is the worst that a
    table can say in error. Then what is most likely the best path, over the seconds that it takes. A survey ends early
    enough for the sweep and the rounds that follow, and a sweep with the time of the preset; what they did not come to
    is told in the run's account of what was left out.
    """
    with session.clock.timing(f"{name}_s"):
        first = {p.case.key for p in doubting(plan, session.foresight, behind_twins(session.plan, session.cases()))}
        for part in ([p for p in plan if p.case.key in first], [p for p in plan if p.case.key not in first]):
            if part:
                _look(session, name, part)


def _look(session: Session, name: str, plan: Sequence[Planned]) -> None:
    options = session.options
    behind = behind_twins(session.plan, session.cases())

    def promise(cases: Sequence[Planned]) -> float:
        return worth(cases, session.foresight, behind)

    def new(group: InterleavedGroup) -> list[Planned]:
        return [member.planned for member in group.members if member.key not in session.records]

    order = selection.shuffled([p for p in plan if not is_ahead_of_time(p.case.device)], options.seed, 0)
    order.sort(key=lambda planned: promise([planned]), reverse=True)
    groups = looks(order, session.plan, session.records, options.memory_bytes, together=options.rounds > 0)
    groups.sort(key=lambda group: promise(new(group)), reverse=True)
    missing = [planned for group in groups for planned in new(group)]
    session.watch.begin(name, len(missing))
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
        done = {planned.case.key for planned in cases}
        missing = [planned for planned in missing if planned.case.key not in done]
        session.watch.done(len(cases))
    session.late += missing
