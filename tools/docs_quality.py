"""Blocks made from a stored study of quality: its command, and its tables with how they were found."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tools import docs_sources as sources
from tools.docs_pages import Block, table

if TYPE_CHECKING:
    from harness.quality.outcome import Outcome


@cache
def _outcome(name: str) -> Outcome:
    from harness.quality.outcome import outcome_of

    return outcome_of(sources.RESULTS / name)


def command(block: Block) -> str:
    """The command line of a stored study."""
    return f"`{' '.join(_outcome(block.words[0]).study.info.command)}`"


def study(block: Block) -> str:
    """Every table of a stored study, then its notes."""
    from harness.quality import text

    found = _outcome(block.words[0])
    parts = [f"## {section.title}\n\n{table(section.names, section.cells)}" for section in text.tables(found)]
    notes = "\n".join(f"- {note}" for note in text.notes(found))
    return "\n\n".join([*parts, f"## How it was found\n\n{notes}"])


def beside(block: Block) -> str:
    """What a report of a study and of stored runs shows of worth, beside speed-up and tax."""
    from harness.figures.summary import summarise
    from harness.quality import columns

    study_name, *runs = block.words
    found = _outcome(study_name)
    own = summarise(found.run.records).rows if found.run else []
    section = columns.section([*own, *(row for name in runs for row in sources.summary(name).rows)], [found])
    return table(section.names, section.cells)
