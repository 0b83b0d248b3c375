"""The report in Markdown: the answer in words, a table a section, and the notes below them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.figures.summary import Summary
from harness.records.text import visible
from harness.report.notes import disturbed, footer
from harness.report.sections import Section, sections
from harness.report.wording import NO_IDEA, NOTHING


def markdown(summary: Summary, more: Sequence[Section] = ()) -> str:
    """Tables and notes as GitHub reads them; |, * and < in the words of others are escaped. `more` are other tables."""
    if not summary.records:
        return f"{NOTHING}\n"
    out = [_escape(line) for line in disturbed(summary)]
    out += ["\n".join(f"- {_escape(said)}" for said in summary.answer)] if summary.answer else []
    out += [] if summary.rows or summary.estimates or summary.modelled else [NO_IDEA]
    for section in [*sections(summary), *more]:
        out += [f"## {section.title}", markdown_table(section.names, section.cells)]
    out += ["## Notes", "\n".join(f"- {_escape(line)}" for line in footer(summary))]
    return "\n\n".join(out) + "\n"


def markdown_table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table with its headings; the cells are escaped, and each is one line."""
    lines = [names, ["---"] * len(names), *([_escape(c) for c in row] for row in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    return visible(text).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
