"""The commands of modelled devices: `calibrate`, `whatif` and `recommend`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.parameters import Duration, Setting, Value, flat, merged, names


@click.command()
@click.option("-o", "--output", required=True, metavar="FILE.toml", type=click.Path(path_type=Path), help="To write.")
@click.option("--budget", type=Duration(), default="2m", show_default=True, help="Time to measure for, such as 2m.")
@names("--backend", "Frameworks; all that are installed where none is said.")
@click.option("--name", help="What the device is called; the processor's name and its cores where nothing is said.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep the results folder of the run here.")
def calibrate(
    output: Path, budget: float, backend: tuple[tuple[str, ...], ...], name: str | None, keep: Path | None
) -> None:
    """Measure this machine's primitive rates and write a device file, each value with its interval and its source.

    Dense products, streams, gathers, scatters, stored sparse products, sorts, arithmetic and launches, as cases of the
    harness, in each framework. Leave the machine alone meanwhile.
    """
    from harness.cli import calibrating

    sys.exit(calibrating.calibrate(output, budget, flat(backend), name, keep))


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--preset", default="quick", show_default=True, help="The points: smoke, quick, standard or full.")
@names("--workload", "These ideas only.")
@names("--backend", "These frameworks, beside the device by itself.")
@names("--dtype", "Dtypes; float32 where none is said.")
@click.option("--set", "settings", type=Setting(), multiple=True, help="Values of an axis, of every idea that has it.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Hold the model to the measured records of a results folder: errors by class, and regret.",
)
@click.option("--all", "everything", is_flag=True, help="Every point, not only those of the main table.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="Draw speed-up by parameter: .svg, .png, .pdf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: rows, validation and regret.")
def whatif(
    files: tuple[str, ...],
    preset: str,
    workload: tuple[tuple[str, ...], ...],
    backend: tuple[tuple[str, ...], ...],
    dtype: tuple[tuple[str, ...], ...],
    settings: tuple[tuple[str, tuple[Value, ...]], ...],
    against: Path | None,
    everything: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Say what a model reckons of every idea on the devices that the FILEs describe.

    FILE is a device file (TOML), the name of one that comes with the harness (`list devices` has them), or a results
    folder: then the device is what its own ceilings say. Modelled figures are never ranked with measured ones.
    """
    from harness.cli import modelled

    asked = modelled.WhatIfRequest(
        files=files,
        preset=preset,
        workloads=flat(workload),
        backends=flat(backend),
        dtypes=flat(dtype),
        axes=merged(settings),
        against=against,
        everything=everything,
        picture=picture,
        as_json=as_json,
    )
    sys.exit(modelled.whatif(asked))


@click.command()
@click.argument("idea")
@click.argument("folders", nargs=-1, metavar="DIR...", type=click.Path(path_type=Path))
@click.option("--set", "settings", type=Setting(), multiple=True, help="The axes that matter, such as density=0.05.")
@click.option("--device", "devices", multiple=True, metavar="FILE", help="Device files to model; all that come along.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: measured, estimated, modelled, answer.")
def recommend(
    idea: str,
    folders: tuple[Path, ...],
    settings: tuple[tuple[str, tuple[Value, ...]], ...],
    devices: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say which hardware suits the workload IDEA, by what was measured in DIR..., estimated there, and modelled.

    Three lists that are never merged. "None of these" is an answer, with what a device would have to be like.
    """
    from harness.cli import modelled

    sys.exit(modelled.recommend(idea, folders, merged(settings), devices, as_json))
