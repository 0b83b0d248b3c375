"""Measures a GPU machine that has no network, within a budget: python tools/gpu_run.py --help.

Needs a Python (3.11 or later) with PyTorch, JAX or TensorFlow in it, and this checkout. What else the harness needs is
that Python's own, or unpacked from the wheels that tools/gpu_bundle.py collected. What tells most comes first: a first
light (tools/gpu_probe.py), then the harness's own path at its smallest, then the memory and energy checks
(tools/gpu_checks.py); then idea by idea with its twins, each sized by the seconds that a process took so far. Every
finding is a line, on stdout and in OUT/findings.txt. Started again with the same --out it goes on where it was.
Imports nothing but the standard library until what is missing has been unpacked.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gpu_site import missing, no_gpu, unpack

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("torch", "jax", "tensorflow")
UNITS = {"s": 1, "m": 60, "h": 3600}
LEAST_S = 60.0  # less is no use
CLOSING_S = 15.0  # of the budget, for the report
STOP_S = 20.0  # a run that is told to stop has this long to write what it has
PROBE_SHARE, PATH_SHARE, CHECK_SHARE = 0.25, 0.3, 0.1  # of the budget, at most
PROBE_STEP_S, CHECK_S = 100.0, 60.0
PATH = ("--preset", "smoke", "--workload", "unstructured_sparse,block_sparse", "--formulation", "csr,bsr,masked_dense")
TIMEOUT = "90s"  # of a case: one that hangs must not take the rest with it
PR_SET_PDEATHSIG = 1


class Stopped(Exception):  # noqa: N818 - it is no mistake
    """The script was told to end, by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def main() -> int:
    """Run everything; 0 when all of it is good, 1 when something failed, 2 when nothing could be run."""
    began = time.monotonic()
    asked = options()
    try:
        budget_s = float(asked.budget[:-1]) * UNITS[asked.budget[-1:]]
    except (KeyError, ValueError):
        return refuse(f"--budget {asked.budget!r} is not a time such as 90s or 7m")
    if not budget_s >= LEAST_S:
        return refuse(f"--budget {asked.budget} leaves no time to measure; give it {LEAST_S:g}s or more")
    found = [name for name in (asked.backend or ",".join(FRAMEWORKS)).split(",") if importlib.util.find_spec(name)]
    if not found:
        return refuse(
            f"no framework is installed in {sys.executable}; run this with the Python that has PyTorch or JAX"
        )
    with tempfile.TemporaryDirectory(prefix="hwlottery-site-") as site:
        unpack(asked.bundle, Path(site))
        sys.path[:0] = [str(ROOT), site]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
        importlib.invalidate_caches()
        if wanted := ", ".join(missing()):
            return refuse(f"{wanted} missing here and in {asked.bundle}; collect wheels with tools/gpu_bundle.py")
        why = no_gpu(asked.device)
        if why:
            return refuse(f"{why}; run this on a machine with an NVIDIA GPU, or try it with --device cpu")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
        return Measuring(asked, found, began, budget_s).all()


def options() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu", help="results folder [runs/gpu]")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 …, or cpu to try the script [cuda]")
    parser.add_argument("--backend", help="frameworks, with commas between [all that are installed]")
    parser.add_argument("--preset", default="quick,standard", help="one or several, in their order [quick,standard]")
    parser.add_argument("--idea", help="only these, with commas between [all]")
    parser.add_argument("--budget", default="9m", help="such as 90s or 9m; nothing runs much longer [9m]")
    parser.add_argument("--bundle", type=Path, default=ROOT / "build" / "gpu-bundle", help="folder of wheels")
    parser.add_argument("rest", nargs="*", help="more options of `hwlottery run`, after --")
    return parser.parse_args()


def stop(number: int, _: FrameType | None) -> NoReturn:
    """End as soon as what runs has written what it has; further signals are ignored meanwhile."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)


def refuse(sentence: str) -> int:
    """One sentence to stderr, exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    return 2


class Measuring:
    """One call of the script: its time, its findings and what went wrong; every step writes into a place of its own."""

    def __init__(self, asked: argparse.Namespace, backends: list[str], began: float, budget_s: float) -> None:
        self.asked, self.backends, self.budget_s = asked, backends, budget_s
        self.out: Path = asked.out.absolute()
        self.end = began + budget_s
        self.failed = False
        self.out.mkdir(parents=True, exist_ok=True)
        self._findings = (self.out / "findings.txt").open("a", buffering=1)

    @property
    def left_s(self) -> float:
        """Seconds of the budget, without those for closing."""
        return self.end - CLOSING_S - time.monotonic()

    def say(self, line: str) -> None:
        """One finding."""
        print(line, flush=True)
        self._findings.write(f"{line}\n")

    def all(self) -> int:
        """Every step; the exit code."""
        try:
            self.probe()
            self.path()
            self.checks()
            self.ideas()
            self.close()
        except Stopped as told:
            self.say(f"stopped by {told}: {self.kept()} records are kept in {self.out}; the same command goes on")
            return 128 + told.number
        finally:
            for scratch in self.out.glob("*/.scratch"):  # inputs of a run that was killed, gigabytes of them
                shutil.rmtree(scratch, ignore_errors=True)
        return int(self.failed)

    # -- what tells most, first ---------------------------------------------------------------------------------------
    def probe(self) -> None:
        """First light: a line a fact."""
        done = self.out / "probe.txt"
        if done.exists():
            return
        import gpu_probe

        until = time.monotonic() + PROBE_SHARE * self.budget_s
        lines: list[str] = []
        for step in gpu_probe.main(self.asked.device, ",".join(self.backends), PROBE_STEP_S):
            lines += step
            for line in step:
                self.say(line)
            if time.monotonic() > until:
                self.say("probe: its share of the time is over")
                break
        done.write_text("".join(f"{line}\n" for line in lines))

    def path(self) -> None:
        """The harness's own path, whole and at its smallest: does it run, and how many seconds does a process take."""
        import gpu_ideas

        folder = self.out / "path"
        if (folder / "run.json").exists() and not gpu_ideas.unfinished(folder):
            return
        self.run(folder, [*PATH], PATH_SHARE * self.budget_s)
        self.tell("path", gpu_ideas.findings(gpu_ideas.records_of([folder])))
        taken = gpu_ideas.seconds_of([folder])
        said = ", ".join(f"{backend} {execution} {seconds:.1f} s" for (backend, execution), seconds in taken.items())
        self.say(f"path: a process takes {said or 'nobody knows how long: none was ok'}")

    def checks(self) -> None:
        """Memory against an allocation of known size, energy against power times time."""
        file = self.out / "checks.json"
        if file.exists() or self.left_s < CHECK_SHARE * self.budget_s:
            return
        found = {name: checked(name, self.asked.device, min(CHECK_S, self.left_s)) for name in self.backends}
        file.write_text(json.dumps(found, indent=2) + "\n")
        for name, results in found.items():
            for what, result in results.items():
                figures = ", ".join(f"{k} {v}" for k, v in result.items() if k != "ok")
                word = {True: "ok", False: "WRONG", None: "cannot tell"}[result.get("ok")]  # type: ignore[index]
                self.say(f"check: {name} {what} {word}: {figures}")
                self.failed |= result.get("ok") is False

    # -- idea by idea -------------------------------------------------------------------------------------------------
    def ideas(self) -> None:
        """Each idea that has time, with its twins and ceilings; those that were cut short go on when all have begun."""
        import gpu_ideas

        presets = self.asked.preset.split(",")
        only = self.asked.idea.split(",") if self.asked.idea else None
        planned = list(gpu_ideas.steps(presets, self.backends, self.asked.device, {}))
        planned = [step for step in planned if only is None or step.idea in only]
        begun = [step for step in planned if (self.out / step.name / "run.json").exists()]
        later = [step for step in begun if gpu_ideas.unfinished(self.out / step.name)]
        for step in [*(step for step in planned if step not in begun), *later]:
            folder = self.out / step.name
            taken = gpu_ideas.seconds_of([path for path in self.out.iterdir() if path.is_dir()])
            sized = gpu_ideas.sized(step.preset, step.idea, self.backends, self.asked.device, taken)
            if sized.first_s > self.left_s:
                self.say(
                    f"{step.name}: left out: its first rounds take about {sized.first_s:.0f} s, "
                    f"{max(0.0, self.left_s):.0f} s are left"
                )
                continue
            limit_s = min(self.left_s, gpu_ideas.SPARE * sized.whole_s)
            self.say(f"{step.name}: {sized.cases} cases, about {sized.whole_s:.0f} s; {limit_s:.0f} s are given to it")
            own = ["--preset", step.preset, "--workload", step.idea, "--rounds", str(gpu_ideas.ROUNDS)]
            self.run(folder, own, limit_s)
            self.tell(step.name, gpu_ideas.findings(gpu_ideas.records_of([folder])))
            self.say(f"{step.name}: {publishable(folder)}")

    def run(self, folder: Path, own: list[str], limit_s: float) -> None:
        """`hwlottery run` into a folder, or on with what is there; what it prints goes to a file beside it."""
        if (folder / "run.json").exists():
            command = harness("run", "--resume", "--out", str(folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that never came to write what it is
            command = harness("run", *own, "--device", self.asked.device, "--backend", ",".join(self.backends))
            command += ["--timeout", TIMEOUT, "--out", str(folder), *self.asked.rest]
        command += ["--budget", f"{max(1.0, limit_s):.0f}s"]
        log = self.out / f"{folder.name}.log"
        code = bounded(command, limit_s + STOP_S, log)
        if code not in (0, 1):  # 1: some row failed, which its own line says
            self.say(f"{folder.name}: the run ended with code {code}: {last_line(log)}")
        self.failed |= code != 0

    def tell(self, name: str, lines: Iterable[str]) -> None:
        """Findings of one step."""
        for line in lines:
            self.say(f"{name}: {line}")

    def close(self) -> None:
        """The report of all ideas, and how much there is."""
        folders = sorted(path.parent for path in self.out.glob("*-*/run.json"))
        if folders:
            command = harness("report", *map(str, folders), "--all", "--format", "markdown")
            with (self.out / "report.md").open("wb") as report:
                subprocess.run(command, cwd=ROOT, stdout=report)
        self.say(f"done: {self.kept()} records in {self.out}, {self.end - time.monotonic():.0f} s of the budget left")

    def kept(self) -> int:
        """How many records there are."""
        files = self.out.glob("*/records.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)


def harness(*arguments: str) -> list[str]:
    """The command line of `hwlottery ARGUMENTS`, of this checkout and with this Python."""
    return [sys.executable, "-m", "harness", *arguments]


def bounded(command: list[str], limit_s: float, log: Path) -> int:
    """Its exit code; told to stop after `limit_s`, or when this script is, it keeps all that it has measured."""
    with log.open("ab") as words:
        own = {"start_new_session": True, "preexec_fn": _end_with_parent}  # no thread runs here
        process = subprocess.Popen(command, cwd=ROOT, stdout=words, stderr=words, **own)
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return ended(process)
        except Stopped:
            ended(process)
            raise


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, when it has been told to stop and then, if need be, made to."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _end_with_parent() -> None:
    """A run is told to stop when this script is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def last_line(log: Path) -> str:
    """The last words of a file."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it left no words"


def checked(backend: str, device: str, limit_s: float) -> dict[str, dict[str, object]]:
    """What tools/gpu_checks.py finds with one framework, in a process of its own."""
    command = [sys.executable, str(ROOT / "tools" / "gpu_checks.py"), backend, device]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(10.0, limit_s))
    except subprocess.TimeoutExpired:
        return {"process": {"ok": False, "words": "not done within the budget"}}
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        words = (done.stderr.strip().splitlines() or ["it left no words"])[-1]
        return {"process": {"ok": False, "words": words}}
    return dict(json.loads(lines[-1]))


def publishable(folder: Path) -> str:
    """What the gate says of a run: that it may be published, or the first reason why not."""
    done = subprocess.run(harness("validate", str(folder)), cwd=ROOT, capture_output=True, text=True)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "may be published" if done.returncode == 0 else f"may not be published: {lines[0] if lines else 'no words'}"


if __name__ == "__main__":
    sys.exit(main())
