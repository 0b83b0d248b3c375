"""Carries out a plan: first rounds, looks, sweeps and the rest of the rounds; every answer is stored before the next.

What is most likely the best path of each idea and its twin is measured first, twice, so that there is a table with
intervals early; then what may be better, and the points of sweeps; then the rounds of what came close.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from backends.device import is_ahead_of_time
from backends.ops import Backend, Scalar
from harness.machine import state
from harness.planning import selection
from harness.planning.foresight import Foresight, Ignorance
from harness.planning.groups import MemberKey
from harness.planning.looks import firsts
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.planning.reasons import INTERRUPTED
from harness.records.record import Record
from harness.records.store import DISTURBED, Store
from harness.running.ahead import compile_all
from harness.running.looking import SURVEY, SWEEP, look
from harness.running.progress import Watch
from harness.running.rounds import Rounds
from harness.running.session import Session, path


class Runner:
    """One run over one plan. `execute` returns when all is done, the budget is spent or the user interrupts.

    `foresight` is what earlier runs say of the cases; `told` is called after each step with the session, in which the
    records so far are.
    """

    def __init__(
        self,
        plan: Sequence[Planned],
        backends: Mapping[str, Backend],
        options: Options,
        store: Store,
        watch: Watch,
        *,
        foresight: Foresight | None = None,
        told: Callable[[Session], None] = lambda _: None,
    ) -> None:
        self._whole = list(plan)
        self._foresight = foresight or Ignorance()
        self._session = Session(plan, backends, options, store, watch, told, self._foresight)

    @property
    def notes(self) -> list[str]:
        """What a reader of the records must know: what was left out, and what disturbed the run."""
        return self._session.notes

    def execute(self) -> dict[MemberKey, Record]:
        """Run all steps. KeyboardInterrupt passes through; everything measured is in the store."""
        session = self._session
        try:
            with session.pool, ExitStack() as stack:
                stack.callback(self._judge_machine, state.read())  # before the servers close
                rounds = Rounds(session)
                session.plan = self._foresight.tried(self._whole)
                session.left_out = self._foresight.left_out(self._whole)
                here = [planned for planned in session.plan if not is_ahead_of_time(planned.case.device)]
                first = session.options.first_rounds
                session.time_left.anew()
                first = rounds.first(firsts(here, self._foresight) if first else [], first)
                session.first_s = session.clock.elapsed
                self._survey()
                session.chosen = session.kept_in_survey()
                session.reserve(rounds.late_s())
                self._step(SWEEP, self._swept())
                session.time_left.anew()
                rounds.race(first)
        except KeyboardInterrupt:
            self.notes.append(f"{INTERRUPTED}{session.watch.where}")
            session.plan = session.late = self._foresight.tried(self._whole)
            session.beaten = []
            session.left_out = self._foresight.left_out(self._whole)
            raise
        finally:
            session.finish()
        return session.records

    def _survey(self) -> None:
        """Look at all that is surveyed, and at what was left out where the looks say that it should not have been."""
        self._step(SURVEY, [planned for planned in self._session.plan if planned.survey])
        back = self._foresight.back(self._whole, self._session.cases())
        if back:
            self._session.plan = self._foresight.tried(self._whole)
            self._step(SURVEY, [planned for planned in back if planned.survey])
        self._session.left_out = self._foresight.left_out(self._whole)

    def _step(self, name: str, plan: Sequence[Planned]) -> None:
        self._session.time_left.anew()
        compile_all(self._session, name, plan)
        look(self._session, name, plan)

    def _swept(self) -> list[Planned]:
        """The cases of the sweep that the survey does not rule out."""
        session = self._session
        found = selection.sweep(session.plan, session.cases(), self._foresight)
        late = {path(planned) for planned in session.late}
        session.late += [planned for planned in found.ruled_out if path(planned) in late]
        session.beaten = found.beaten
        ruled_out = [planned for planned in found.ruled_out if path(planned) not in late]
        if ruled_out:
            self.notes.append(
                f"{len(ruled_out)} cases of the sweeps were not run: at the survey point their formulation was "
                f"over {selection.SWEEP_FACTOR:g} times slower than the best (calls of {selection.LONG_S:g} s "
                f"or more: {selection.LONG_SWEEP_FACTOR:g}), or its other execution faster"
            )
        return found.run

    def _judge_machine(self, before: Mapping[str, Scalar]) -> None:
        """Note what the machine did meanwhile that disturbs the run, each with its number and what to do.

        Nothing disturbs a run that only compiles.
        """
        if all(is_ahead_of_time(planned.case.device) for planned in self._whole):
            return
        found = state.warnings(before, state.read(), self._session.options.threads)
        self.notes.extend(f"{DISTURBED}{warning.sentence}" for warning in found)
