"""The looks: what may yet be the best path, and the points of sweeps, in short windows beside the best known."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.device import is_ahead_of_time
from harness.measuring.settings import Sampling
from harness.planning import selection
from harness.planning.batches import batches
from harness.planning.groups import InterleavedGroup
from harness.planning.looks import looks
from harness.planning.plan import Planned
from harness.running.session import Session

LOOK_SHARE = 0.2  # of the window: a look only has to find what is worth the rounds
LOOK_LONG_S = 0.1  # and of calls as long as this two samples show it
SWEEP_SHARE = 0.5  # what has one process only, and is published


def look(session: Session, name: str, plan: Sequence[Planned]) -> None:
    """Look at the cases of `plan` that have no record yet, until the budget ends; `name` is survey or sweep."""
    with session.clock.timing(f"{name}_s"):
        _look(session, name, plan)


def _look(session: Session, name: str, plan: Sequence[Planned]) -> None:
    options = session.options
    order = selection.shuffled([p for p in plan if not is_ahead_of_time(p.case.device)], options.seed, 0)
    groups = looks(order, session.plan, session.records, options.memory_bytes, together=options.rounds > 0)
    wanted = [sum((member.key not in session.records) for member in group.members) for group in groups]
    left = sum(wanted)
    session.watch.begin(name, left)
    for batch in batches(groups, session.records, options.memory_bytes):
        if session.spent():
            session.notes.append(f"the budget ended in the {name}: {left} of {sum(wanted)} cases were not run")
            break
        session.measure(batch, lambda group: window(session, group))
        done = sum(wanted[group.number] for group in batch)
        left -= done
        session.watch.done(done)


def window(session: Session, group: InterleavedGroup) -> Sampling:
    """What cases get that may yet be measured again, or never will be compared with an interval; a group has one."""
    whole = session.options.sampling
    if not session.options.rounds:
        return msgspec.structs.replace(whole, slices=1)
    again = all(member.planned.repeated for member in group.members)
    share = LOOK_SHARE if again else SWEEP_SHARE
    return msgspec.structs.replace(
        whole,
        window_s=share * whole.window_s,
        min_samples=4,
        slices=max(1, round(share * whole.slices)),
        long_s=LOOK_LONG_S if again else whole.long_s,
    )
