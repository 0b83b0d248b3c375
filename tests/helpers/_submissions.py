"""Made-up submissions for the tests of the leaderboard: facts of a run, folders of them, a gate that lets all pass."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import msgspec
from _records import dense, idea

from harness.figures.summary import summarise
from harness.leaderboard.submission import Refused, submission
from harness.records.record import SCHEMA, Estimate
from harness.records.store import RunInfo, load

FAST, SLOW = (0.20, 0.21, 0.19), (1.50, 1.51, 1.49)  # seconds of an idea whose twin takes 1
HARDWARE = {
    "cpu": "Processor A",
    "architecture": "x86_64",
    "cores_physical": 2,
    "cores_logical": 4,
    "cores_usable": 4,
    "memory_bytes": 16 * 2**30,
    "virtual_machine": False,
}


def run_info(run="r1", started_at="2026-11-01T10:00:00Z", machine=None, **facts):
    known = {
        "schema": SCHEMA,
        "run": run,
        "started_at": started_at,
        "ended_at": None,
        "command": ["hwlottery", "run"],
        "machine": {**HARDWARE, "os": "Linux", "load_1min": 0.5, **(machine or {})},
        "versions": {"numpy": "2.4.6"},
        "settings": {"preset": "quick"},
    }
    return RunInfo(**(known | facts))


def pair(idea_s, dense_s=(1.0, 1.0, 1.0), *, noise=None, run="r1", **facts):
    """An idea and its twin, W = 0.1; with `noise`, also an A/A control of the twin that is off by this share."""
    where = {name: value for name, value in facts.items() if name in ("params", "backend", "device", "dtype", "mode")}
    records = [idea(list(idea_s), run=run, **facts), dense(list(dense_s), run=run, **where)]
    if noise is not None:
        control = dense([s * (1 + noise) for s in dense_s], run=run, **where)
        records.append(msgspec.structs.replace(control, control=True))
    return records


def compiled(device="tpu-aot:v5e", **facts):
    """An idea and its twin compiled for a chip: twice the ideal time for a tenth of the FLOP, so a tax of 20."""

    def estimate(optimal_s):
        known = {"route": "jax", "chip": "v5e", "trace_s": 0.1, "compile_s": 0.2, "flop": 1.0, "bytes_accessed": 1.0}
        sizes = {f"{name}_bytes": 1 for name in ("argument", "output", "temp", "code")}
        cycles = {"cycles": 10, "covered_share": 1.0, "uncovered": {}, "compiler": "libtpu", "fits": True}
        return Estimate(optimal_s=optimal_s, **known, **sizes, **cycles)

    records = [idea(None, device=device, status="estimated", **facts), dense(None, device=device, status="estimated")]
    return [msgspec.structs.replace(r, estimate=estimate(s)) for r, s in zip(records, (2.0, 1.0), strict=True)]


def taken(digest, records, marks=(), **info):
    """A submission as the leaderboard takes it in."""
    run = records[0].run if records else "r1"
    return submission(run_info(**{"run": run} | info), records, summarise(records), digest * 8, marks)


def write(folder, records, **info):
    """A submission as a folder of files."""
    folder.mkdir(parents=True)
    run = records[0].run if records else "r1"
    (folder / "run.json").write_bytes(msgspec.json.encode(run_info(**{"run": run} | info)))
    (folder / "records.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in records))
    return folder


@dataclass
class Lenient:
    """A gate that lets everything pass that can be decoded."""

    refusals: list = field(default_factory=list)
    marks: list = field(default_factory=list)
    run: object = None
    basis: object = None


def lenient(path, *_):
    found = load(path)
    bad = [SimpleNamespace(where="records.jsonl", what=w, remedy="fix it") for w in found.warnings]
    return Lenient(refusals=bad, run=found)


def name_only(folder, name, into):
    """A reader for other processes, which says which one it was."""
    return Refused(name=str(os.getpid()), reasons=[name])


def dies_on_s2(folder, name, into):
    """A reader whose process ends at the submission s2."""
    if name == "s2":
        os._exit(1)
    return Refused(name=str(os.getpid()), reasons=[name])


def three(folder):
    write(folder / "a", pair(FAST, run="r1"), started_at="2026-11-01T00:00:00Z")
    write(folder / "deep" / "b", pair(SLOW, run="r2"), started_at="2026-11-02T00:00:00Z", machine={"cpu": "B"})
    write(folder / "c", pair(SLOW, run="r3", noise=0.1), started_at="2026-11-03T00:00:00Z", machine={"cpu": "B"})
    return folder
