"""What is compiled for a device that is not there: every case once, all frameworks side by side; nothing is timed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing

from backends.device import is_ahead_of_time
from harness.planning.groups import Member
from harness.planning.plan import Planned
from harness.running.session import Session
from harness.running.side_by_side import side_by_side
from harness.worker.client import Answer


def compile_all(session: Session, name: str, plan: Sequence[Planned]) -> None:
    """Compile the cases of `plan` that are for such a device and have no record, until the budget ends."""
    queues: dict[tuple[str, str], list[Planned]] = defaultdict(list)
    for planned in plan:
        if is_ahead_of_time(planned.case.device) and (planned.case.key, False) not in session.records:
            queues[planned.case.backend, planned.case.device].append(planned)
    left = sum(map(len, queues.values()))
    if not left:
        return
    session.watch.begin(name, left)
    session.pool.make_inputs([planned for queue in queues.values() for planned in queue])

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
            left -= 1
            if left and session.spent():
                session.notes.append(f"the budget ended in the {name}: {left} cases were not compiled")
                session.late += [
                    p for queue in queues.values() for p in queue if (p.case.key, False) not in session.records
                ]
                break
