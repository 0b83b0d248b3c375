"""Carries out a plan: data first, then survey, sweep and rounds; every answer becomes a record before the next case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from backends.ops import Backend, Scalar
from harness.machine import state
from harness.planning import selection
from harness.planning.groups import MemberKey
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.records.record import Record
from harness.records.store import DISTURBED, Store
from harness.running import alone
from harness.running.progress import Watch
from harness.running.rounds import Rounds
from harness.running.session import Session


class Runner:
    """One run over one plan. `execute` returns when all is done, the budget is spent or the user interrupts."""

    def __init__(
        self, plan: Sequence[Planned], backends: Mapping[str, Backend], options: Options, store: Store, watch: Watch
    ) -> None:
        self._session = Session(plan, backends, options, store, watch)

    @property
    def notes(self) -> list[str]:
        """What a reader of the records must know: what was left out, and what disturbed the run."""
        return self._session.notes

    def execute(self) -> dict[MemberKey, Record]:
        """Run survey, sweep and rounds. KeyboardInterrupt passes through; everything measured is in the store."""
        session = self._session
        try:
            with session.pool, ExitStack() as stack:
                stack.callback(self._judge_machine, state.read())  # before the servers close
                alone.step(session, "survey", [p for p in session.plan if p.survey])
                session.chosen = session.kept_in_survey()
                alone.step(session, "sweep", self._swept())
                Rounds(session).race()
        finally:
            session.finish()
        return session.records

    def _swept(self) -> list[Planned]:
        """The cases of the sweep that the survey does not rule out."""
        swept, left_out = selection.sweep(self._session.plan, self._session.cases())
        if left_out:
            self.notes.append(
                f"{len(left_out)} cases of the sweeps were not run: at the survey point their formulation was "
                f"over {selection.SWEEP_FACTOR:g} times slower than the best (calls of {selection.LONG_S:g} s "
                f"or more: {selection.LONG_SWEEP_FACTOR:g}), or its other execution faster"
            )
        return swept

    def _judge_machine(self, before: Mapping[str, Scalar]) -> None:
        """Note what the machine did meanwhile that disturbs the run, each with its number and what to do."""
        found = state.warnings(before, state.read(), self._session.options.threads)
        self.notes.extend(f"{DISTURBED}{warning.sentence}" for warning in found)
