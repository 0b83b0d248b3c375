"""The report in LaTeX, to be \\input into a paper: a booktabs table a section, and the notes below them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pandas as pd
from pylatexenc.latexencode import RULE_DICT, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

from harness.figures.summary import Summary
from harness.records.text import visible
from harness.report.notes import disturbed, footer
from harness.report.sections import Section, sections
from harness.report.wording import NO_IDEA, NOTHING

_PREAMBLE = "% \\usepackage{booktabs}\n% \\usepackage{graphicx}"


def latex(summary: Summary, more: Sequence[Section] = ()) -> str:
    """A floating table* for each section and for `more`, shrunk to the width of the text, then the notes."""
    if not summary.records:
        return f"{_escape(NOTHING)}\n"
    out = [_PREAMBLE, *(_escape(line) for line in disturbed(summary))]
    out += [] if summary.rows or summary.modelled else [_escape(NO_IDEA)]
    out += [_table(number, section) for number, section in enumerate([*sections(summary), *more], 1)]
    notes = "\n".join(f"  \\item {_guard(_escape(line))}" for line in footer(summary))
    out.append(f"\\begin{{itemize}}\n{notes}\n\\end{{itemize}}")
    return "\n\n".join(out) + "\n"


def _table(number: int, section: Section) -> str:
    rows = [[_guard(_escape(cell)) for cell in row] for row in section.cells]
    style = pd.DataFrame(rows, columns=[_escape(name) for name in section.names]).style.hide(axis="index")
    tabular = style.to_latex(hrules=True, column_format="l" * len(section.names))
    return (
        f"\\begin{{table*}}\n\\centering\n\\caption{{{_escape(section.title)}}}\n\\label{{tab:hwlottery-{number}}}\n"
        "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%\n"
        f"{tabular.rstrip()}\n}}\n\\end{{table*}}"
    )


def _guard(text: str) -> str:
    """A bracket that follows \\\\ or \\item would be read as their argument."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


@cache
def _encoder() -> UnicodeToLatexEncoder:
    bar = UnicodeToLatexConversionRule(RULE_DICT, {ord("|"): r"\textbar"})  # prints as a dash in the default fonts
    return UnicodeToLatexEncoder(
        conversion_rules=[bar, "defaults"], unknown_char_policy="replace", unknown_char_warning=False
    )


def _escape(text: str) -> str:
    """Text as LaTeX that prints it; characters with no known macro become a bold question mark."""
    return str(_encoder().unicode_to_latex(visible(text)))
