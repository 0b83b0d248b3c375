"""What crosses the border between the harness and a fresh process: a Job on the way in, a Measured on the way out."""

from __future__ import annotations

from typing import Literal

import msgspec

from backends.ops import Execution, Scalar
from harness.measuring.energy.meter import Baseline
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case, Energy, Estimate, Executed, FailureClass, Memory, Status, Trial, Verdict
from harness.records.traces import TraceRow
from workloads.base import Mode, Value


class CaseJob(msgspec.Struct, frozen=True, kw_only=True, tag="case"):
    """Measure one case. `data` is the folder of its inputs and reference.

    `baseline` is what was measured of the device's energy before the run.
    `keep`: the setting of the compiler that an earlier process of the case kept after a trial.
    `metered`: read the energy; not where later processes of the case will, since a sensor needs a second or more.
    `memory`: what an earlier process of the case was seen to take; it is not measured again.
    `beside`: how many others are prepared at the same time.
    `compiled_before`: an earlier process of the case filled the compile caches.
    `watch`: after the clock, look for what the framework ran in place of what was asked; once a case is enough.
    `recheck`: then hold what was timed to other inputs, too; once a case, in a process that may be published.
    """

    case: Case
    data: str
    threads: int
    cache: str
    sampling: Sampling
    power: PowerModel
    watch: bool = True
    recheck: bool = True
    metered: bool = True
    keep: str | None = None
    memory: Memory | None = None
    baseline: Baseline | None = None
    beside: int = 0
    compiled_before: bool = False


class DataJob(msgspec.Struct, frozen=True, kw_only=True, tag="data"):
    """Make the inputs of one workload's points and their float64 references; a folder each, in `folders`."""

    workload: str
    points: list[tuple[dict[str, Value], Mode]]
    dtype: str
    seed: int
    folders: list[str]
    threads: int


class CountJob(msgspec.Struct, frozen=True, kw_only=True, tag="count"):
    """Count what cases execute in one call, each on its inputs; `data` has their folders. No execution is meant."""

    cases: list[Case]
    data: list[str]


class TrainingJob(msgspec.Struct, frozen=True, kw_only=True, tag="training"):
    """Train on for `steps` of a case's train step at a learning rate of its own, `every` of them timed as one chunk.

    `data` is the folder of the first operands and of every step's batch, where the parameters, of these names, are left
    after each chunk (`harness.worker.carry_on`). A step takes the operands of a batch, `batch` in number, then the
    parameters, then what stays. `keep` as in a CaseJob.
    """

    case: Case
    data: str
    rate: float
    steps: int
    every: int
    batch: int
    parameters: list[str]
    keep: str | None = None


class TraceJob(msgspec.Struct, frozen=True, kw_only=True, tag="trace"):
    """Profile calls of the case of `case_job`, which is prepared and checked as ever; nothing of it is recorded.

    `file` is where the trace for Chrome and Perfetto is written, in a folder that is there. Calls are repeated for
    about `window_s`.
    """

    case_job: CaseJob
    file: str
    window_s: float


class DevicesJob(msgspec.Struct, frozen=True, kw_only=True, tag="devices"):
    """Ask the framework which devices it sees."""


class FactsJob(msgspec.Struct, frozen=True, kw_only=True, tag="facts"):
    """Read a plug-in's `file` and hold what it says of itself against what can be true; the answer is `PlugInFacts`."""

    file: str


class ConformityJob(msgspec.Struct, frozen=True, kw_only=True, tag="conformity"):
    """Hold one formulation at one point, in one execution, to what may be measured; a sentence a fault.

    `file` is the workload's, where it is not one that the server knows.
    """

    file: str | None = None
    workload: str
    params: dict[str, Value]
    mode: Mode
    formulation: str
    execution: Execution
    dtype: str


class ContractJob(msgspec.Struct, frozen=True, kw_only=True, tag="contract"):
    """Hold the backend of the server to the contract of `Ops`; a sentence a fault."""


Job = CaseJob | DataJob | CountJob | TrainingJob | TraceJob | DevicesJob | FactsJob | ConformityJob | ContractJob


class PlugInFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a plug-in's file defines, and what is wrong with it; of a workload also all that is to be tried."""

    kind: Literal["workload", "backend"]
    name: str | None
    faults: list[str] = []
    trials: list[ConformityJob] = []  # of the smallest preset that it has


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one case of a CountJob executes, by execution; nothing, with the reason, where that cannot be told."""

    work: dict[Execution, Executed] = {}
    reason: str | None = None


class ProfiledCalls(msgspec.Struct, frozen=True, kw_only=True):
    """What a TraceJob showed: the table of its `calls`, the longest first, and the median of calls before profiling."""

    profiler: str
    rows: list[TraceRow]
    calls: int
    window_s: float
    untraced_call_s: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A process's answer. For a CaseJob all of it; for others status, reason and what was asked: `answer` to `traced`.

    `printed` is whether its Python code printed anything.
    """

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
    printed: bool = False
    facts: PlugInFacts | None = None
    counted: list[Counted] = []
    traced: ProfiledCalls | None = None


class MemberJob(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a group: its answer goes to the file `result`, its words to `log`."""

    job: Job
    result: str
    log: str


class GroupJobs(msgspec.Struct, frozen=True, kw_only=True):
    """The processes that are measured in turns; `seed` is of the order of the turns."""

    members: list[MemberJob]
    seed: int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Main process to server: fork a process a member and prepare them, `abreast` at once.

    Then the server says PREPARED, and measures a group for each line `measure NUMBER`, saying MEASURED; after the line
    `finish` it says `Exits`. No wait for any member is longer than `timeout_s`.
    """

    groups: list[GroupJobs]
    abreast: int
    timeout_s: float
    memory_bytes: int | None


PREPARED, MEASURED = b"prepared\n", b"measured\n"  # what a server says,
MEASURE, FINISH = b"measure %d\n", b"finish\n"  # and what it is told meanwhile


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """Server to main process: how the process of one member ended, and the wall time that was its own.

    `strays` are the processes that it left, which were killed.
    """

    code: int | None
    timed_out: bool
    wall_s: float
    strays: list[str] = []


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """Server to main process: the ends of all members, by group, in the order of the request."""

    exits: list[list[Exit]]


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The server's first line: it has imported what it forks from, or the reason why it could not."""

    error: str | None
    import_s: float
    threads: int
    kind: Literal["ready"] = "ready"
