"""What publishing costs: a leaderboard of a million records, a report of ten thousand, the page of a run of `quick`.

`tox run -e perf`, or `pytest tests/benchmarks/bench_reports.py --benchmark-only -s`. The figures to hold, on two cores:
1 000 000 records of 1 000 submissions to a site within 30 s and 4 GiB; 10 000 records to Markdown within 0.3 s, beside
what reading them takes; the page below 3 MB.

The submissions are made of the project's own stored run, so that the gate lets them pass: all of its cases, each
time moved by a factor of the submission and a little noise, three steady samples kept of each process and its first
three warm-up samples, which makes a record 2 kB: what the schema itself takes. Where the stored run has fewer than
1 000 records, the sweeps over density are run at more densities; every formula is computed anew. A fifth of the
submissions are of equal hardware. HWLOTTERY_BENCH_SUBMISSIONS makes fewer of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from harness.cli.formats import render
from harness.records.record import Record
from harness.records.store import RECORDS, load
from tools import perf_tables
from workloads.discovery import workloads

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "results" / "quick-cpu"
SUBMISSIONS = int(os.environ.get("HWLOTTERY_BENCH_SUBMISSIONS", 1000))
RECORDS_EACH = 1000
KEPT = 3  # samples of a process


def small(record):
    """The record with few samples: about 2 kB."""
    timed = record["time"]
    if timed:
        timed["samples_s"] = [s[:KEPT] for s in timed["samples_s"]]
        for trial in timed["trials"]:
            trial["warmup_s"] = trial["warmup_s"][:KEPT]
    record["settings"] = dict(list(record["settings"].items())[:6]) | {
        k: v for k, v in record["settings"].items() if k in ("threads", "threads_asked", "tf32")
    }
    return record


def widened(records):
    """More densities of the sweeps until there are RECORDS_EACH, each with the formulas' own values."""
    known = workloads()[0]
    swept = [r for r in records if "density" in r["case"]["params"] and not r["control"] and not r["headline"]]
    out = list(records)
    step = 0
    while len(out) < RECORDS_EACH and swept:
        like = swept[step % len(swept)]
        density = round(0.4 - 0.0125 * (1 + step // len(swept)), 6)
        case = like["case"] | {"params": like["case"]["params"] | {"density": density}}
        workload = known[case["workload"]]
        params = workload.check(case["params"])
        work = workload.work(params, case["mode"], 4)
        facts = {n: getattr(work, n) for n in ("useful_flop", "least_bytes", "live_bytes")}
        twins = [
            {"kind": t.kind, "workload": t.workload, "params": dict(t.params), "mode": t.mode}
            for t in workload.twins(params, case["mode"])
        ]
        out.append(like | {"case": case, "work": facts, "twins": twins, "time": slower(like, density)})
        step += 1
    return out[:RECORDS_EACH] if len(out) > RECORDS_EACH else out


def slower(like, density):
    """The time of `like`, as much longer as its product has more non-zeros: no rate passes the ceiling."""
    factor = max(1.0, density / like["case"]["params"]["density"])
    samples = [[s * factor for s in each] for each in like["time"]["samples_s"]] if like["time"] else []
    return like["time"] and like["time"] | {"samples_s": samples}


def make(folder, count, seed=0):
    """`count` submissions below `folder`, made on all cores; returns how many records they have and how many bytes."""
    info = json.loads((SOURCE / "run.json").read_text())
    base = widened([small(json.loads(line)) for line in (SOURCE / RECORDS).read_bytes().splitlines()])
    folder.mkdir(parents=True)
    MADE_OF.update(folder=folder, count=count, seed=seed, info=info, base=base)
    with multiprocessing.get_context("fork").Pool() as pool:
        sizes = pool.map(one, range(count), chunksize=1)
    return len(base) * count, sum(sizes)


MADE_OF = {}  # what the submissions are made of, which forks have without a copy


def one(number):
    """The submission of this number, the same whoever makes it; returns the bytes of its records."""
    folder, count, info = MADE_OF["folder"], MADE_OF["count"], MADE_OF["info"]
    rng = random.Random(f"{MADE_OF['seed']} {number}")
    target = folder / f"s{number:04d}"
    target.mkdir()
    run = f"{20261101 + number // 60}T{number % 24:02d}0000Z-{number:08x}"
    pace = rng.uniform(0.5, 1.5)
    machine = info["machine"] | {"cpu": f"Processor {number % max(1, count * 4 // 5)}"}
    facts = {
        "run": run,
        "machine": machine,
        "started_at": f"2026-11-{1 + number // 60:02d}T{number % 24:02d}:00:00Z",
    }
    (target / "run.json").write_text(json.dumps(info | facts))
    lines = []
    for record in MADE_OF["base"]:
        moved = record | {"run": run}
        if record["time"]:
            factor = pace * rng.uniform(0.98, 1.02)
            timed = record["time"]
            samples = [[s * factor * rng.uniform(0.99, 1.01) for s in each] for each in timed["samples_s"]]
            trials = [
                trial | {"window_s": 1.01 * (sum(each) + sum(trial["warmup_s"])) * trial["calls_per_sample"]}
                for trial, each in zip(timed["trials"], samples, strict=True)
            ]
            moved["time"] = timed | {"samples_s": samples, "trials": trials}
        lines.append(msgspec.json.encode(moved))
    return (target / RECORDS).write_bytes(b"\n".join(lines) + b"\n")


class Watch:
    """The largest resident memory of a process and its children together, and the CPU seconds of them all.

    Asked every tenth of a second: the workers are no children of ours, so that the system does not add them up.
    """

    def __init__(self, pid):
        self.process, self.bytes, self.stop = psutil.Process(pid), 0, threading.Event()
        self.seconds: dict[int, float] = {}
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stop.wait(0.1):
            total = 0
            try:
                for item in [self.process, *self.process.children(recursive=True)]:
                    times = item.cpu_times()
                    total += item.memory_info().rss
                    self.seconds[item.pid] = times.user + times.system
            except psutil.Error:
                continue
            self.bytes = max(self.bytes, total)

    @property
    def cpu_s(self):
        return sum(self.seconds.values())


def test_a_leaderboard_of_a_thousand_submissions(tmp_path, benchmark):
    """Wall time, CPU seconds and peak memory of the command itself, started as a user does."""
    records, size = make(tmp_path / "in", SUBMISSIONS)
    seen = []

    def command():
        begun = time.perf_counter()
        arguments = [sys.executable, "-m", "harness", "leaderboard", str(tmp_path / "in"), "-o", str(tmp_path / "site")]
        child = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        watch = Watch(child.pid)
        said = child.communicate()[1]
        watch.stop.set()
        seen.append((time.perf_counter() - begun, watch.cpu_s, watch.bytes))
        assert child.returncode == 0, said[-2000:]
        assert f"({SUBMISSIONS} submissions of" in said, said[-2000:]

    benchmark.pedantic(command, rounds=1)
    wall, cpu, peak = seen[-1]
    pages = sum(1 for _ in (tmp_path / "site").iterdir())
    benchmark.extra_info.update(records=records, input_bytes=size, cpu_s=cpu, peak_bytes=peak, files=pages)
    facts = {
        "records": records,
        "bytes a record": round(size / records),
        "submissions": SUBMISSIONS,
        "wall, s": wall,
        "CPU, s": cpu,
        "peak, GiB": peak / 2**30,
        "files of the site": pages,
    }
    perf_tables.store("publish", facts=facts)
    print(
        f"\n{records} records ({size / records:.0f} bytes each) of {SUBMISSIONS} submissions: {wall:.1f} s, "
        f"{cpu:.1f} CPU seconds, peak {peak / 2**30:.2f} GiB, {pages} files"
    )


@pytest.mark.parametrize("submissions", [10])
def test_markdown_of_ten_thousand_records(tmp_path, benchmark, submissions):
    """Of real cases, made into records; the time of reading them is stored apart."""
    make(tmp_path / "in", submissions)
    folders = sorted((tmp_path / "in").iterdir())
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        records: list[Record] = [record for folder in folders for record in load(folder).records]
        seconds.append(time.perf_counter() - begun)
    text = benchmark.pedantic(lambda: render(records, "markdown"), rounds=5, warmup_rounds=1)
    assert "Ideas against their dense twin" in text
    benchmark.extra_info["records"] = len(records)
    perf_tables.store("publish", facts={f"reading {10 * RECORDS_EACH} records, s": min(seconds)})
    print(f"\nreading {len(records)} records: {min(seconds):.2f} s")


def test_the_page_of_the_stored_run(benchmark):
    run = load(SOURCE)
    page = benchmark.pedantic(lambda: render(run.records, "html", runs=[run.info]), rounds=3, warmup_rounds=1)
    perf_tables.store("publish", facts={"page of quick, MB": len(page.encode()) / 1e6})
    print(f"\nthe page of the stored run of quick: {len(page.encode()) / 1e6:.2f} MB")
