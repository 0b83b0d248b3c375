"""The looks: what may yet be the best path, and the points of sweeps, in short windows beside the best known."""

from __future__ import annotations

from collections.abc import Sequence

from backends.device import is_ahead_of_time
from harness.planning import selection
from harness.planning.batches import batches
from harness.planning.looks import looks, window
from harness.planning.plan import Planned
from harness.running.session import Session


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
        session.measure(batch, lambda group: window(group, options))
        done = sum(wanted[group.number] for group in batch)
        left -= done
        session.watch.done(done)
