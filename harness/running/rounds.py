"""The rounds: the best paths of every point in interleaved groups with their twins, several fresh processes each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from backends.device import is_ahead_of_time
from harness.planning import selection
from harness.planning.batches import batches
from harness.planning.groups import InterleavedGroup, MemberKey, has_its_rounds, raced, width
from harness.planning.options import LONG_GROUP_S
from harness.planning.plan import Planned
from harness.planning.standing import rounds_of
from harness.running.session import BudgetSpentError, Session

MOST_ROUNDS = 60  # of one group: an interval that is not narrow by then will not become so


class Rounds:
    """The rounds of one run. What falls behind in one leaves the next; `group_s` is what each group took last."""

    def __init__(self, session: Session) -> None:
        self.group_s: dict[tuple[MemberKey, ...], float] = {}
        self._session = session
        self._cut: set[tuple[MemberKey, ...]] = set()  # groups that had no more than `long_rounds`

    def first(self, plan: Sequence[Planned], rounds: int) -> int:
        """Rounds of what is expected to be best, short groups before long ones; before anything else is looked at.

        Returns the round after which the race goes on: the first where the others do not end in the time of the preset.
        They come before better paths are looked for: what has no interval cannot be published.
        """
        session, groups = self._session, self.groups(plan)
        with session.clock.timing("rounds_s"):
            for round_ in range(1, rounds + 1):
                if round_ == 2:
                    round_s = sum(session.expected_s(group, session.options.sampling) for group in groups)
                    if session.past_sweeps((rounds - 1) * round_s):
                        return 1
                if not self._round(groups, round_):
                    break
        return rounds

    def late_s(self) -> float:
        """Seconds of the rounds without which the best paths that the looks found have no interval."""
        groups = self.groups(selection.finalists(self._here, self._session.cases()))
        return sum(self._missing(group) * self.expected_s(group) for group in groups)

    def _missing(self, group: InterleavedGroup) -> int:
        """How many rounds it needs for an interval; none of a long one, which has no late round."""
        missing = self._session.options.late_rounds - self._need(group)[0]
        return max(0, missing) if self.expected_s(group) <= LONG_GROUP_S else 0

    @property
    def _here(self) -> list[Planned]:
        return [planned for planned in self._session.plan if not is_ahead_of_time(planned.case.device)]

    def race(self, since: int) -> None:
        """The rounds after `since`, and with a precision asked for more where the intervals are widest."""
        with self._session.clock.timing("rounds_s"):
            self._race(since)

    def _race(self, since: int) -> None:
        session, options = self._session, self._session.options
        left = selection.finalists(self._here, session.cases())
        if since and since == options.first_rounds:  # what the looks found goes before all else, or has no interval
            for round_ in range(since + 1, since + options.late_rounds + 1):
                late = [group for group in self.groups(left) if self._missing(group)]
                if late and not self._round(late, round_):
                    return
                left = selection.finalists(left, session.cases())
        for round_ in range(since + 1, options.most_rounds + 1):
            if not self._round(self.groups(left), round_):
                break
            left = selection.finalists(left, session.cases())
        else:
            if options.precision is not None and options.rounds:
                self._narrow(self.groups(left), options.precision)
        if self._cut:
            cut = f"{len(self._cut)} groups that took over {LONG_GROUP_S:.0f} s"
            session.notes.append(f"{cut} had {options.long_rounds} rounds of {options.rounds}")

    def groups(self, plan: Sequence[Planned]) -> list[InterleavedGroup]:
        """The groups of one round, by what is known of the cases so far."""
        session = self._session
        return raced(plan, session.plan, session.records, session.options)

    def _round(self, groups: Sequence[InterleavedGroup], round_: int) -> bool:
        """Every group once, several prepared at a time, long ones in the first rounds only; False when time ended.

        The first round begins with the shortest, so that there is something to see soon. Those after the looks begin
        where a round is worth most, since time may end within them.
        """
        session, options = self._session, self._session.options
        name = f"round {round_} of {options.rounds if round_ <= options.rounds else options.most_rounds}"
        groups = self._wanted(groups, round_)
        session.watch.begin(name, len(groups))
        order = selection.shuffled(groups, options.seed, round_)
        enough = session.enough_s
        if round_ == 1:
            enough, order = options.ends_s, sorted(order, key=self.expected_s)
            if enough is None:  # none is left out: what compiles longest does so beside the others
                order = [*order[:1], *reversed(order[1:])]
        elif round_ > options.first_rounds:
            order.sort(key=self._need)
        missing = len(groups)
        for batch in self._batches(order, round_):
            took = sum(map(self.expected_s, batch))
            late = session.spent(took) or (enough is not None and session.clock.elapsed + took > enough)
            try:
                if not late:
                    self.run_batch(batch, round_)
            except BudgetSpentError:
                late = True
            if late:
                ended = "the budget" if session.spent(took) else f"the time of this preset ({enough:.0f} s)"
                session.notes.append(f"{ended} ended in {name}: {missing} of {len(groups)} groups missing")
                return False
            missing -= len(batch)
            session.watch.done(len(batch))
        return True

    def _need(self, group: InterleavedGroup) -> tuple[int, float]:
        """Before others goes what has the fewest rounds, as what the looks found has, and then what is widest."""
        records = self._session.records
        return min(len(rounds_of(records.get(member.key))) for member in group.members), -width(group, records)

    def _batches(self, order: Sequence[InterleavedGroup], round_: int) -> Iterator[list[InterleavedGroup]]:
        """Several groups at a time; at the very beginning the shortest by itself, so that there is a figure to see."""
        if round_ == 1 and order and not self.group_s:
            yield list(order[:1])
            order = order[1:]
        yield from batches(order, self._session.records, self._session.options.memory_bytes)

    def _wanted(self, groups: Sequence[InterleavedGroup], round_: int) -> list[InterleavedGroup]:
        """Those that need this round, but for long ones in a late one."""
        session = self._session
        groups = [g for g in groups if not has_its_rounds(g, round_, session.records, session.options)]
        long = round_ > session.options.long_rounds
        cut = {group.key for group in groups if long and self.expected_s(group) > LONG_GROUP_S}
        self._cut |= cut
        return [group for group in groups if group.key not in cut]

    def expected_s(self, group: InterleavedGroup) -> float:
        """Seconds that a group took, or is expected to take."""
        known = self.group_s.get(group.key)
        if known is not None:
            return known
        return self._session.expected_s(group, self._session.options.sampling)

    def run_batch(self, batch: Sequence[InterleavedGroup], round_: int) -> None:
        """Measure the groups of a batch, and share the time that it took out among them."""
        session, began = self._session, time.monotonic()
        if not session.measure(batch, lambda _: session.options.sampling, round_):
            return  # all of it was stored: nothing was seen of what it takes
        took, members = time.monotonic() - began, sum(len(group.members) for group in batch)
        for group in batch:
            self.group_s[group.key] = took * len(group.members) / members

    def _narrow(self, groups: Sequence[InterleavedGroup], precision: float) -> None:
        """More rounds of the groups whose intervals are widest, until all are narrow enough or the budget ends."""
        session = self._session
        rounds = {group.number: session.options.rounds for group in groups}
        session.watch.begin(f"narrowing to ±{precision:.3g}", 0)
        while True:
            wide = sorted(((width(g, session.records), g.number, g) for g in groups), reverse=True)
            wide = [(w, n, g) for w, n, g in wide if w > precision]
            worth = [(w, g) for w, n, g in wide if rounds[n] < MOST_ROUNDS]
            worth = [(w, g) for w, g in worth if not session.spent(self.group_s.get(g.key, 0.0))]
            if not worth:
                break
            span, group = worth[0]
            rounds[group.number] += 1
            session.watch.now(f"{group.members[0].planned.case} (±{span:.1%})")
            with suppress(BudgetSpentError):
                self.run_batch([group], rounds[group.number])
        left = len(wide)
        extra = sum(rounds.values()) - session.options.rounds * len(rounds)
        session.notes.append(
            f"{extra} groups more went where intervals were widest; "
            + (f"{left} of {len(groups)} are still wider than" if left else "all are within")
            + f" ±{100 * precision:.3g} %"
        )
