"""The options of `run` become one typed request, and the request what to plan and how to carry it out."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from harness.cli.main import cli
from harness.cli.run_command import request as from_values
from harness.errors import UserError
from harness.planning import request as requests
from harness.planning.options import COMPILING_S, ENOUGH_S, FEWEST_ROUNDS, ROUNDS, WINDOWS
from harness.planning.request import RunRequest
from workloads.base import Point
from workloads.discovery import workloads

WORKLOADS = workloads()[0]


def parsed(*words):
    """The request of a command line, as the command makes it."""
    return from_values(cli.commands["run"].make_context("run", list(words)).params, arguments=("run", *words))


def options(request, cores=2):
    return requests.options(request, cores=cores, cache=Path("cache"), memory_bytes=1 << 30)


def test_every_option_reaches_the_request_in_its_type():
    made = parsed(
        *("--preset", "smoke", "--workload", "stream,capsule_conv", "--workload", "dense_cnn", "--backend", "numpy"),
        *("--workload-file", "mine.py", "--device", "cpu", "--dtype", "float64", "--execution", "eager"),
        *("--formulation", "im2col", "--set", "density=0.3,0.1", "--set", "pattern=uniform", "--matrix", "a.smtx"),
        *("b.smtx", "--rounds", "4", "--budget", "5m", "--precision", "0.1", "--timeout", "90s", "--threads", "2"),
        *("--seed", "7", "--memory-limit", "1.5", "--core-watts", "10", "--core-watts-low", "5"),
        *(
            "--core-watts-high",
            "20",
            "--memory-watts-per-gb",
            "0.4",
            "--out",
            "there",
            "--retry",
            "error,timeout",
            "--no-wait",
            "--resume",
            "--exhaustive",
            "--dry-run",
            "--json",
            "--tf32",
        ),
    )
    expected = RunRequest(
        preset="smoke",
        workloads=("stream", "capsule_conv", "dense_cnn"),
        workload_files=(Path("mine.py").absolute(),),
        backends=("numpy",),
        devices=("cpu",),
        dtypes=("float64",),
        executions=("eager",),
        formulations=("im2col",),
        axes={"density": (0.3, 0.1), "pattern": ("uniform",)},
        matrices=("a.smtx", "b.smtx"),
        seed=7,
        rounds=4,
        budget_s=300.0,
        precision=0.1,
        timeout_s=90.0,
        threads=2,
        memory_limit_bytes=3 << 29,
        core_w=10.0,
        core_low_w=5.0,
        core_high_w=20.0,
        memory_w_per_gb=0.4,
        out=Path("there"),
        resume=True,
        retry=("error", "timeout"),
        wait=False,
        exhaustive=True,
        dry_run=True,
        tf32=True,
        as_json=True,
        arguments=made.arguments,
    )
    assert made == expected
    plain = RunRequest()
    unset = {f.name for f in fields(RunRequest) if getattr(made, f.name) == getattr(plain, f.name)}
    # The first is of devices that a file describes, and `quality` sets the last one by itself: it is no option.
    assert unset == {"models", "only_contenders"}, "every field was set above, so that none can be forgotten"
    with pytest.raises(FrozenInstanceError):
        made.seed = 8


def test_a_device_has_one_name_however_it_is_written():
    """`cuda:0` was refused, since PyTorch calls it cuda; two names would be two rows of a table."""
    assert parsed("--device", "cuda:0,cpu", "--device", "cuda", "--device", "xpu:01").devices == (
        "cuda",
        "cpu",
        "xpu:1",
    )


def test_nothing_said_is_the_request_s_own_defaults():
    assert parsed() == RunRequest()


def test_what_to_plan_names_the_points_of_files_then_the_user_s_own_then_all():
    made = requests.ask(RunRequest(), WORKLOADS, ["numpy"])
    assert (made.workloads, made.devices, made.dtypes) == ((), ("cpu",), ("float32",))
    points = {"unstructured_sparse": [Point({"m": 1})]}
    assert requests.ask(RunRequest(), WORKLOADS, [], points, ["mine"]).workloads == ("unstructured_sparse", "mine")
    named = RunRequest(workloads=("stream",))
    assert requests.ask(named, WORKLOADS, [], points, ["mine"]).workloads == ("stream",)
    with pytest.raises(UserError, match=r"no axis 'densty'; did you mean density\?"):
        requests.ask(RunRequest(axes={"densty": (1,)}), WORKLOADS, [])


def test_a_preset_s_time_holds_only_where_the_user_said_nothing_of_time():
    ours = options(RunRequest(preset="standard"))
    assert (ours.rounds, ours.long_rounds, ours.enough_s) == (ROUNDS["standard"], FEWEST_ROUNDS, ENOUGH_S["standard"])
    asked = options(RunRequest(preset="standard", rounds=9))
    assert (asked.rounds, asked.long_rounds, asked.enough_s, asked.precision) == (9, 9, None, None)
    narrowing = options(RunRequest(preset="standard", budget_s=60.0, precision=0.1))
    assert (narrowing.rounds, narrowing.precision, narrowing.budget_s) == (FEWEST_ROUNDS, 0.1, 60.0)
    assert options(RunRequest(preset="smoke", budget_s=60.0)).rounds == 0
    assert options(RunRequest(preset="quick")).sampling == WINDOWS["quick"]


def test_threads_memory_and_watts_are_held_against_the_machine():
    assert options(RunRequest()).threads == 2
    assert options(RunRequest()).memory_bytes == 1 << 30
    assert options(RunRequest(memory_limit_bytes=5)).memory_bytes == 5
    with pytest.raises(UserError, match="--threads 3 is more than the 2 cores usable here"):
        options(RunRequest(threads=3))
    with pytest.raises(UserError, match=r"must lie between their bounds: found .* 900"):
        options(RunRequest(core_w=900.0))
    with pytest.raises(UserError, match=r"no preset 'quik'; did you mean quick\?"):
        requests.rounds(RunRequest(preset="quik"))


def test_the_command_that_goes_on_says_where_the_results_are_and_nothing_else():
    words = requests.resuming(Path("runs/x y"))
    assert words == ["run", "--resume", "--out", "runs/x y"]
    assert parsed(*words[1:]).resume


def test_what_is_tried_again_is_a_failure_of_a_run_that_goes_on():
    assert requests.retried(RunRequest()) == set()
    assert requests.retried(RunRequest(retry=("oom", "error"), resume=True)) == {"oom", "error"}
    with pytest.raises(UserError, match=r"no failure 'timeot'; did you mean timeout\?"):
        requests.retried(RunRequest(retry=("timeot",), resume=True))
    with pytest.raises(UserError, match="no failure 'ok'"):
        requests.retried(RunRequest(retry=("ok",), resume=True))
    with pytest.raises(UserError, match="add --resume"):
        requests.retried(RunRequest(retry=("error",)))


def test_looks_end_by_the_preset_s_time_unless_all_is_asked_for():
    quick = options(RunRequest())
    assert (quick.enough_s, quick.compiling_s, quick.looks_share) == (ENOUGH_S["quick"], COMPILING_S["quick"], 0.7)
    everything = options(RunRequest(exhaustive=True))
    assert (everything.enough_s, everything.compiling_s, everything.looks_share) == (None, 0.0, None)
    assert options(RunRequest(workloads=("stream",))).looks_share is None
    assert options(RunRequest(budget_s=60.0)).looks_share == 0.7
