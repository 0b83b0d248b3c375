"""The gate: each rule refuses what breaks it."""

from __future__ import annotations

import ast
import copy
import json

import msgspec
import pytest
from _sound import AHEAD, EVERY, IDEA, INFO, LEFT_OUT, ROOT, SOUND, STORED, UNSUPPORTED, V, written

from harness.cli.main import run_cli
from harness.gate import record_rules
from harness.gate.known import Known
from harness.gate.validate import Remembered, validate
from harness.planning.reasons import FACTOR, refused, slow
from harness.records.record import Case, Record
from workloads.discovery import workloads


def _edit(**fields):
    """Set fields of the idea's record by their dotted path, with __ for dots."""

    def change(records, info):
        for path, value in fields.items():
            at, *names = path.split("__")
            inside = records[IDEA] if at != "info" else info
            for name in ([at] if at != "info" else []) + names[:-1] if names else []:
                inside = inside[int(name) if name.isdecimal() else name]
            last = names[-1] if names else at
            inside[int(last) if last.isdecimal() else last] = value
        return records, info

    return change


def _scaled(factor):
    """All times of the samples of the idea, and its windows, so that only the ceiling can tell."""

    def change(records, info):
        timing = records[IDEA]["time"]
        timing["samples_s"] = [[factor * s for s in samples] for samples in timing["samples_s"]]
        for trial in timing["trials"]:
            trial["warmup_s"] = [factor * s for s in trial["warmup_s"]]
            trial["window_s"] *= factor
        return records, info

    return change


def _executed(**counts):
    whole = {"matmul_flop": 8, "other_flop": 0, "bytes": 10, "gathered_rows": 0, "scattered_rows": 0, "launches": 1}
    return whole | counts


def test_executed_work_may_be_published(tmp_path):
    records, info = _edit(executed=_executed(written_bytes=4))(copy.deepcopy(SOUND), copy.deepcopy(INFO))
    assert validate(written(tmp_path / "r", records, info)).refusals == []


def _again(records, info):
    return [*records, records[IDEA]], info


def _as_another(records, info):
    other = copy.deepcopy(records[IDEA])
    other["case"]["seed"] = 7
    other["time"]["trials"] = [{**t, "started_at": "2026-11-01T10:00:00Z"} for t in other["time"]["trials"]]
    return [*records, other], info


def _same_trial_twice(records, info):
    timing = records[IDEA]["time"]
    timing["trials"].append(timing["trials"][-1])
    timing["samples_s"].append([s * 1.001 for s in timing["samples_s"][-1]][:-1])
    return records, info


def _without_controls(records, info):
    return [r for r in records if not r["control"]], info


def _other_setting(name, value):
    def change(records, info):
        records[IDEA]["settings"][name] = value
        return records, info

    return change


def _in_tf32(records, info):
    """Of every framework, so that they agree with each other."""
    for record in records:
        switches = record["settings"].keys() & {"float32_matmul_precision", "matmul_precision"}
        record["settings"] |= {"tf32": True, **dict.fromkeys(switches, "high")}
    return records, info


def _without_setting(records, info):
    del records[IDEA]["settings"]["threads"]
    return records, info


def _without_sources_of_the_framework(records, info):
    info["versions"] = {k: v for k, v in info["versions"].items() if k != "torch"}
    return records, info


def _estimated(**fields):
    estimate = json.loads((AHEAD / "records.jsonl").read_text().splitlines()[0])["estimate"]

    def change(records, info):
        records[IDEA] |= {"estimate": estimate, **fields}
        return records, info

    return change


def _unsupported(**fields):
    def change(records, info):
        records[UNSUPPORTED] |= fields
        return records, info

    return change


MEASURED = str(msgspec.convert(SOUND[IDEA]["case"], Case))

RULES = {
    "schema: a field of another unit": ("schema", _edit(time__first_call_ms=1.0)),
    "schema: text for a number": ("schema", _edit(time__convert_s="0.1")),
    "schema: a lost field": ("schema", lambda r, i: ([{k: v for k, v in r[0].items() if k != "work"}], i)),
    "schema: an unknown outcome": ("schema", _edit(status="great")),
    "schema: in run.json": ("schema", _edit(info__machine=[])),
    "schema of the future": ("schema-version", _edit(schema=99)),
    "schema of the future, with what it adds": ("schema-version", _edit(schema=99, new_field=1)),
    "schema of no time": ("schema-version", _edit(schema=0)),
    "an unknown workload": ("case", _edit(case__workload="mine")),
    "an unknown formulation": ("case", _edit(case__formulation="mine")),
    "an unknown device": ("case", _edit(case__device="gpu")),
    "an unknown dtype": ("case", _edit(case__dtype="float8")),
    "an axis out of range": ("case", _edit(case__params__m=-1)),
    "an axis beyond a float": ("case", _edit(case__params__m=10**300)),
    "an execution that the backend has not": ("case", _edit(case__execution="graph")),
    "FLOP that flatter": ("work", _edit(work__useful_flop=10**15)),
    "bytes that flatter": ("work", _edit(work__least_bytes=1)),
    "FLOP beyond a float": ("work", _edit(work__useful_flop=10**400)),
    "executed work below nothing": ("executed", _edit(executed=_executed(launches=-1))),
    "executed work beyond 64 bits": ("executed", _edit(executed=_executed(bytes=10**400))),
    "more written than moved": ("executed", _edit(executed=_executed(written_bytes=11))),
    "another twin": ("twins", _edit(twins__0__params__m=1)),
    "a time of day": ("time-of-day", _edit(started_at="yesterday")),
    "a time of day of a trial": ("time-of-day", _edit(time__trials__0__started_at="<script>")),
    "negative seconds": ("negative", _edit(time__samples_s__0__0=-1.0)),
    "negative bytes": ("negative", _edit(memory__host_peak_bytes=-1)),
    "negative joules": ("negative", _edit(energy__low_j=-1.0)),
    "negative wall time": ("negative", _edit(info__wall_s=-1.0)),
    "an estimate beside a time": ("estimate", _estimated()),
    "a time for a chip that was not there": ("estimate", _edit(case__device="tpu-aot:v5e")),
    "estimated for what is here": ("estimate", _estimated(status="estimated", time=None, energy=None)),
    "wrong with a time": ("time-without-ok", _edit(status="wrong", verdict__agrees=False, reason="off")),
    "unsupported with a time": ("time-without-ok", _unsupported(time=SOUND[IDEA]["time"])),
    "wrong with a verdict that agrees": ("verdict", _edit(status="wrong", time=None, energy=None, reason="off")),
    "ok without a verdict": ("verdict", _edit(verdict=None)),
    "ok with a verdict that disagrees": ("verdict", _edit(verdict__agrees=False)),
    "ok with a large error": ("verdict", _edit(verdict__max_rel_error=0.5)),
    "ok with an unknown error": ("verdict", _edit(verdict__max_rel_error=None)),
    "a gate of one's own": ("gate", _edit(verdict__gate_error=0.1, verdict__gate_limit=0.2)),
    "a tolerance of one's own": ("tolerance", _edit(verdict__rtol=0.5)),
    "a failure without a reason": ("reason", _unsupported(reason=None)),
    "ok without a time": ("no-time", _edit(time=None)),
    "a trial without samples": ("samples", _edit(time__samples_s__0=[])),
    "samples without a trial": ("samples", lambda r, i: (r, i) if r[0]["time"]["trials"].pop() else None),
    "a first call that no trial had": ("samples", _edit(time__first_call_s=1e-9)),
    "settled although a trial did not": ("samples", _edit(time__trials__0__steady=False, time__steady=True)),
    "no calls in a sample": ("samples", _edit(time__trials__0__calls_per_sample=0)),
    "calls beyond a float": ("samples", _edit(time__trials__0__calls_per_sample=10**400)),
    "a sample below the clock": ("resolution", _edit(time__samples_s__0__0=1e-12)),
    "zero seconds": ("resolution", _edit(time__samples_s__0__0=0.0)),
    "samples that do not fit into the window": ("window", _edit(time__trials__0__window_s=1e-6)),
    "a window that the samples do not fill": ("window", _edit(time__trials__0__window_s=1e3)),
    "no joules at all": ("energy", _edit(energy__gross_j=0.0, energy__low_j=0.0)),
    "joules without a source": ("energy", _edit(energy__source="none")),
    "a model without bounds": ("energy", _edit(energy__low_j=None)),
    "joules outside their bounds": ("energy", _edit(energy__high_j=1e-12)),
    "no processor": ("environment", _edit(info__machine__cpu=None)),
    "no number of threads": ("environment", _edit(info__settings__threads=None)),
    "no version of the framework": ("environment", _without_sources_of_the_framework),
    "a record of another run": ("run", _edit(run="r2")),
    "the same line twice": ("duplicate", _again),
    "the same trial twice": ("duplicate", _same_trial_twice),
    "the same samples under two cases": ("same-samples", _as_another),
    "more threads than the others": ("settings", _other_setting("threads", 64)),
    "asked for other threads": ("settings", _other_setting("threads_asked", 64)),
    "TF32 for one": ("settings", _other_setting("tf32", True)),
    "TF32 for all": ("settings", _in_tf32),
    "another malloc": (
        "settings",
        lambda r, i: ([{**x, "settings": {**x["settings"], "malloc_top_pad": k}} for k, x in enumerate(r)], i),
    ),
    "threads unknown": ("settings", _without_setting),
    "threads of run.json": ("settings", _edit(info__settings__threads=1)),
    "no control": ("no-control", _without_controls),
    "faster than the machine": ("share", _scaled(1e-3)),
    "left out for no reason that a run has": ("left-out", _edit(info__left_out={"it was late": [LEFT_OUT]})),
    "left out although it was close": ("left-out", _edit(info__left_out={slow(1.5): [LEFT_OUT]})),
    "left out as another framework refused": ("left-out", _edit(info__left_out={refused("jax", V): [LEFT_OUT]})),
    "left out and measured": ("left-out", _edit(info__left_out={slow(FACTOR): [MEASURED]})),
    "left out twice": ("left-out", _edit(info__left_out={slow(FACTOR): [LEFT_OUT], refused("torch", V): [LEFT_OUT]})),
    "no records": ("empty", lambda r, i: ([], i)),
}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """What a sound folder taught the gate."""
    taught = Remembered()
    assert validate(written(tmp_path_factory.mktemp("sound")), taught).refusals == []
    return taught


@pytest.mark.parametrize("rule", RULES)
def test_what_breaks_a_rule_is_refused_with_what_and_where_and_a_remedy(rule, tmp_path, learnt):
    code, change = RULES[rule]
    records, info = change(copy.deepcopy(SOUND), copy.deepcopy(INFO))
    amid = len(records) // 2
    folder = written(tmp_path / "r", [*records[1 : amid + 1], *records[:1], *records[amid + 1 :]], info)
    refusals = validate(folder).refusals
    assert validate(folder, learnt).refusals == refusals, "the same words where nearly all is known to be sound"
    assert code in {r.code for r in refusals}
    for refusal in refusals:
        assert refusal.where.startswith(("records.jsonl", "run.json"))
        assert refusal.what
        assert refusal.remedy
        assert refusal.code != "unchecked"


def test_a_difference_that_is_declared_is_not_refused(tmp_path):
    records = copy.deepcopy(SOUND)
    records[IDEA]["settings"] |= {"threads": 1, "threads_note": "its pool cannot be resized"}
    assert validate(written(tmp_path / "r", records)).refusals == []


@pytest.mark.parametrize(("record", "codes"), [(SOUND[UNSUPPORTED], []), (SOUND[IDEA], ["case"])])
def test_an_execution_that_a_formulation_has_not_may_be_refused_by_a_run_but_not_measured(record, codes):
    params = workloads()[0]["dense_conv"].presets["smoke"][0].params
    case = {**record["case"], "workload": "dense_conv", "mode": "forward", "params": dict(params)}
    case |= {"formulation": "nhwc_packed", "backend": "torch", "execution": "compiled"}
    item = msgspec.convert({**record, "case": case}, Record)
    found = record_rules.check(item, "records.jsonl line 1", Known())
    assert [refusal.code for refusal in found if refusal.code == "case"] == codes


def test_the_stored_run_of_standard_may_be_published():
    assert validate(ROOT / "results" / "standard-cpu").refusals == []


def test_a_case_may_have_a_line_for_each_of_its_processes(tmp_path):
    """As a run that was killed leaves them."""
    whole = SOUND[IDEA]
    lines = []
    for trial, samples in zip(whole["time"]["trials"], whole["time"]["samples_s"], strict=True):
        names = ("first_call_s", "compile_s", "convert_s", "steady", "drift")
        timing = {**{n: trial[n] for n in names}, "samples_s": [samples], "trials": [trial]}
        lines.append({**whole, "time": timing, "started_at": trial["started_at"]})
    report = validate(written(tmp_path / "r", [*lines, *SOUND[1:]]))
    assert report.refusals == []
    assert len(report.run.records) == len(SOUND)


def test_one_bad_line_is_refused_and_the_others_are_read(tmp_path):
    folder = written(tmp_path / "r")
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"schema": 1,\n')
    report = validate(folder)
    assert [(r.code, r.where) for r in report.refusals] == [("json", f"records.jsonl line {len(SOUND) + 1}")]
    assert len(report.run.records) == len(SOUND)


def test_every_code_that_the_source_has_is_seen_refusing():
    used = set()
    for file in (ROOT / "harness" / "gate").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                {getattr(node.func, "id", ""), getattr(node.func, "attr", "")} if isinstance(node, ast.Call) else set()
            )
            called = names & {"refusal", "refuse"}
            if called and isinstance(node.args[0], ast.Constant):
                used.add(node.args[0].value)
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and "_trial" in file.read_text():
                first = node.value.elts[0]
                used |= {first.value} if isinstance(first, ast.Constant) and isinstance(first.value, str) else set()
    seen = {code for code, _ in RULES.values()}
    seen |= {"missing", "unreadable", "too-large", "too-many-samples", "too-many-lines", "too-deep", "json"}
    seen |= {"plan", "missing-case", "slow-twin"}  # test_missing.py
    seen |= {"digest"}  # tests/cli/test_submit.py
    seen |= {"modelled", "model"}  # test_modelled.py
    assert used == seen | {"more", "unchecked"}


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_may_be_published_and_exits_0(capsys):
    assert run_cli(["validate", str(STORED)]) == 0
    out = capsys.readouterr().out
    assert f"{STORED}: may be published, {len(EVERY)} records" in out
    assert "marked [" in out


def test_the_command_names_every_reason_and_exits_1(tmp_path, capsys):
    bad = written(tmp_path / "r", [r for r in SOUND if not r["control"]])
    assert run_cli(["validate", str(STORED), str(bad)]) == 1
    out = capsys.readouterr().out
    assert f"{bad}: refused for 1 reason\n  refused [no-control] records.jsonl: no case was measured against" in out
    assert "; run with --rounds 2 or more" in out


def test_json_has_every_path(tmp_path, capsys):
    bad = written(tmp_path / "r", [])
    assert run_cli(["validate", "--json", str(STORED), str(bad)]) == 1
    good, refused = json.loads(capsys.readouterr().out)
    assert (good["publishable"], good["refusals"]) == (True, [])
    assert set(refused["refusals"][0]) == {"code", "where", "what", "remedy"}


def test_a_path_that_is_not_there_is_a_usage_error(capsys):
    assert run_cli(["validate", "/nowhere"]) == 2
    assert "/nowhere is not there" in capsys.readouterr().err
