"""A plan as files for those who start jobs by hand: a shell script, jobs of SLURM, Kubernetes, SkyPilot.

What is exported writes to `runs/MACHINE/RUN/` of the folder it begins in, each run by the same command, which goes on
where it was stopped. `collect` takes the folders from there.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from harness.errors import PlanError
from harness.fleet.description import Fleet, MachineKind
from harness.fleet.shards import FleetPlan, Shard

MOST_NAME = 63  # letters of a name of Kubernetes
_HEAD = "made by `fleet export` from {file}: {runs} runs"


def exported(fleet: Fleet, plan: FleetPlan, to: str) -> str:
    """The text of the job files; PlanError where a machine lacks what they need."""
    head = _HEAD.format(file=fleet.path.name, runs=len(plan.shards))
    return FORMATS[to](fleet, plan, head)


def assigned(plan: FleetPlan) -> Iterator[tuple[Shard, str]]:
    """Each shard with a machine of its kind, in turn."""
    given: dict[str, int] = {}
    for shard in plan.shards:
        machines = plan.machines[shard.kind]
        number = given.get(shard.kind, 0)
        given[shard.kind] = number + 1
        yield shard, machines[number % len(machines)]


def command(kind: MachineKind, shard: Shard, out: str) -> list[str]:
    """The command of a shard, as any engine starts it."""
    return [kind.python or "python3", "-m", "harness", "run", "--resume", "--out", out, *shard.options]


def _attempt(shard: Shard) -> str:
    return f"{shard.name}-try1"  # as `collect` finds it


def _line(kind: MachineKind, shard: Shard, out: str) -> str:
    """The command for a shell, with the machine's environment before it."""
    environment = [f"{key}={value}" for key, value in kind.env.items()]
    return shlex.join([*(("env", *environment) if environment else ()), *command(kind, shard, out)])


def _sh(fleet: Fleet, plan: FleetPlan, head: str) -> str:
    """A script that runs what is for the machine that it is told, one after another."""
    parts: dict[str, list[str]] = {machine: [] for machines in plan.machines.values() for machine in machines}
    for shard, machine in assigned(plan):
        kind = fleet.kinds[shard.kind]
        line = _line(kind, shard, f"$campaign/runs/{machine}/{_attempt(shard)}").replace(
            "'$campaign/", '"$campaign"\'/'
        )
        parts[machine].append(f"    {line} || ended $?")
    cases, kind_of = [], plan.kind_of
    for machine, lines in parts.items():
        folder = fleet.kinds[kind_of[machine]].folder
        inside = [f"    cd {shlex.quote(folder)} || exit 2"] if folder else []
        cases.append("\n".join([f"{machine})", *inside, *(lines or ["    :"]), "    ;;"]))
    names = " ".join(parts)
    return "\n".join(
        [
            "#!/bin/sh",
            f"# {head}",
            "# usage, in the checkout of a machine: sh FILE MACHINE [CAMPAIGN]; then bring CAMPAIGN/runs back",
            'campaign=$(mkdir -p "${2:-.}" && cd "${2:-.}" && pwd) || exit 2',
            "failed=0",
            "ended() { [ $1 -eq 1 ] || failed=$1; }  # 1 says that a case failed, which is a result",
            'case "$1" in',
            *cases,
            f"*) echo \"there is no machine '$1'; name one of: {names}\" >&2; exit 2 ;;",
            "esac",
            "exit $failed",
            "",
        ]
    )


def _slurm(fleet: Fleet, plan: FleetPlan, head: str) -> str:
    """A script that queues a job for each run. SLURM queues none again: it might be on another node then."""
    lines = ["#!/bin/sh", f"# {head}", "# usage: sh FILE, in a folder on a disk that every node has", "mkdir -p logs"]
    for shard, machine in assigned(plan):
        kind = fleet.kinds[shard.kind]
        options = {**(fleet.engine_options if fleet.engine == "slurm" else {}), **kind.slurm}
        minutes = options.pop("minutes", 24 * 60)
        setup = options.pop("setup", ())
        options.pop("cluster", None)
        flags = [f"--{key}={value}" for key, value in options.items()]
        name = _attempt(shard)
        words = ["sbatch", f"--job-name={name}", "--nodes=1", "--ntasks=1", "--exclusive", "--no-requeue"]
        words += [f"--time={minutes}", f"--output=logs/{name}.log", "--open-mode=append", *flags]
        inside = [f"cd {shlex.quote(kind.folder)}"] if kind.folder else []
        run = _line(kind, shard, f"$SLURM_SUBMIT_DIR/runs/{machine}/{name}")
        run = run.replace("'$SLURM_SUBMIT_DIR/", '"$SLURM_SUBMIT_DIR"\'/')
        script = " && ".join([*setup, *inside, f"exec {run}"])
        lines.append(f"{shlex.join(words)} --wrap {shlex.quote(script)}")
    return "\n".join([*lines, ""])


def _k8s(fleet: Fleet, plan: FleetPlan, head: str) -> str:
    """A list of Jobs as JSON, which is YAML: one pod each, on a node of these labels, alone of ours there."""
    items = []
    names = _kubernetes_names(map(_attempt, plan.shards))
    for shard, machine in assigned(plan):
        kind = fleet.kinds[shard.kind]
        out = f"/campaign/runs/{machine}/{_attempt(shard)}"
        if kind.image is None:
            raise PlanError(
                f"{fleet.path}: [machine.{kind.name}] has no image; name a container image with hwlottery in it"
            )
        items.append(_job(kind, shard, out, names[_attempt(shard)]))
    return f"# {head}; the claim `campaign` is a volume that they write to\n" + json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": items}, indent=2
    )


def _job(kind: MachineKind, shard: Shard, out: str, name: str) -> Mapping[str, Any]:
    ours = {"app": "hwlottery"}
    apart = {"labelSelector": {"matchLabels": ours}, "topologyKey": "kubernetes.io/hostname"}
    container: dict[str, Any] = {
        "name": "run",
        "image": kind.image,
        "command": command(kind, shard, out),
        "env": [{"name": key, "value": value} for key, value in kind.env.items()],
        "volumeMounts": [{"name": "campaign", "mountPath": "/campaign"}],
    }
    if kind.folder:
        container["workingDir"] = kind.folder
    pod = {
        "restartPolicy": "Never",  # on whatever node: a run is of one computer
        "nodeSelector": dict(kind.labels),
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "containers": [container],
        "volumes": [{"name": "campaign", "persistentVolumeClaim": {"claimName": "campaign"}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": ours},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": ours}, "spec": pod},
        },
    }


def _kubernetes_names(texts: Iterable[str]) -> Mapping[str, str]:
    """Names as Kubernetes takes them, each another: lower case, 63 at most."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        name = "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-")
        if len(name) > MOST_NAME or name in taken:
            name = f"{name[: MOST_NAME - 9].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        found[text] = name
        taken.add(name)
    return found


def _sky(fleet: Fleet, plan: FleetPlan, head: str) -> str:
    """Tasks of SkyPilot, a document each: what one machine runs, one after another."""
    parts: dict[str, list[str]] = {}
    for shard, machine in assigned(plan):
        out = f"campaign/runs/{machine}/{_attempt(shard)}"
        kind = fleet.kinds[shard.kind]
        inside = f"cd {shlex.quote(kind.folder)} && " if kind.folder else ""
        line = f"{inside}{_line(kind, shard, f'$HOME/{out}')}".replace("'$HOME/", '"$HOME"\'/')
        parts.setdefault(machine, []).append(f"( {line} ) || [ $? -eq 1 ]")
    names = _kubernetes_names(f"hwlottery-{machine}" for machine in parts)
    documents = [f"# {head}; `sky launch` each, then copy ~/campaign/runs back"]
    kind_of = plan.kind_of
    for machine, lines in parts.items():
        kind = fleet.kinds[kind_of[machine]]
        task = {
            "name": names[f"hwlottery-{machine}"],
            "resources": {**kind.sky, **({"image_id": kind.image} if kind.image else {})},
            "run": "\n".join(["set -e", *lines, ""]),
        }
        documents.append(json.dumps(task, indent=2))
    return "\n---\n".join(documents) + "\n"


Exporter = Callable[[Fleet, FleetPlan, str], str]
FORMATS: Mapping[str, Exporter] = {"sh": _sh, "slurm": _slurm, "k8s": _k8s, "sky": _sky}
