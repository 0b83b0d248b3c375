"""The commands for many hands: `reproduce` measures published rows again, `submit` makes a run ready to hand in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.parameters import Duration, Finite, no_wait, threads


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--row",
    "rows",
    multiple=True,
    metavar="WORDS",
    help="Only rows that have all of these words: idea, mode, backend, device, dtype, AXIS=VALUE. Repeatable.",
)
@click.option(
    "--rounds",
    type=click.IntRange(2, 100),
    help="Interleaved groups of each path and its twin.  [default: those of the stored run, at least 5]",
)
@click.option(
    "--margin",
    type=Finite(0.001, 10),
    default=0.2,
    show_default=True,
    help="Speed-ups within a factor of 1 + this are the same.",
)
@threads("as in the stored run")
@click.option("--budget", type=Duration(), help="End after this time, such as 90s, 5m or 1h.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new run.  [default: runs/TIME-reproduce]")
@click.option("--resume", is_flag=True, help="Go on with the reproduction in --out.")
@no_wait
@click.option("--dry-run", is_flag=True, help="Show the cases that would be measured; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every row with both speed-ups and the verdict.")
@click.pass_context
def reproduce(context: click.Context, /, folder: Path, **values: Any) -> None:
    """Measure the published rows of the results folder DIR again on this machine, and say whether they are reproduced.

    Measured is the best path of each row beside that of its twin, under the settings of the stored run, into a folder
    of its own. Compared are speed-ups, by both intervals and the noise of both runs. Exit code 1 where a row is not
    reproduced, or none is.
    """
    from harness.cli import reproduce as again

    asked = again.ReproduceRequest(
        rows=values["rows"],
        rounds=values["rounds"],
        margin=values["margin"],
        threads=values["threads"],
        budget_s=values["budget"],
        out=values["out"],
        resume=values["resume"],
        wait=not values["no_wait"],
        dry_run=values["dry_run"],
        as_json=values["as_json"],
        arguments=context.obj or ("reproduce", str(folder)),
    )
    sys.exit(again.reproduce(folder, asked))


@click.command()
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, metavar="OUT", type=click.Path(path_type=Path), help="Folder for the submission."
)
@click.option(
    "--sign", "key", metavar="KEY", type=click.Path(path_type=Path), help="Sign it with this SSH key, by ssh-keygen."
)
def submit(path: Path, output: Path, key: Path | None) -> None:
    """Make a submission of the results folder DIR: OUT/DIGEST, and OUT/pull-request.md with the text of a pull request.

    It is validated first. Taken out are folders, the names of users and hosts, e-mail addresses and secrets of the
    environment; every figure stays as it is. Exit code 1 where it may not be published, with every reason.
    """
    from harness.cli import submit as handing_in

    sys.exit(handing_in.submit(path, output, key))
