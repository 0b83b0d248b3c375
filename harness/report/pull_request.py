"""The text of a pull request that hands a run in: what it claims, under which conditions, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from harness.figures.summary import Row, Summary
from harness.records.outcomes import outcome
from harness.records.store import REPRODUCES, RunInfo
from harness.records.text import plain
from harness.report.markdown import markdown_table
from harness.report.wording import outcome_cell, point_cell, significant, speed_up_cell

MOST_ROWS = 60
OURS = "hwlottery"  # the name of our distribution


def pull_request(digest: str, machine: str, info: RunInfo, summary: Summary, marks: Iterable[str], signed: bool) -> str:
    """Markdown, with a title of one line first."""
    rows = [row for row in summary.rows if row.headline and row.principal is not None]
    noise = "unknown" if summary.noise is None else f"{significant(100 * summary.noise, 2)} %"
    preset = plain(info.settings.get("preset") or "unknown", 40)
    of = info.settings.get(REPRODUCES)
    what = f"reproduction of the run {plain(of, 80)}" if of is not None else f"preset {preset}"
    facts = [
        ("digest", f"`{digest}`"),
        ("run", f"`{plain(info.run, 80)}`"),
        ("machine", machine),
        ("cases", outcome(summary.outcomes)),
        ("A/A noise", noise),
        ("signed", "yes" if signed else "no"),
        *(("mark", plain(mark)) for mark in marks),
    ]
    parts = [
        f"# Submission {digest[:8]}: {machine}, {what}",
        f"This adds the folder `{digest}`, which `hwlottery submit` made and `hwlottery validate` accepts.",
        markdown_table(("fact", "value"), [list(fact) for fact in facts]),
        "## Ideas against their dense twins",
        markdown_table(("idea", "where", "best path", "speed-up", "outcome"), [_cells(row) for row in rows[:MOST_ROWS]])
        + (f"\n\n{len(rows) - MOST_ROWS} more rows are in the records." if len(rows) > MOST_ROWS else ""),
        "## How to make it again",
        f"```console\n$ {command_line(info)}\n```",
        markdown_table(("package", "version"), [[f"`{n}`", plain(v)] for n, v in sorted(info.versions.items())]),
        _lock(info),
    ]
    return "\n\n".join(parts) + "\n"


def command_line(info: RunInfo) -> str:
    """The command of the run, as it may be typed: one that a fleet began would go on with a run that is not there."""
    return plain(shlex.join(word for word in info.command if word != "--resume"), 1000)


def lock(info: RunInfo) -> list[str]:
    """Every distribution that was installed as a line of a requirements file; empty for a run that recorded none.

    Ours is a comment there: it comes from its sources, and no index need have that version.
    """
    lines = {name: f"{name}=={version}" for name, version in sorted(info.distributions.items())}
    if OURS in lines:
        lines[OURS] = f"# {lines[OURS]}, from its own sources"
    return [plain(line, 120) for line in lines.values()]


def _lock(info: RunInfo) -> str:
    lines = lock(info)
    if not lines:
        return "The run recorded no other distributions: it was measured by an earlier version."
    summary = f"<summary>{len(lines)} distributions that were installed</summary>"
    return f"<details>{summary}\n\n```text\n" + "\n".join(lines) + "\n```\n\n</details>"


def _cells(row: Row) -> list[str]:
    return [
        plain(f"{row.workload} {point_cell(row)}"),
        plain(f"{row.backend} {row.device} {row.dtype}"),
        plain(row.path or ""),
        speed_up_cell(row.principal),
        plain(outcome_cell(row)),
    ]
