"""Kills what carries fleets at random moments: `python tools/fleet_kills.py --kills 20 --seed 1800`.

A Ray of a head and two nodes on this computer carries runs. The fleet's driver, the Ray worker that carries a run, or a
raylet is ended by SIGKILL at a random moment; the driver is started again, and another node takes the place of one that
is lost. What the runs write is kept beside, so that it can be told what came of every line: of an attempt that is done
all lines are stored, of one that is lost its first ones, none twice, none torn.

A stand-in writes numbered lines in place of a run, and begins at once (tests/helpers/fleet_command.py). With `--real`
the runs are real ones of NumPy; one that is done in spite of it all holds every case as often as an undisturbed run
does. What it prints is for `python tools/faults.py --add FILE…`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from harness.fleet import description, shards  # noqa: E402
from harness.fleet.attempts import FleetAttempt  # noqa: E402
from harness.fleet.campaign import Campaign  # noqa: E402
from harness.machine.digest import sources  # noqa: E402
from harness.records.store import INFO, RECORDS, merge_lines  # noqa: E402
from tools.kills import LostError, Toll, held, repeated  # noqa: E402
from tools.ray_nodes import Nodes  # noqa: E402

DRIVER, WORKER, RAYLET = VICTIMS = ("driver of a fleet", "Ray worker", "raylet")
ASKED = ("--preset", "smoke", "--backend", "numpy", "--workload", "steady", "--set", "n=8")  # what the fleet wants
LINES, PAUSE_S = 150, 0.02  # of a stand-in
STANDS_IN = ROOT / "tests" / "helpers" / "fleet_command.py"
RUNS = 2  # that a campaign wants: one for each node at a time
LATEST_S = 4.0  # after the kill before, when the next comes
PATIENCE_S = 600.0  # on a busy computer Ray takes its time

_FLEET = """engine = "ray"
tries = 1000
[ray]
address = "{address}"
poll = "0.3s"
[machine.node]
labels = {{ kind = "spare" }}
count = 2
python = "{python}"
[machine.node.env]
{env}
[[want]]
preset = "smoke"
backends = ["numpy"]
{idea}
runs = {runs}
"""
IDEA, REAL_IDEA = 'workloads = ["capsule_conv"]', 'workloads = ["steady"]\nset = { n = 8 }'

# The Python of the nodes: the real one, with a second link to the file of records, whatever becomes of its folder. Each
# run takes itself to be alone on its computer, as it would on a node of its own.
_KEEPING = """#!/bin/sh
for word; do [ "$before" = --out ] && out=$word; before=$word; done
kept={evidence}/$$
export HWLOTTERY_HOST_LOCK="$kept.lock"
(
    while kill -0 $$ 2>/dev/null && ! ln "$out/{records}" "$kept" 2>/dev/null; do sleep 0.05; done
    [ -e "$kept" ] || ln "$out/{records}" "$kept" 2>/dev/null
) &
exec {python} "$@"
"""


class FleetKiller:
    """Drives campaigns in `folder` over the nodes and kills what carries them; `seed` says when and what."""

    def __init__(self, folder: Path, nodes: Nodes, seed: int, *, real: bool = False) -> None:
        self._folder, self._nodes, self._random, self._real = folder, nodes, random.Random(seed), real
        self.toll = Toll()
        folder.mkdir(parents=True, exist_ok=True)
        self._evidence = folder / "evidence"
        self._evidence.mkdir()
        python, env = folder / "python", {}
        if real:
            python.write_text(_KEEPING.format(evidence=self._evidence, records=RECORDS, python=sys.executable))
        else:
            python.write_text(f"#!{sys.executable} -S\n{STANDS_IN.read_text()}")
            env = {"FAKE_LINES": LINES, "FAKE_PAUSE_S": PAUSE_S, "FAKE_EVIDENCE": self._evidence}
            env["FAKE_SOURCES"] = json.dumps(sources())
        python.chmod(0o755)
        self._file = folder / "fleet.toml"
        told = "\n".join(f"{key} = '{value}'" for key, value in env.items())
        idea = REAL_IDEA if real else IDEA
        self._file.write_text(_FLEET.format(address=nodes.address, python=python, env=told, idea=idea, runs=RUNS))

    def undisturbed(self) -> Path:
        """A real run of the same by itself."""
        out = self._folder / "undisturbed"
        with (self._folder / "undisturbed.log").open("wb") as log:
            words = [sys.executable, "-m", "harness", "run", "--out", str(out), *ASKED]
            code = subprocess.run(words, cwd=ROOT, stdout=log, stderr=log, timeout=PATIENCE_S, check=False).returncode
        if code != 0:
            raise LostError(f"the undisturbed run ended with {code}; see {log.name}")
        return out

    def disturbed(self, number: int, most: int) -> Campaign:
        """A campaign of which up to `most` carriers are killed, until it is over."""
        out, kills = self._folder / f"campaign{number}", 0
        driver = self._driver(out)
        moment = self._moment()
        while driver.poll() is None and kills < most:
            time.sleep(0.02)
            self._nodes.mend()
            if time.monotonic() < moment or not list(out.glob(f"runs/*/*/{RECORDS}")):
                continue
            before = {path: path.read_bytes() for path in out.glob(f"runs/*/*/{RECORDS}")}
            what = min(VICTIMS, key=lambda name: (self.toll.kills[name], self._random.random()))
            if not self._kill(what, driver):
                continue
            kills += 1
            self.toll.kills[what] += 1
            if what == DRIVER:
                driver.wait(PATIENCE_S)
                self._keeps(out, before)
                driver = self._driver(out)
            moment = self._moment()
        while driver.poll() is None:
            time.sleep(0.1)
            self._nodes.mend()
        if driver.returncode != 0:
            raise LostError(f"{out} ended with {driver.returncode}: {self._said(out)}")
        fleet = description.read(self._file)
        return Campaign(out, fleet, shards.plan(fleet, lambda _: {})).read()

    def _moment(self) -> float:
        return time.monotonic() + self._random.uniform(0.2, LATEST_S)

    def _driver(self, out: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "harness", "fleet", "run", str(self._file), "-o", str(out)]
        with (self._folder / f"{out.name}.log").open("ab") as log:
            return subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)

    def _kill(self, what: str, driver: subprocess.Popen[bytes]) -> bool:
        if what == DRIVER:
            driver.kill()
        elif what == RAYLET:
            self._nodes.lose(self._random.randrange(2))
        else:
            carriers = self._nodes.workers()
            if not carriers:
                return False
            with contextlib.suppress(psutil.NoSuchProcess):
                self._random.choice(carriers).kill()
        return True

    def _keeps(self, out: Path, before: dict[Path, bytes]) -> None:
        """LostError unless every line that a driver had stored is there after its death."""
        for path, was in before.items():
            if not path.read_bytes().startswith(was[: was.rfind(b"\n") + 1]):
                self.toll.lost += 1
                raise LostError(f"{path}: lines that were stored are gone after SIGKILL of the {DRIVER}")
        self.toll.torn += sum(not whole(path.read_bytes()) for path in out.glob(f"runs/*/*/{RECORDS}"))

    def _said(self, out: Path) -> str:
        return (self._folder / f"{out.name}.log").read_text("utf-8", "replace")[-2000:]

    def judge(self, campaign: Campaign, undisturbed: Path | None) -> None:
        """LostError where an attempt does not hold what its node wrote, or a real run that is done not what it must."""
        for attempt in campaign.ledger.attempts.values():
            self.toll.runs += 1
            fault = judged(campaign, attempt, self._evidence)
            if undisturbed is not None and attempt.state == "done" and not fault:
                results = campaign.results(attempt)
                self.toll.twice += len(repeated(results))
                if repeated(results) or held(results) != held(undisturbed):
                    fault = "it holds other cases, or a case more often, than an undisturbed run"
            if fault:
                self.toll.lost += 1
                raise LostError(f"{campaign.folder}: {attempt.name}: {fault}")


def judged(campaign: Campaign, attempt: FleetAttempt, evidence: Path) -> str | None:
    """What is wrong with what is stored of an attempt, held against what its node wrote; None where nothing is."""
    path = campaign.results(attempt) / RECORDS
    stored = path.read_bytes() if path.exists() else b""
    if not whole(stored) or attempt.records != stored.count(b"\n"):
        return f"{attempt.records} lines are entered, and what is stored is not as many whole lines"
    if attempt.state != "done":
        if stored and not any(kept.startswith(stored) for kept in _kept(evidence)):
            return "no node wrote the lines that are stored"
        return None
    # A run that is done joins the lines of a case. So does its driver, and so do we with what the node wrote.
    with tempfile.TemporaryDirectory() as folder:
        for kept in _kept(evidence):
            (Path(folder) / RECORDS).write_bytes(kept)
            shutil.copy(campaign.results(attempt) / INFO, folder)
            merge_lines(Path(folder))
            if (Path(folder) / RECORDS).read_bytes() == stored:
                return None
    return "it is done, and no node wrote just the lines that are stored"


def _kept(evidence: Path) -> list[bytes]:
    return [path.read_bytes() for path in evidence.iterdir() if path.suffix != ".lock"]


def whole(content: bytes) -> bool:
    """Whether it is made of whole lines."""
    return not content or content.endswith(b"\n")


def killed(folder: Path, nodes: Nodes, kills: int, seed: int, *, real: bool = False) -> Toll:
    """Kill what carries campaigns until `kills` kills were done; LostError with the campaign that lost anything."""
    killer = FleetKiller(folder, nodes, seed, real=real)
    undisturbed = killer.undisturbed() if real else None
    number = 0
    while (left := kills - sum(killer.toll.kills.values())) > 0:
        killer.judge(killer.disturbed(number, left), undisturbed)
        number += 1
        print(f"seed {seed}, campaign {number}: {dict(killer.toll.kills)}", flush=True)
    return killer.toll


def surroundings(folder: Path) -> dict[str, str]:
    """The environment in which Ray, drivers and runs are started: all that they write lies in `folder`."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return {
        "HWLOTTERY_WORKLOADS": str(ROOT / "tests" / "helpers" / "steady"),
        "HWLOTTERY_CACHE": str(folder / "cache"),
        "HWLOTTERY_HOST_LOCK": str(folder / "host.lock"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was killed as JSON; 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="real runs of NumPy, which take longer")
    parser.add_argument("--folder", type=Path, help="where the campaigns are kept; a temporary folder otherwise")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fleet-kills-") as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        os.environ.update(surroundings(folder))
        nodes = Nodes()
        try:
            toll = killed(folder, nodes, asked.kills, asked.seed, real=asked.real)
        except LostError as error:
            print(f"seed {asked.seed}: {error}", file=sys.stderr)
            return 1
        finally:
            nodes.shutdown()
        left = len(list((folder / "tmp").glob("fleet-hwlottery-*")))
    print(json.dumps({"fleet": True, "real": asked.real, "seed": asked.seed, **vars(toll), "left": left}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
