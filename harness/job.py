"""What crosses the border between the harness and a fresh process: a Job on the way in, a Measured on the way out."""

from __future__ import annotations

from typing import Literal

import msgspec

from backends.ops import Scalar
from harness.energy_meter import Baseline
from harness.record import Case, Energy, Estimate, FailureClass, Memory, Status, Trial, Verdict
from workloads.base import Mode, Value


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How long to sample one process: for `window_s`, within these counts; a sample lasts at least `sample_s`.

    `turns` cuts the window into slices, which processes of one heat take in turn. Calls longer than `long_s` need only
    `long_samples`, at least 2: what varies from one to the next is then small beside what they take.
    """

    window_s: float = 0.3
    sample_s: float = 1e-3
    min_samples: int = 5
    max_samples: int = 400
    turns: int = 1
    long_s: float = 0.5
    long_samples: int = 2


class PowerModel(msgspec.Struct, frozen=True, kw_only=True):
    """Watts of the modelled energy: a busy core with bounds, memory per GB. Sources: harness/energy_model.py."""

    core_w: float = 12.0
    core_low_w: float = 2.8
    core_high_w: float = 20.6
    memory_w_per_gb: float = 0.3725


class CaseJob(msgspec.Struct, frozen=True, kw_only=True, tag="case"):
    """Measure one case. `data` is the folder of its inputs and reference.

    `baseline` is what was measured of the device's energy before the run.
    `keep`: the setting of the compiler that an earlier process of the case kept after a trial.
    `memory`: what an earlier process of the case was seen to take; it is not measured again.
    `watch`: after the clock, look for what the framework ran in place of what was asked; once a case is enough.
    """

    case: Case
    data: str
    threads: int
    cache: str
    sampling: Sampling
    power: PowerModel
    watch: bool = True
    keep: str | None = None
    memory: Memory | None = None
    baseline: Baseline | None = None


class DataJob(msgspec.Struct, frozen=True, kw_only=True, tag="data"):
    """Make the inputs of one workload's points and their float64 references; a folder each, in `folders`."""

    workload: str
    points: list[tuple[dict[str, Value], Mode]]
    dtype: str
    seed: int
    folders: list[str]
    threads: int


class DevicesJob(msgspec.Struct, frozen=True, kw_only=True, tag="devices"):
    """Ask the framework which devices it sees."""


Job = CaseJob | DataJob | DevicesJob


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A process's answer. For a CaseJob all of it; for others only status, reason and `answer`."""

    status: Status
    reason: str | None = None
    failure_class: FailureClass | None = None
    fallback: str | None = None
    verdict: Verdict | None = None
    trial: Trial | None = None
    samples_s: list[float] = []
    memory: Memory | None = None
    energy: Energy | None = None
    estimate: Estimate | None = None
    settings: dict[str, Scalar] = {}
    answer: list[str] = []


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a heat: its answer goes to the file `result`, its words to `log`."""

    job: Job
    result: str
    log: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Main process to server: fork a process a lane; prepare them one after the other, then measure in turns.

    `seed` is of the order of the turns; no wait for any lane is longer than `timeout_s`.
    """

    lanes: list[Lane]
    seed: int
    timeout_s: float
    memory_bytes: int | None


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """Server to main process: how the process of one lane ended, and the wall time that was its own."""

    code: int | None
    timed_out: bool
    wall_s: float


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """Server to main process: the ends of all lanes, in the order of the request."""

    exits: list[Exit]


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The server's first line: it has imported what it forks from, or the reason why it could not."""

    error: str | None
    import_s: float
    threads: int
    kind: Literal["ready"] = "ready"
