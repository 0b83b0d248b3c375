"""What `explain` does once its arguments are parsed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from harness.errors import UserError
from harness.figures.explanation import Explanation, explained, explanations, script_for
from harness.records.record import Record
from harness.records.store import load
from harness.records.text import plain

MOST = 1000  # characters of a line
FIELDS = ("message", "what", "where", "why", "do", "link", "rule")


def explain(folders: Sequence[Path], as_json: bool, script: str | None) -> int:
    """Print a line for each message of results folders, or of the standard input; or the script of one case."""
    if Path("-") in folders:
        if len(folders) > 1 or script is not None:
            raise UserError("- stands for messages without their cases: give it by itself, without --script")
        return _printed(_of_lines(sys.stdin.read()), as_json)
    records: list[Record] = []
    for folder in dict.fromkeys(folders):
        found = load(folder)
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
        records += found.records
    if script is not None:
        click.echo(script_for(records, script), nl=False)
        return 0
    return _printed(explanations(records), as_json)


def _of_lines(text: str) -> list[Explanation]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError("the standard input has no message; pipe one a line, or give results folders")
    return [explained(line) for line in dict.fromkeys(lines)]


def _printed(found: Sequence[Explanation], as_json: bool) -> int:
    if as_json:
        rows = [{name: getattr(told, name) for name in FIELDS} for told in found]
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return 0
    for explanation in found:
        click.echo(plain(explanation.line, MOST))
    if not found:
        click.echo("every case is ok: there is nothing to explain", err=True)
    return 0
