"""Job files for those who start runs by hand: each is read, or run, by what it is made for or its like."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest
import yaml
from _fleet import fleet, lines, of_command

from harness.errors import UserError
from harness.fleet.export import exported

TEXT = """
engine = "slurm"
[slurm]
partition = "batch"
setup = ["module load python"]
[machine.a]
labels = { kind = "cpu" }
count = 2
image = "example.org/hwlottery:1"
slurm = { constraint = "avx512", minutes = 60 }
[machine.B_2]
folder = "/opt/hw lottery"
env = { TWO_WORDS = "one two" }
image = "example.org/hwlottery:1"
sky = { accelerators = "H100:1" }
[[want]]
name = "w"
preset = "smoke"
workloads = ["capsule_conv"]
runs = 2
"""


def _exported(tmp_path, to, text=TEXT):
    return exported(*fleet(tmp_path, text), to)


def test_the_shell_script_runs_what_is_for_a_machine(tmp_path):
    """It is run, by a command that stands for a run; the machine's folder is none of its results' business."""
    machine = of_command(tmp_path).replace("env = {", f'folder = "{tmp_path}"\nenv = {{ TWO_WORDS = "one two",')
    text = f'[machine.a]\n{machine}[machine.b]\n{machine}\n[[want]]\nname = "w"\npreset = "smoke"\nruns = 2\n'
    script = tmp_path / "run.sh"
    script.write_text(_exported(tmp_path, "sh", text))

    def run(*arguments):
        command = ["sh", str(script), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    campaign = tmp_path / "with blanks"
    assert run("b", campaign).returncode == 0
    found = sorted(campaign.rglob("records.jsonl"))
    assert [path.parent.relative_to(campaign).as_posix() for path in found] == [
        "runs/b/w-b-run1-try1",
        "runs/b/w-b-run2-try1",
    ]
    assert lines(found[0]) == [0, 1, 2, 3, 4]
    assert run("b", campaign).returncode == 0  # again: goes on, and finds all done
    assert lines(found[0]) == [0, 1, 2, 3, 4]
    unknown = run("c")
    assert unknown.returncode == 2
    assert "there is no machine 'c'; name one of: a b" in unknown.stderr


def test_a_run_that_cannot_be_ends_the_script_with_its_code_and_a_failed_case_does_not(tmp_path):
    for code, ends in (("2", 2), ("1", 0)):
        text = f'[machine.a]\n{of_command(tmp_path, FAKE_CODE=code)}\n[[want]]\nname = "w"\npreset = "smoke"\n'
        made = subprocess.run(
            ["sh", "-s", "a", str(tmp_path / code)],
            input=_exported(tmp_path, "sh", text),
            text=True,
            capture_output=True,
            timeout=60,
        )
        assert made.returncode == ends, made.stderr


def test_slurm_jobs_are_alone_on_a_node_and_queued_once(tmp_path):
    script = _exported(tmp_path, "slurm")
    jobs = [shlex.split(line) for line in script.splitlines() if line.startswith("sbatch")]
    assert len(jobs) == 4
    first, last = jobs[0], jobs[-1]
    assert {"--exclusive", "--no-requeue", "--nodes=1", "--partition=batch", "--constraint=avx512", "--time=60"} <= {
        *first
    }
    assert "--time=1440" in last
    assert "--constraint=avx512" not in last
    inside = last[last.index("--wrap") + 1]
    assert inside.startswith("module load python && cd '/opt/hw lottery' && exec env 'TWO_WORDS=one two' python3 -m")
    assert "--out \"$SLURM_SUBMIT_DIR\"'/runs/B_2/w-B_2-run2-try1' --workload capsule_conv" in inside
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_kubernetes_jobs_go_by_labels_and_keep_apart(tmp_path):
    found = yaml.safe_load(_exported(tmp_path, "k8s"))
    assert [job["metadata"]["name"] for job in found["items"]] == [
        "w-a-run1-try1",
        "w-a-run2-try1",
        "w-b-2-run1-try1",
        "w-b-2-run2-try1",
    ]
    spec = found["items"][1]["spec"]
    assert spec["backoffLimit"] == 0
    pod = spec["template"]["spec"]
    assert (pod["nodeSelector"], pod["restartPolicy"]) == ({"kind": "cpu"}, "Never")
    command = pod["containers"][0]["command"]
    assert command[:7] == ["python3", "-m", "harness", "run", "--resume", "--out", "/campaign/runs/a-2/w-a-run2-try1"]
    apart = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert apart["labelSelector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_kubernetes_needs_an_image(tmp_path):
    with pytest.raises(UserError, match=r"\[machine\.B_2\] has no image; name a container image"):
        _exported(tmp_path, "k8s", TEXT.replace('image = "example.org/hwlottery:1"\nsky', "sky"))


def test_names_that_kubernetes_would_take_for_one_are_told_apart(tmp_path):
    long = "with-a-name-that-is-as-long-as-a-name-may-be-of-sixty-letters"
    text = (
        TEXT.replace('name = "w"', f'name = "{long}"').replace("[machine.a]", "[machine.b-2]").replace("count = 2", "")
    )
    names = [job["metadata"]["name"] for job in yaml.safe_load(_exported(tmp_path, "k8s", text))["items"]]
    assert len(set(names)) == 4
    assert max(map(len, names)) <= 63
    tasks = [task["name"] for task in yaml.safe_load_all(_exported(tmp_path, "sky", text))]
    assert tasks[0] == "hwlottery-b-2"
    assert tasks[1].startswith("hwlottery-b-2-")


def test_skypilot_tasks_have_the_machines_resources(tmp_path):
    tasks = list(yaml.safe_load_all(_exported(tmp_path, "sky")))
    assert [task["name"] for task in tasks] == ["hwlottery-a-1", "hwlottery-a-2", "hwlottery-b-2"]
    assert tasks[2]["resources"] == {"accelerators": "H100:1", "image_id": "example.org/hwlottery:1"}
    assert tasks[2]["run"].count('-m harness run --resume --out "$HOME"\'/campaign/runs/B_2/') == 2
    subprocess.run(["sh", "-n"], input=tasks[2]["run"], text=True, check=True)
    json.dumps(tasks)
