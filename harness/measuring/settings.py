"""What a measurement is told: how long to sample, and the watts of the modelled energy."""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How long to sample one process: for `window_s`, within these counts; a sample lasts at least `sample_s`.

    The window is cut into `slices`, which the members of an interleaved group take in turn. Calls longer than `long_s`
    need only `long_samples`, at least 2: what varies from one to the next is then small beside what they take.
    """

    window_s: float = 0.3
    sample_s: float = 1e-3
    min_samples: int = 5
    max_samples: int = 400
    slices: int = 1
    long_s: float = 0.5
    long_samples: int = 2


class PowerModel(msgspec.Struct, frozen=True, kw_only=True):
    """Watts of the modelled energy: a busy core with bounds, memory per GB. Sources: measuring/energy/model.py."""

    core_w: float = 12.0
    core_low_w: float = 2.8
    core_high_w: float = 20.6
    memory_w_per_gb: float = 0.3725
