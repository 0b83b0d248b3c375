"""`quality`: its options."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.parameters import Duration, flat, names, no_wait, threads


@click.command()
@click.option("--preset", show_default="quick", help="How large: smoke, quick or standard.")
@names("--workload", "Only these ideas: of those that learn, or that compress.")
@names("--backend", "Only these backends; without it, every framework that is installed.")
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Kill a case after this time.")
@threads("all usable")
@click.option("--seed", type=click.IntRange(0, 9999), show_default="0", help="Where all seeds begin.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the study.  [default: runs/TIME-quality-PRESET]"
)
@click.option("--resume", is_flag=True, help="Go on with the study in --out, as it was asked for.")
@no_wait
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON on stdout, nothing else.")
@click.pass_context
def quality(
    context: click.Context,
    preset: str | None,
    workload: tuple[tuple[str, ...], ...],
    backend: tuple[tuple[str, ...], ...],
    timeout: float,
    threads: int | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Train every idea that learns and its twin on real data: time and energy to a target, and what is forgotten."""
    from harness.cli.quality import QualityRequest, study

    sys.exit(
        study(
            QualityRequest(
                preset=preset,
                workloads=flat(workload),
                backends=flat(backend),
                timeout_s=timeout,
                threads=threads,
                seed=seed,
                out=out,
                resume=resume,
                wait=not no_wait,
                as_json=as_json,
                arguments=context.obj or ("quality",),
            )
        )
    )
