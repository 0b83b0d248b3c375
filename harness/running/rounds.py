"""The rounds: the best paths of every point in interleaved groups with their twins, several fresh processes each."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.planning import selection
from harness.planning.groups import InterleavedGroup, Member, interleaved_groups, width
from harness.planning.plan import Planned
from harness.running.session import Session

MOST_ROUNDS = 60  # of one group: an interval that is not narrow by then will not become so
LONG_GROUP_S = 40.0  # as long a group has FEWEST_ROUNDS: what varies between processes is small beside its calls


class Rounds:
    """The rounds of one run. What falls behind in one leaves the next; `group_s` is what each group took last."""

    def __init__(self, session: Session) -> None:
        self.group_s: dict[int, float] = {}
        self._session = session
        self._cut: set[int] = set()  # groups that had no more than `long_rounds`

    def race(self) -> None:
        """Run them all, and with a precision asked for more where the intervals are widest."""
        began = time.monotonic()
        session, options = self._session, self._session.options
        rounds, left = options.rounds, selection.finalists(session.plan, session.cases())
        for round_ in range(1, rounds + 1):
            if not self._round(f"round {round_} of {rounds}", self.groups(left), round_):
                break
            left = selection.finalists(left, session.cases())
        else:
            if options.precision is not None and rounds:
                self._narrow(self.groups(left), options.precision)
        if self._cut:
            cut = f"{len(self._cut)} groups that took over {LONG_GROUP_S:.0f} s"
            session.notes.append(f"{cut} had {options.long_rounds} rounds of {rounds}")
        session.clock.phases["rounds_s"] += time.monotonic() - began

    def groups(self, plan: Sequence[Planned]) -> list[InterleavedGroup]:
        """The groups of one round, by what is known of the cases so far."""
        options = self._session.options
        return interleaved_groups(plan, self._session.records, options.seed, options.memory_bytes)

    def _round(self, name: str, groups: Sequence[InterleavedGroup], round_: int) -> bool:
        """Every group once, in shuffled order, long ones in the first rounds only; False when the time ended in it."""
        session, options = self._session, self._session.options
        session.watch.begin(name, len(groups))
        long = round_ > options.long_rounds
        order = selection.shuffled(groups, options.seed, round_)
        enough = options.enough_s
        if round_ == 1:
            enough = options.ends_s
            order = order if enough is None else sorted(order, key=self.expected_s)
        for number, group in enumerate(order):
            took = self.expected_s(group)
            if session.spent(took) or (enough is not None and session.clock.elapsed + took > enough):
                ended = "the budget" if session.spent(took) else f"the time of this preset ({enough:.0f} s)"
                session.notes.append(f"{ended} ended in {name}: {len(groups) - number} of {len(groups)} groups missing")
                return False
            if long and took > LONG_GROUP_S:
                self._cut.add(group.number)
            else:
                self.run_group(group, round_, number)
            session.watch.done()
        return True

    def expected_s(self, group: InterleavedGroup) -> float:
        """Seconds that a group took, or what its members took alone, without compiling, and their windows."""
        known = self.group_s.get(group.number)
        if known is not None:
            return known
        records = (self._session.records.get((member.planned.case.key, False)) for member in group.members)
        times = [record.time for record in records if record is not None and record.time is not None]
        alone = sum(time.trials[0].wall_s - time.trials[0].first_call_s for time in times)
        return alone + len(group.members) * self._session.options.sampling.window_s

    def _narrow(self, groups: Sequence[InterleavedGroup], precision: float) -> None:
        """More rounds of the groups whose intervals are widest, until all are narrow enough or the budget ends."""
        session = self._session
        rounds = {group.number: session.options.rounds for group in groups}
        session.watch.begin(f"narrowing to ±{precision:.3g}", 0)
        while True:
            wide = sorted(((width(g, session.records), g.number, g) for g in groups), reverse=True)
            wide = [(w, n, g) for w, n, g in wide if w > precision]
            worth = [(w, g) for w, n, g in wide if rounds[n] < MOST_ROUNDS]
            worth = [(w, g) for w, g in worth if not session.spent(self.group_s.get(g.number, 0.0))]
            if not worth:
                break
            span, group = worth[0]
            rounds[group.number] += 1
            session.watch.now(f"{group.members[0].planned.case} (±{span:.1%})")
            self.run_group(group, rounds[group.number], 0)
        left = len(wide)
        extra = sum(rounds.values()) - session.options.rounds * len(rounds)
        session.notes.append(
            f"{extra} groups more went where intervals were widest; "
            + (f"{left} of {len(groups)} are still wider than" if left else "all are within")
            + f" ±{100 * precision:.3g} %"
        )

    def run_group(self, group: InterleavedGroup, round_: int, order: int) -> None:
        """Measure the members of a group together, unless a resumed run has all of them already."""
        session = self._session
        if all(self._known(member, round_) for member in group.members):
            return
        session.watch.now(str(group.members[0].planned.case))
        began = time.monotonic()
        answers = session.ask(group.members, session.options.sampling, round_)
        for member, answer in zip(group.members, answers, strict=True):
            session.keep(member, answer, order, round_, group=1000 * round_ + group.number)
        self.group_s[group.number] = time.monotonic() - began

    def _known(self, member: Member, round_: int) -> bool:
        """Whether a resumed run has this already."""
        record = self._session.records.get(member.key)
        if record is None:
            return False
        return record.time is None or any(t.round == round_ for t in record.time.trials)
