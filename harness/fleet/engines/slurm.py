"""SLURM, through submitit: a job for each attempt, alone on its node. What travels is a command, on a common disk.

submitit puts the job into the queue; `squeue` says how it stands there, which needs no accounting, as `sacct` does.
What came of the command its own shell writes down beside the results. A job that is preempted is asked to end, keeps
what it measured, and goes on as a new job on the same node: a run is of one computer.
SLURM queues none again by itself.
"""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.install import install_hint
from harness.errors import UserError
from harness.fleet.description import MachineKind
from harness.fleet.engines.base import Finished, Gone, Heard, Job
from harness.fleet.engines.wrapper import begin, code_of, host_of, last_words, wrapped
from harness.records.text import plain

MINUTES = 24 * 60  # of a job, where nothing is said
POLL_S = 5.0
GRACE_S = 30.0  # for an exit code to be seen on a disk that is far away
ASK_S = 60.0  # for the queue to answer
GONE = "no longer in the queue"
_OVER = (
    GONE,
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "PREEMPTED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "FINISHED",  # and the others: of submitit's own processes
    "INTERRUPTED",
    "NO PROCESS AND NO RESULT",
)


class SlurmEngine:
    """A cluster of SLURM as submitit finds it; with `cluster="local"`, submitit's own processes on this computer."""

    keeps = True
    at_once: int | None = None

    def __init__(
        self, folder: Path, options: Mapping[str, Any], *, poll_s: float = POLL_S, grace_s: float = GRACE_S
    ) -> None:
        self._folder, self._options, self._poll_s, self._grace_s = folder, options, poll_s, grace_s
        self._kinds: Mapping[str, MachineKind] = {}
        self._submitit: Any = None
        self._jobs: dict[str, tuple[Job, Any]] = {}
        self._over_since: dict[str, float] = {}
        self._asked_at = -poll_s
        self._known: Mapping[str, str] = {}  # of each job, when the queue was last asked

    def connect(self, kinds: Mapping[str, MachineKind]) -> None:
        """Find SLURM; UserError where submitit, or SLURM, is not there."""
        if importlib.util.find_spec("submitit") is None:
            raise UserError(f'engine = "slurm" needs submitit, which is not installed; try: {install_hint("slurm")}')
        import submitit

        self._kinds, self._submitit = kinds, submitit
        self._executor({})

    def _executor(self, options: Mapping[str, Any]) -> Any:
        given = {**self._options, **options}
        cluster = given.pop("cluster", "slurm")
        extra = {"no-requeue": True, **{key: given.pop(key) for key in ("reservation",) if key in given}}
        try:
            executor = self._submitit.AutoExecutor(folder=self._folder, cluster=cluster)
            executor.update_parameters(
                timeout_min=given.pop("minutes", MINUTES),
                tasks_per_node=1,
                slurm_nodes=1,
                slurm_exclusive=True,
                slurm_job_name="hwlottery",
                slurm_additional_parameters=extra,  # what submitit has no name for
                **{f"slurm_{key}": list(value) if isinstance(value, tuple) else value for key, value in given.items()},
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"SLURM cannot be used from here: {plain(error)}; run this where sbatch is") from None
        return executor

    def there(self) -> Sequence[str]:
        """All: the queue knows when one is free."""
        return [machine for kind in self._kinds.values() for machine in kind.machines]

    def missing(self) -> Mapping[str, str]:
        """Nobody is: a job that no node can take is refused by SLURM, or waits."""
        return {}

    def start(self, job: Job) -> str:
        """Queue it, on the node that it was on before where it goes on; UserError where SLURM does not take it."""
        before = host_of(job.log) if (job.results / "run.json").exists() else None
        begin(job.log)
        executor = self._executor({**job.kind.slurm, **({"nodelist": before} if before else {})})
        command = ["env", *(f"{key}={value}" for key, value in job.kind.env.items()), *job.argv(str(job.results))]
        function = self._submitit.helpers.CommandFunction(wrapped(command, job.log), cwd=job.folder)
        try:
            queued = executor.submit(function)
        except Exception as error:  # submitit has its own, and those of subprocess
            raise UserError(f"SLURM does not take {job.attempt}: {plain(error)}") from None
        self._jobs[job.attempt] = (job, queued)
        return str(queued.job_id)

    def adopt(self, job: Job) -> bool:
        """Whether its job is in the queue still, or has left an exit code."""
        if job.place is None:
            return False
        queued = self._executor({}).job_class(folder=self._folder, job_id=job.place)
        if code_of(job.log) is None and self._states([queued]).get(job.place) in _OVER:
            return False
        self._jobs[job.attempt] = (job, queued)
        return True

    def _states(self, jobs: Iterable[Any]) -> Mapping[str, str]:
        """How each stands by the queue; without those of which it does not say just now."""
        by_id = {str(queued.job_id): queued for queued in jobs}
        if not by_id:
            return {}
        if self._options.get("cluster") == "local":
            return {number: str(queued.state).upper() for number, queued in by_id.items()}
        command = ["squeue", "--noheader", "--states=all", "--format=%i %T", f"--jobs={','.join(by_id)}"]
        try:
            made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_S)
        except (OSError, subprocess.TimeoutExpired):
            return {}
        if made.returncode != 0 and "Invalid job id" not in made.stderr:  # said of a single one that it has forgotten
            return {}
        told = dict(line.split(maxsplit=1) for line in made.stdout.splitlines() if " " in line.strip())
        return {number: told.get(number, GONE) for number in by_id}

    def heard(self, timeout_s: float) -> Sequence[Heard]:
        """Which jobs have ended."""
        time.sleep(min(timeout_s, self._poll_s))
        if time.monotonic() - self._asked_at >= self._poll_s:
            self._known = self._states(queued for job, queued in self._jobs.values() if code_of(job.log) is None)
            self._asked_at = time.monotonic()
        return [heard for name in list(self._jobs) if (heard := self._ended(name))]

    def _ended(self, name: str) -> Heard | None:
        job, queued = self._jobs[name]
        code = code_of(job.log)
        state = self._known.get(str(queued.job_id), "")
        if code is not None:
            heard: Heard = Finished(attempt=name, code=code, said=last_words(job.log))
        elif state in _OVER:
            since = self._over_since.setdefault(name, time.monotonic())
            if time.monotonic() - since < self._grace_s:
                return None
            heard = Gone(attempt=name, why=f"SLURM says of job {queued.job_id}: {state}")
        else:
            return None
        del self._jobs[name]
        self._over_since.pop(name, None)
        return heard

    def stored(self, attempt: str, size: int) -> None:
        """The command stores its records itself."""

    def stop(self, attempt: str) -> None:
        """Take its job out of the queue: SLURM asks it to end."""
        if attempt in self._jobs:
            self._jobs[attempt][1].cancel()

    def forget(self, attempt: str) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Jobs go on without us."""
