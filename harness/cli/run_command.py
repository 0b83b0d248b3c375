"""`run`: its options, and the one place where they become a `RunRequest`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backends.device import canonical, is_modelled
from harness.cli.parameters import (
    Duration,
    Finite,
    Sentence,
    Setting,
    flat,
    merged,
    names,
    no_wait,
    threads,
    workload_files,
)

if TYPE_CHECKING:
    from harness.planning.request import RunRequest


@click.command()
@click.option("--preset", default="quick", show_default=True, help="Shapes: smoke, ideas, quick, standard or full.")
@names("--workload", "Only these workloads; their dense twins come along.")
@workload_files("; without --workload only such files run, with their twins")
@names("--backend", "Only these backends; without it, every framework that is installed.")
@names(
    "--device",
    "Devices: cpu, cuda[:i], tpu[:i], another that a framework names; compiled for and not run: tpu-aot:<chip>, "
    "gpu-aot:<card>; reckoned: model:FILE.toml.  [default: cpu]",
)
@names("--dtype", "float32, float64, bfloat16, float16.  [default: float32]")
@names("--execution", "Only eager, graph (TensorFlow) or compiled.")
@names("--formulation", "Only these formulations of the ideas; twins keep all of theirs.")
@click.option(
    "--set",
    "axes",
    type=Setting(),
    multiple=True,
    metavar="AXIS=VALUE[,VALUE]",
    help="Set an axis of every idea that has it; several values make a point each. Repeatable.",
)
@click.option(
    "--matrix",
    "--smtx",
    "matrices",
    multiple=True,
    metavar="FILE...",
    help="Measure matrices of your own: .mtx, .mtx.gz, .npz of SciPy, FILE.safetensors:TENSOR or .smtx.",
)
@click.argument("more_matrices", nargs=-1, metavar="")
@click.option(
    "--rounds",
    type=click.IntRange(0, 100),
    help="Interleaved groups for each best path and its twins, after the survey.  [default: 5; ideas 3, smoke 0]",
)
@click.option(
    "--budget",
    type=Duration(),
    help="End after this time, such as 90s, 5m or 1h; without --rounds, more groups run where intervals are widest.",
)
@click.option(
    "--precision",
    type=Finite(0.001, 1),
    show_default="0.02",
    help="With --budget: an interval that reaches less than this share from its middle is narrow enough.",
)
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Kill a case after this time.")
@threads("all usable")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of inputs and order.")
@click.option("--memory-limit", type=Finite(0.25), metavar="GIB", help="Memory a case may allocate.")
@click.option(
    "--tf32", is_flag=True, help="On a card of NVIDIA's: float32 products in TF32, in every framework; not published."
)
@click.option("--core-watts", type=Finite(0.1, 1000), help="Watts of a busy core, for modelled energy.")
@click.option("--core-watts-low", type=Finite(0.1, 1000), help="Its lower bound.")
@click.option("--core-watts-high", type=Finite(0.1, 1000), help="Its upper bound.")
@click.option("--memory-watts-per-gb", type=Finite(0, 100), help="Watts of a GB of memory, for modelled energy.")
@click.option("--out", type=click.Path(path_type=Path), help="Results folder.  [default: runs/TIME-PRESET]")
@click.option(
    "--resume", is_flag=True, help="Go on with the run in --out, whose options, versions, machine and code are kept."
)
@names("--retry", "With --resume: measure cases again that ended so, such as error,timeout.")
@no_wait
@click.option("--exhaustive", is_flag=True, help="Try every path, also those that were slow in all earlier runs.")
@click.option("--dry-run", is_flag=True, help="Show the plan and about how long it takes; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON lines on stdout, nothing else.")
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Plan, run, record, and print the table and where the results are."""
    from harness.cli.run import run

    if values["resume"]:
        from harness.cli.resume import taken_up

        values = taken_up(context)
    if values["more_matrices"] and not values["matrices"]:
        raise Sentence(f"unexpected argument {values['more_matrices'][0]!r}; options begin with --, see run --help")
    sys.exit(run(request(values, arguments=context.obj or ("run",))))


def request(values: Mapping[str, Any], arguments: tuple[str, ...] = ("run",)) -> RunRequest:
    """The request of the option values that click has parsed; `arguments` are the command line's, as typed."""
    from harness.planning.request import RunRequest

    limit_gib = values["memory_limit"]
    return RunRequest(
        preset=values["preset"],
        workloads=flat(values["workload"]),
        workload_files=tuple(path.absolute() for path in values["workload_files"]),
        backends=flat(values["backend"]),
        devices=tuple(dict.fromkeys(map(canonical, flat(values["device"])))),
        models=tuple(dict.fromkeys(text for text in flat(values["device"]) if is_modelled(text))),
        dtypes=flat(values["dtype"]),
        executions=flat(values["execution"]),
        formulations=flat(values["formulation"]),
        axes=merged(values["axes"]),
        matrices=(*values["matrices"], *values["more_matrices"]),
        seed=values["seed"],
        rounds=values["rounds"],
        budget_s=values["budget"],
        precision=values["precision"],
        timeout_s=values["timeout"],
        threads=values["threads"],
        memory_limit_bytes=int(limit_gib * 2**30) if limit_gib else None,
        tf32=values["tf32"],
        core_w=values["core_watts"],
        core_low_w=values["core_watts_low"],
        core_high_w=values["core_watts_high"],
        memory_w_per_gb=values["memory_watts_per_gb"],
        out=values["out"],
        resume=values["resume"],
        retry=flat(values["retry"]),
        wait=not values["no_wait"],
        exhaustive=values["exhaustive"],
        dry_run=values["dry_run"],
        as_json=values["as_json"],
        arguments=arguments,
    )
