"""The command that shows where the time of a case goes: `trace`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from backends.device import canonical
from harness.cli.parameters import Duration, Setting, flat, merged, names, workload_files


@click.command()
@click.argument("words", nargs=-1, metavar="[DIR] CASE...")
@names("--workload", "The workload of the case.")
@names("--formulation", "Its formulation.  [default: the best path]")
@names("--backend", "Its backend.  [default: every one that is installed and has a profiler]")
@names("--execution", "eager, graph (TensorFlow) or compiled.  [default: the best path]")
@names("--mode", "forward or train_step.")
@names("--dtype", "float32, float64, bfloat16, float16.")
@names("--device", "cpu, cuda[:i], tpu[:i].")
@click.option(
    "--set", "axes", type=Setting(), multiple=True, metavar="AXIS=VALUE", help="An axis of the point. Repeatable."
)
@click.option("--preset", help="Whose points are meant.  [default: the first that has some: quick, ideas, standard…]")
@workload_files()
@click.option("--threads", type=click.IntRange(1), help="Cores.  [default: as in the run, else all usable]")
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Kill the process after this time.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write to.  [default: traces]"
)
@click.option("--no-wait", is_flag=True, help="Go on beside a run on this machine, which is disturbed by it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a case in a line of its own.")
def trace(words: tuple[str, ...], **values: Any) -> None:
    """Show where the time of a case goes, by its framework's own profiler, in a fresh process that measures nothing.

    CASE is words of it, such as `block_sparse/bsr torch compiled`; the options say the same. What they leave open is
    the best path of the run in the results folder DIR, else the fastest by what earlier runs know. The table goes to
    DIR too, where the report's page shows it, and beside it a file for Perfetto or Chrome.
    """
    from harness.cli import trace as tracing
    from harness.planning.naming import CaseNames

    asked = tracing.TraceRequest(
        words=words,
        names=CaseNames(
            workloads=flat(values["workload"]),
            formulations=flat(values["formulation"]),
            backends=flat(values["backend"]),
            executions=flat(values["execution"]),
            modes=flat(values["mode"]),
            dtypes=flat(values["dtype"]),
            devices=tuple(map(canonical, flat(values["device"]))),
            axes=merged(values["axes"]),
        ),
        preset=values["preset"],
        workload_files=tuple(path.absolute() for path in values["workload_files"]),
        threads=values["threads"],
        timeout_s=values["timeout"],
        output=values["output"],
        wait=not values["no_wait"],
        as_json=values["as_json"],
    )
    sys.exit(tracing.trace(asked))
