"""What is compiled for a device that is not there: every case once, all frameworks side by side; nothing is timed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

from backends.device import is_ahead_of_time
from harness.planning.groups import Member
from harness.planning.plan import Planned
from harness.running.servers import ServerKey
from harness.running.session import Session
from harness.running.side_by_side import side_by_side
from harness.worker.client import Answer


def compile_all(session: Session, name: str, plan: Sequence[Planned]) -> None:
    """Compile the cases of `plan` that are for such a device and have no record, until the budget ends."""
    wanted = [p for p in plan if is_ahead_of_time(p.case.device) and (p.case.key, False) not in session.records]
    if not wanted:
        return
    session.watch.begin(name, len(wanted))
    queues: dict[ServerKey, list[Planned]] = defaultdict(list)
    for planned in _with_inputs(session, wanted):
        queues[planned.case.backend, planned.case.device].append(planned)

    def abandon() -> None:
        for key in queues:
            session.pool.close(key)

    def ask(planned: Planned) -> Answer:
        sampling = session.options.sampling
        return session.pool.ask(Member(planned), lambda _, member, data: session.job(member, data, sampling))

    with closing(side_by_side(queues.values(), ask, abandon)) as answers:
        for planned, answer in answers:
            session.watch.now(str(planned.case))
            session.keep_alone(Member(planned), answer)
            session.watch.done()
            if session.spent():
                break
    late = [p for p in wanted if (p.case.key, False) not in session.records]
    if late:
        session.notes.append(f"the budget ended in the {name}: {len(late)} cases were not compiled")
        session.late += late


def _with_inputs(session: Session, wanted: Sequence[Planned]) -> list[Planned]:
    """Those whose inputs there was time to make: all, or with a budget a workload at a time until it is spent."""
    if session.options.budget_s is None:
        session.pool.make_inputs(wanted)
        return list(wanted)
    made: list[Planned] = []
    for workload in dict.fromkeys(planned.case.workload for planned in wanted):
        of = [planned for planned in wanted if planned.case.workload == workload]
        session.pool.make_inputs(of)
        if session.spent():
            break
        made += of
    return made
