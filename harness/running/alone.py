"""Survey and sweep: every case once, alone, in shuffled order; before them what is only compiled, side by side."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

import msgspec

from backends.device import is_ahead_of_time
from harness.measuring.settings import Sampling
from harness.planning import selection
from harness.planning.groups import Member
from harness.planning.plan import Planned
from harness.running.session import Session
from harness.running.side_by_side import side_by_side
from harness.worker.client import Answer

SURVEY_SHARE = 0.2  # of the window: the survey only has to find what is worth the rounds
SURVEY_LONG_S = 0.1  # and of calls as long as this two samples show it
SWEEP_SHARE = 0.25  # what has one process only


def step(session: Session, name: str, plan: Sequence[Planned]) -> None:
    """Run the cases of `plan` that have no record yet, until the budget ends; `name` is survey or sweep."""
    began = time.monotonic()
    order = selection.shuffled(plan, session.options.seed, 0)
    session.watch.begin(name, len(order))
    order = _compile(session, name, order)
    for number, planned in enumerate(order):
        if session.spent():
            left = len(order) - number
            session.notes.append(f"the budget ended in the {name}: {left} of {len(order)} cases were not run")
            break
        if (planned.case.key, False) not in session.records:
            session.watch.now(str(planned.case))
            again = planned.repeated and session.options.rounds > 0
            (answer,) = session.ask([Member(planned)], short(session, planned), last=not again)
            session.keep(Member(planned), answer, order=number)
        session.watch.done()
    session.clock.phases[f"{name}_s"] += time.monotonic() - began


def _compile(session: Session, name: str, order: Sequence[Planned]) -> list[Planned]:
    """The cases whose device is compiled for and not run, all frameworks at once; returns the others."""
    queues: dict[tuple[str, str], list[Planned]] = defaultdict(list)
    for planned in order:
        if is_ahead_of_time(planned.case.device):
            if (planned.case.key, False) in session.records:
                session.watch.done()
            else:
                queues[planned.case.backend, planned.case.device].append(planned)

    def abandon() -> None:
        for key in queues:
            session.pool.close(*key)

    def ask(planned: Planned) -> Answer:
        return session.ask([Member(planned)], short(session, planned))[0]

    left = sum(map(len, queues.values()))
    with closing(side_by_side(queues.values(), ask, abandon)) as answers:
        for planned, answer in answers:
            session.watch.now(str(planned.case))
            session.keep(Member(planned), answer, order=0)
            session.watch.done()
            left -= 1
            if left and session.spent():
                session.notes.append(f"the budget ended in the {name}: {left} cases were not compiled")
                break
    return [planned for planned in order if not is_ahead_of_time(planned.case.device)]


def short(session: Session, planned: Planned) -> Sampling:
    """What a case gets that may yet be measured again, or never will be compared with an interval."""
    whole = session.options.sampling
    if not session.options.rounds:
        return msgspec.structs.replace(whole, slices=1)
    if planned.repeated:
        return msgspec.structs.replace(
            whole, window_s=SURVEY_SHARE * whole.window_s, min_samples=4, slices=1, long_s=SURVEY_LONG_S
        )
    return msgspec.structs.replace(whole, window_s=SWEEP_SHARE * whole.window_s, min_samples=4, slices=1)
