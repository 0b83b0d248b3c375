"""A few records of a stored run that pass the gate, to be broken one rule at a time."""

from __future__ import annotations

import json
from pathlib import Path

from harness.gate.validate import validate

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "results" / "quick-cpu"
AHEAD = ROOT / "results" / "quick-tpu-aot-v5e"
EVERY = [json.loads(line) for line in (STORED / "records.jsonl").read_text().splitlines()]
INFO = json.loads((STORED / "run.json").read_text())
V = "2.9.1 (hwlottery 0.1.0)"
LEFT_OUT = "unstructured_sparse/never forward torch eager cpu float32 [m=1]"


def _chosen():
    """A few of the stored records: a control and its case, ceilings, an idea of many calls, one that has no path."""
    control = next(r for r in EVERY if r["control"])
    case = next(r for r in EVERY if not r["control"] and r["case"] == control["case"])
    ok = [r for r in EVERY if r["status"] == "ok" and not r["control"] and r["case"]["backend"] == "torch"]
    idea = next(r for r in ok if r["twins"] and len(r["time"]["samples_s"]) > 1 and r["case"] != case["case"])
    dense = [r for r in ok if r["case"]["workload"] == "dense_matmul" and r["case"]["mode"] == "forward"]
    matmul = max(dense, key=lambda r: r["work"]["useful_flop"] / min(map(min, r["time"]["samples_s"])))
    stream = max((r for r in ok if r["case"]["workload"] == "stream"), key=lambda r: r["case"]["params"]["elements"])
    unsupported = next(r for r in EVERY if r["status"] == "unsupported")
    chosen = [idea, case, control, matmul, stream]
    points = {_point(r) for r in [*chosen, unsupported]}
    chosen += [r for r in EVERY if not r["control"] and _point(r) in points and r is not unsupported]  # all of a plan
    chosen.append(unsupported)
    keys = [json.dumps([r["case"], r["control"]]) for r in chosen]
    return [r for k, r in enumerate(chosen) if keys[k] not in keys[:k]]


def _point(record):
    case = record["case"]
    names = ("workload", "params", "mode", "dtype", "backend", "device")
    return json.dumps([case[name] for name in names], sort_keys=True)


SOUND = _chosen()
IDEA, UNSUPPORTED = 0, len(SOUND) - 1


def written(folder, records=SOUND, info=INFO):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def codes(folder):
    return {r.code for r in validate(folder).refusals}
