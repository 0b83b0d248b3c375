"""`fleet` as a user calls it: what it plans, what it says, its exit codes, and one sentence for each mistake."""

from __future__ import annotations

import json
import shutil
import tomllib

import msgspec
import pytest
from _fleet import of_command
from _stored import RUN, record

from harness.cli.main import run_cli
from harness.fleet.collecting import control
from harness.fleet.description import Want
from harness.machine.digest import sources
from harness.records.store import RECORDS, Store

TEXT = """
[machine.a]
labels = {{ kind = "cpu" }}
{more}

[[want]]
name = "w"
on = {{ kind = "cpu" }}
preset = "smoke"
backends = ["numpy"]
workloads = ["capsule_conv"]
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f.toml"
    path.write_text(TEXT.format(more=of_command(tmp_path)))
    return path


def _changed(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def test_the_plan_says_who_runs_what_and_how_long_and_runs_nothing(file, capsys, tmp_path):
    assert run_cli(["fleet", "plan", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("w: on a, about ")
    assert out.endswith("each: run --workload capsule_conv --backend numpy --preset smoke\n")
    assert err.startswith("1 runs on 1 machines by local: about ")
    assert run_cli(["fleet", "plan", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert (row["shard"], row["kind"], row["state"], found["machines"]) == ("w-a-run1", "a", "waiting", {"a": ["a"]})
    assert row["about_s"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"f.toml", "python"}


@pytest.mark.parametrize(
    ("engine", "runs", "count", "times"), [("local", 3, 2, 3), ("ray", 3, 2, 1.5), ("ray", 1, 2, 1), ("slurm", 3, 1, 3)]
)
def test_how_long_in_all_hangs_on_how_many_work_at_once(file, capsys, monkeypatch, engine, runs, count, times):
    from harness.cli import fleet

    monkeypatch.setattr(fleet, "_about_s", lambda options: 600.0)
    _changed(file, "[machine.a]", f'engine = "{engine}"\n[machine.a]\ncount = {count}')
    _changed(file, 'preset = "smoke"', f'preset = "smoke"\nruns = {runs}')
    assert run_cli(["fleet", "plan", str(file)]) == 0
    said = f"{runs} runs on {count} machines by {engine}: about {10 * times:.0f} min in all"
    assert capsys.readouterr().err.startswith(said)


def test_how_long_is_not_known_of_a_device_that_is_not_here(file, capsys):
    _changed(file, 'backends = ["numpy"]', 'backends = ["torch"]\ndevices = ["cuda"]')
    assert run_cli(["fleet", "plan", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "for a time that is not known each" in out
    assert "how long is not known" in err


def test_a_campaign_runs_stands_and_is_collected(file, capsys, tmp_path):
    assert run_cli(["fleet", "run", str(file)]) == 0
    assert "w-a-run1-try1: done, 5 records; 1 of 1 done" in capsys.readouterr().err
    assert run_cli(["fleet", "status", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["done"], found["shards"], found["running"], found["lost"]) == (1, 1, {}, [])
    assert found["rows"][0]["records"] == 5
    assert run_cli(["fleet", "collect", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "1 of 1 runs are done, with 5 records in campaigns/f/runs" in out
    assert "leaderboard campaigns/f/runs -o SITE" in err
    assert run_cli(["fleet", "plan", str(file)]) == 0
    assert "0 runs on 0 machines by local" in capsys.readouterr().err
    assert run_cli(["fleet", "run", str(file)]) == 0  # again: nothing is left to do
    assert "begins" not in capsys.readouterr().err


def test_what_is_refused_is_said_and_the_exit_code_tells(file, capsys):
    _changed(file, "env = { ", "env = { FAKE_CODE = '2', ")
    assert run_cli(["fleet", "run", str(file), "--wait", "1s"]) == 1
    err = capsys.readouterr().err
    assert "refused, 0 records (nothing can be run here; install something)" in err
    assert "1 of 1 runs are not done" in err
    assert run_cli(["fleet", "status", str(file)]) == 0
    out = capsys.readouterr().out
    assert "refused: w-a-run1-try1 on a, nothing is kept (nothing can be run here; install something)" in out
    assert run_cli(["fleet", "collect", str(file)]) == 1
    assert "missing: w-a-run1" in capsys.readouterr().out


def test_a_failed_case_is_a_result_and_the_exit_code_tells(file, capsys):
    _changed(file, "env = { ", "env = { FAKE_CODE = '1', ")
    assert run_cli(["fleet", "run", str(file)]) == 1
    assert "done, 5 records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('preset = "smoke"', 'preset = "smok"', "want 'w': there is no preset 'smok'; did you mean smoke?"),
        ('["capsule_conv"]', '["capsule_con"]', "there is no workload 'capsule_con'; did you mean capsule_conv"),
        ('["numpy"]', '["numpi"]', "there is no backend 'numpi'; did you mean numpy?"),
        ('["numpy"]', '["numpy"]\ndevices = ["gpu"]', "want 'w': "),
        ('["numpy"]', '["numpy"]\nbudget = "5x"', "'5x' is not a time between 0 and 7 days"),
        ('["numpy"]', '["numpy"]\nrounds = 1000', "1000 is not in the range"),
        ('["numpy"]', '["numpy"]\nset = { dens = 3 }', "there is no axis 'dens'"),
        ('kind = "cpu" }\npreset', 'kind = "gpu" }\npreset', "the nearest is kind=cpu (machine a)"),
        ("[machine.a]", 'engine = "ray"\n[ray]\npoll = "2x"\n[machine.a]', "[ray] poll: '2x' is not a time"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(file, capsys, old, new, words):
    _changed(file, old, new)
    assert run_cli(["fleet", "run", str(file)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_what_is_not_installed_is_one_sentence_with_the_command(file, capsys, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ("ray", "submitit") else there(name, *a)
    )
    for engine, needs in (("ray", "Ray"), ("slurm", "submitit")):
        _changed(file, "[machine.a]", f'engine = "{engine}"\n[machine.a]')
        assert run_cli(["fleet", "run", str(file), "-o", engine]) == 2
        err = capsys.readouterr().err
        assert f"needs {needs}, which is not installed; try: python -m pip install" in err
        assert f"[{engine}]" in err
        _changed(file, f'engine = "{engine}"\n', "")


def test_who_was_never_begun_and_who_asks_for_what_is_not(file, capsys):
    assert run_cli(["fleet", "status", str(file)]) == 2
    assert "campaigns/f is no campaign; begin it by: hwlottery fleet run" in capsys.readouterr().err.replace(
        "python -m harness", "hwlottery"
    )
    assert run_cli(["fleet", "export", str(file), "--to", "slum"]) == 2
    assert "there is no form 'slum'; did you mean slurm?" in capsys.readouterr().err
    assert run_cli(["fleet", "export", str(file), "--to", "sh", "-o", "job.sh"]) == 0
    assert "runs/a/w-a-run1-try1" in (file.parent / "job.sh").read_text()


# -- what came by hand, and what may be compared -----------------------------------------------------------------------


def _stored_run(folder, **changed):
    info = msgspec.structs.replace(RUN, **{"ended_at": "2026-11-01T00:01:00Z", "sources": sources(), **changed})
    with Store(folder, info) as store:
        store.append(record())


def test_runs_that_were_brought_by_hand_are_taken_in_when_they_are_whole_and_ours(file, capsys):
    _changed(file, 'preset = "smoke"', 'preset = "smoke"\nruns = 4')
    place = file.parent / "campaigns" / "f" / "runs" / "a"
    _stored_run(place / "w-a-run1-try1")
    _stored_run(place / "w-a-run2-try1", ended_at=None)
    _stored_run(place / "w-a-run3-try1", sources={"harness": "other"})
    _stored_run(place / "w-a-run4-try1")
    (place / "w-a-run4-try1" / ".learnt").mkdir()  # a run that was stopped, to be gone on with
    assert run_cli(["fleet", "collect", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["taken_in"] == ["w-a-run1-try1", "w-a-run3-try1"]
    assert (found["done"], found["shards"]) == (1, 4)
    assert found["partial"] == ["runs/a/w-a-run3-try1"]
    assert run_cli(["fleet", "status", str(file)]) == 0
    assert "it has other sources of backends, workloads, harness than are here" in capsys.readouterr().out
    (place / "w-a-run4-try1" / ".learnt").rmdir()
    run_cli(["fleet", "collect", str(file), "--json"])
    assert json.loads(capsys.readouterr().out)["taken_in"] == ["w-a-run4-try1"]


def test_versions_that_differ_between_machines_are_said(file, capsys):
    _changed(file, "[machine.a]", '[machine.b]\nlabels = { kind = "cpu" }\n[machine.a]')
    place = file.parent / "campaigns" / "f" / "runs"
    for machine, version in (("a", "2.0"), ("b", "2.1")):
        _stored_run(place / machine / f"w-{machine}-run1-try1", versions={"numpy": version, "scipy": "1"})
    assert run_cli(["fleet", "collect", str(file)]) == 0
    out = capsys.readouterr().out
    assert "differs: numpy 2.0 on a; 2.1 on b" in out
    assert "scipy" not in out


def test_a_control_holds_or_not_by_the_machines_noise():
    from harness.records.store import load
    from tools.docs_sources import RESULTS

    records = [r for r in load(RESULTS / "quick-cpu").records if r.case.workload in ("dense_cnn", "dense_matmul")]
    want = Want(name="w", on={}, options={}, share="split", control=("dense_cnn", "dense_matmul"))
    same = control(want, "a", {"a-1": records, "a-2": records})
    assert (same.holds, same.kind) == (True, "a")
    slower = [_slower(r) if r.case.workload == "dense_cnn" and not r.control else r for r in records]
    other = control(want, "a", {"a-1": records, "a-2": records, "a-3": slower})
    assert other.holds is False
    assert "dense_cnn" in other.why
    assert "slower on a-3 than on a-2" in other.why
    assert control(want, "a", {"a-1": records}).holds is None
    once = [r for r in records if r.case.workload == "nothing"]
    assert control(want, "a", {"a-1": once, "a-2": once}).holds is None


def _slower(found):
    if found.time is None:
        return found
    samples = [[3 * value for value in values] for values in found.time.samples_s]
    return msgspec.structs.replace(found, time=msgspec.structs.replace(found.time, samples_s=samples))


def test_the_extras_are_in_the_package():
    from tools.docs_sources import ROOT

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["ray"][0].startswith("ray>=2.60")
    assert extras["slurm"][0].startswith("submitit")
    assert shutil.which("sh")
    assert RECORDS == "records.jsonl"
