"""What a large fleet costs before and after its runs: 1 000 machines, 10 000 shards.

`pytest tests/benchmarks/bench_fleet.py -s`. The figure to hold: `fleet plan` and `fleet status` within 2 s of a core
each, their process started and ended. It prints the peak of their memory, too, and what a tenth of the fleet takes.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from _command import ROOT

from harness.cli.fleet import described
from harness.fleet.attempts import Assigned, Began, Ended, Opened
from harness.fleet.campaign import Campaign

MOST_S = 2.0


def _described(machines):
    kinds = "".join(f'[machine.m{n}]\nlabels = {{ number = "{n}", kind = "cpu" }}\n' for n in range(machines))
    wants = "".join(
        f'[[want]]\nname = "w{n}"\non = {{ kind = "cpu" }}\npreset = "smoke"\nbackends = ["numpy"]\nseed = {n}\n'
        'workloads = ["capsule_conv"]\n'
        for n in range(10)
    )
    return kinds + wants


def _filled(folder, machines):
    """A campaign of which all is done but a tenth, which waits or was lost."""
    path = folder / "fleet.toml"
    path.write_text(_described(machines))
    campaign = Campaign(folder / "c", *described(path))
    with campaign:
        journal = campaign._journal
        events = [Opened(at="2026-11-01T00:00:00Z")]
        for number, shard in enumerate(campaign.plan.shards):
            (machine,) = campaign.plan.machines[shard.kind]
            name, at = f"{shard.name}-try1", "2026-11-01T00:00:00Z"
            events += [
                Assigned(attempt=name, shard=shard.name, machine=machine, at=at),
                Began(attempt=name, place="process 1", at=at),
                Ended(attempt=name, state="done" if number % 10 else "lost", at=at, records=300, reason="words"),
            ]
        journal.append(*events)
    return path


TOLD = (
    "import sys, time; from harness.cli.main import run_cli\n"
    "assert run_cli(['fleet', *sys.argv[1:]]) == 0\n"
    "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
    "print(time.process_time(), 1024 * int(peak.split()[1]))\n"
)


def _taken(*arguments):
    """Seconds of a core, seconds, and peak bytes of a command."""
    began = time.perf_counter()
    made = subprocess.run(
        [sys.executable, "-c", TOLD, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cpu_s, peak = map(float, made.stdout.splitlines()[-1].split())
    return cpu_s, time.perf_counter() - began, peak


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_large_fleets_answer_at_once(tmp_path, verb):
    found = {}
    for machines in (100, 1000):
        folder = tmp_path / str(machines)
        folder.mkdir()
        file = _filled(folder, machines)
        taken = [_taken(verb, str(file), "-o", str(folder / "c")) for _ in range(3)]
        found[machines] = min(taken)
        cpu_s, wall_s, peak = found[machines]
        what = f"fleet {verb}: {machines} machines, {10 * machines} shards"
        print(f"\n{what}: {wall_s:.2f} s, {cpu_s:.2f} s of a core, {peak / 2**20:.0f} MiB")
    assert found[1000][0] <= MOST_S
