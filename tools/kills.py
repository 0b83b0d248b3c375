"""Kills runs at random moments and lets them go on, until they are complete: `python tools/kills.py --kills 200`.

The parent, a fork server or the process of a case is ended by SIGKILL at a random moment; what was killed goes on by
`--resume`. A run that was complete only after many kills must hold what an undisturbed run of the same seed holds:
every case and every round once, in the same groups, with the same controls. After each kill all that was stored
before must still be there. Where the process of a case was killed the run goes on without it, and may hold more. The
workload is one whose calls take what they are told to (tests/helpers/steady), so that two runs decide the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from harness.records.lines import lines_of  # noqa: E402
from harness.records.record import Record  # noqa: E402
from harness.records.store import INFO, RECORDS, load  # noqa: E402

ASKED: tuple[str, ...] = ("--preset", "smoke", "--rounds", "3", "--backend", "numpy", "--memory-limit", "2")
ASKED += ("--workload", "steady", "--set", "n=8,16,24,32,40,48")
VICTIMS = ("parent", "fork server", "process of a case")
EACH = 25  # kills of one run, after which it is let go on to its end
LATEST_S = 6.0  # after its start, when a run is killed
PATIENCE_S = 300.0

OURS = "steady"  # how the names of the workloads begin whose times are known
Held = dict[tuple[str, bool], tuple[str, Counter[int]]]  # by case and whether it is a control: how it ended, its rounds


class LostError(Exception):
    """A run that was killed holds other records than an undisturbed one, or lost some."""


@dataclass
class Toll:
    """What was killed, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    torn: int = 0  # lines that were cut off
    lost: int = 0
    twice: int = 0
    left: int = 0  # folders and processes that outlived the run after the last kill


def held(folder: Path) -> Held:
    """What a complete run holds of the workload whose times are known; what else it measures hangs on the times."""
    return {
        (record.case.key, record.control): (record.status, _rounds(record))
        for record in load(folder).records
        if record.case.workload.startswith(OURS)
    }


def repeated(folder: Path) -> list[str]:
    """Cases that were measured more than once in one round, whatever the workload."""
    return [str(r.case) for r in load(folder).records if any(n > 1 for n in _rounds(r).values())]


def _rounds(record: Record) -> Counter[int]:
    return Counter(trial.round for trial in record.time.trials) if record.time else Counter()


def groups(folder: Path) -> Counter[tuple[int, frozenset[tuple[str, bool]]]]:
    """The groups of the rounds of a run: which members were measured in turns, and in which round."""
    together: dict[tuple[int, int], set[tuple[str, bool]]] = {}
    for record in load(folder).records:
        if not record.case.workload.startswith(OURS):
            continue
        for trial in record.time.trials if record.time else ():
            if trial.heat is not None and trial.round:
                together.setdefault((trial.round, trial.heat), set()).add((record.case.key, record.control))
    return Counter((round_, frozenset(members)) for (round_, _), members in together.items())


class Killer:
    """Starts runs in `folder` and kills them; `seed` says when and what."""

    def __init__(self, folder: Path, seed: int, asked: Sequence[str] = ASKED) -> None:
        self._folder, self._asked, self._random = folder, asked, random.Random(seed)
        self.toll = Toll()
        self._struck = False  # whether the last run lost a process of a case, or a fork server
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        self._environ = {
            **os.environ,
            "HWLOTTERY_WORKLOADS": str(ROOT / "tests" / "helpers" / "steady"),
            "HWLOTTERY_CACHE": str(folder / "cache"),
            "HWLOTTERY_HOST_LOCK": str(folder / "host.lock"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def undisturbed(self) -> Path:
        """A run that nothing happens to."""
        out = self._folder / "undisturbed"
        code = self._start(out, first=True).wait(PATIENCE_S)
        if code != 0:
            raise LostError(f"the undisturbed run ended with {code}: {self._said(out)}")
        return out

    def disturbed(self, number: int, most: int) -> Path:
        """A run that is killed up to `most` times and then goes on to its end."""
        out, kills, retry = self._folder / f"run{number}", 0, False
        self.toll.runs += 1
        self._struck = False
        while True:
            process = self._start(out, first=not (out / INFO).exists(), retry=retry)
            while kills < most and self._kill(process, out):
                kills += 1
                if process.poll() is not None:
                    break
            code = process.wait(PATIENCE_S)
            if code == 0:
                return out
            if code not in (1, -signal.SIGKILL):
                raise LostError(f"run{number} ended with {code}: {self._said(out)}")
            retry = code == 1  # cases whose process was killed: asked for again

    def _start(self, out: Path, *, first: bool, retry: bool = False) -> subprocess.Popen[bytes]:
        more = (*self._asked, "--resume") if first else ("--resume", *(("--retry", "crash,error") if retry else ()))
        words = [sys.executable, "-m", "harness", "run", "--out", str(out), *more]
        with (self._folder / f"{out.name}.log").open("ab") as log:
            return subprocess.Popen(words, cwd=ROOT, env=self._environ, stdout=log, stderr=log)

    def _kill(self, process: subprocess.Popen[bytes], out: Path) -> bool:
        """Kill something of a run at a random moment; False where it was over before."""
        moment = time.monotonic() + self._random.uniform(0.0, LATEST_S)
        what = self._random.choices(VICTIMS, (4, 1, 2))[0]
        victim = None
        while victim is None:  # the moment, or the first after it when there is such a process
            time.sleep(0.005)
            if process.poll() is not None:
                return False
            victim = _victim(process.pid, what, self._random) if time.monotonic() > moment else None
        before = _whole_lines(out)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return process.poll() is None
        self.toll.kills[what] += 1
        self._struck |= what != VICTIMS[0]
        if what == VICTIMS[0]:
            process.wait(PATIENCE_S)
            now = _whole_lines(out)
            self.toll.torn += not _ends_whole(out)
            if now[: len(before)] != before:
                self.toll.lost += 1
                raise LostError(f"{out}: lines that were stored are gone after SIGKILL of the {what}")
        return True

    def judge(self, out: Path, undisturbed: Path) -> None:
        """LostError where a run that was killed does not hold what the other holds."""
        was, now = held(undisturbed), held(out)
        # A case whose process was killed is a failure until it is tried again, and a run that saw one goes on without
        # it: with another path of the point, or another group. So it may hold more, and never less.
        exact = not self._struck
        wrong = [key for key, facts in was.items() if not _holds(now.get(key), facts, exact=exact)]
        strange = [key for key in now.keys() - was.keys() if exact]
        twice = repeated(out)
        self.toll.lost += len(wrong)
        self.toll.twice += len(twice)
        if wrong or strange or twice:
            differ = [(key, was.get(key), now.get(key)) for key in (*wrong, *strange)]
            raise LostError(f"{out}: measured twice: {twice}; other than undisturbed: {differ}")
        if exact and groups(out) != groups(undisturbed):
            raise LostError(f"{out}: its groups are others than those of the undisturbed run")

    def left(self) -> list[str]:
        """Processes and temporary folders that are there after a run that ended by itself."""
        found = [str(path) for path in (self._folder / "tmp").glob("hwlottery-*")]
        found += [str(path) for path in self._folder.glob("*/.scratch")]
        mine = f"HWLOTTERY_CACHE={self._folder / 'cache'}"
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and mine in (f"{k}={v}" for k, v in process.environ().items()):
                    found.append(f"process {process.pid}")
            except psutil.Error:
                continue
        self.toll.left += len(found)
        return found

    def _said(self, out: Path) -> str:
        return (self._folder / f"{out.name}.log").read_text("utf-8", "replace")[-2000:]


def _holds(now: tuple[str, Counter[int]] | None, was: tuple[str, Counter[int]], *, exact: bool) -> bool:
    if now is None or now[0] != was[0]:
        return False
    return now[1] == was[1] if exact else not was[1] - now[1]


def _victim(parent: int, what: str, rng: random.Random) -> int | None:
    """The process to kill; None where there is none of its kind now."""
    if what == VICTIMS[0]:
        return parent
    try:
        servers = psutil.Process(parent).children()
        chosen = servers if what == VICTIMS[1] else [child for server in servers for child in server.children()]
    except psutil.Error:
        return None
    return rng.choice(chosen).pid if chosen else None


def _whole_lines(out: Path) -> list[bytes]:
    path = out / RECORDS
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _ends_whole(out: Path) -> bool:
    path = out / RECORDS
    content = path.read_bytes() if path.exists() else b""
    return (not content or content.endswith(b"\n")) and not (path.exists() and lines_of(path).torn)


def killed(folder: Path, kills: int, seed: int, asked: Sequence[str] = ASKED) -> Toll:
    """Kill runs until `kills` kills were done; LostError with the seed's folder where anything was lost."""
    killer = Killer(folder, seed, asked)
    undisturbed = killer.undisturbed()
    while sum(killer.toll.kills.values()) < kills:
        out = killer.disturbed(killer.toll.runs, min(EACH, kills - sum(killer.toll.kills.values())))
        killer.judge(out, undisturbed)
        left = killer.left()
        if left:
            raise LostError(f"left after {out}: {', '.join(left)}")
        print(f"seed {seed}, run {killer.toll.runs}: {dict(killer.toll.kills)}", flush=True)
    return killer.toll


def main() -> int:
    """Print what was killed as JSON; 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the runs are kept; a temporary folder otherwise")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        try:
            toll = killed(folder, asked.kills, asked.seed)
        except LostError as error:
            print(f"seed {asked.seed}: {error}", file=sys.stderr)
            return 1
    print(json.dumps({"seed": asked.seed, **vars(toll)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
