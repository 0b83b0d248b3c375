"""How to carry a plan out: what a user decides, and what each preset takes where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.measuring.settings import PowerModel, Sampling

WINDOWS = {
    "smoke": Sampling(window_s=0.02, min_samples=4, slices=2),
    "ideas": Sampling(window_s=0.1, slices=8),
    # By the first 10 of 15 slices, in stored runs, the ratios of two rounds are as far apart: processes differ.
    "quick": Sampling(window_s=0.12, slices=10),
    "standard": Sampling(window_s=0.4, slices=40, long_s=0.2),
    "full": Sampling(window_s=1.0, slices=100),
}
ROUNDS = {"smoke": 0, "ideas": 3, "quick": 5, "standard": 5, "full": 5}
FIRST_ROUNDS = 3  # of what is expected to be best, before anything else: the fewest that have an interval
FEWEST_ROUNDS = 3  # of every group before a budget goes where intervals are widest
LONG_GROUP_S = 40.0  # as long a group has FEWEST_ROUNDS: what varies between processes is small beside its calls
ENOUGH_S = {"ideas": 200.0, "quick": 170.0, "standard": 2250.0}  # no late group begins after this, so that a preset
# keeps its time, with this in addition where all that is measured first is yet to be compiled;
COMPILING_S = {"ideas": 130.0, "quick": 115.0}
ENDS_S = {"standard": 2380.0}  # and on a machine that is slower still no first one that would end later than this
LOOKS_SHARE = 0.7  # of the time of a preset, or of a budget, may be gone when the last look begins; where the first
LOOKS_OF_REST = 1 / 3  # rounds took longer, the looks have this share of what they left
RESERVED = 0.5  # of what is left then, at most, sweeps leave to the rounds of what the looks found


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to carry a plan out.

    `rounds` groups for each best path, of which long ones have `long_rounds`; after `enough_s` each has one, the short
    ones first, if it is over by `ends_s`. With cold compile caches `enough_s` is `compiling_s` later. No look begins
    after `looks_share` of that time, or of the budget. With `precision`, more rounds where intervals are wider, while
    `budget_s` lasts.
    """

    rounds: int
    long_rounds: int
    timeout_s: float
    threads: int
    sampling: Sampling
    power: PowerModel
    cache: Path
    seed: int
    budget_s: float | None = None
    enough_s: float | None = None
    compiling_s: float = 0.0
    looks_share: float | None = None
    ends_s: float | None = None
    precision: float | None = None
    memory_bytes: int | None = None
    tf32: bool = False  # asked of every framework

    def enough_with(self, cold: float) -> float | None:
        """After how many seconds a preset has what it needs, if that share of its first programs is not compiled."""
        return None if self.enough_s is None else self.enough_s + cold * self.compiling_s

    @property
    def first_rounds(self) -> int:
        """Rounds before the looks; what is found by these has one at least after."""
        return min(FIRST_ROUNDS, max(0, self.rounds - 1))

    @property
    def late_rounds(self) -> int:
        """Rounds of what the looks found, so that it has an interval where there is one of anything."""
        return min(FIRST_ROUNDS, self.rounds)

    @property
    def most_rounds(self) -> int:
        """Rounds in all, those of what the looks found among them."""
        return max(self.rounds, self.first_rounds + self.late_rounds)
