"""The rows of the site's tables as markup: a leaderboard has a million cells, and a template took most of its time.

Whatever a cell says is escaped here, each text of it, as the templates' autoescape does everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.leaderboard.site_cells import Cell
from harness.records.text import visible

if TYPE_CHECKING:
    from markupsafe import Markup

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})


def body(rows: Iterable[Sequence[Cell]]) -> Markup:
    """A line of markup a row, for the body of a table."""
    from markupsafe import Markup

    return Markup("".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows))


def _cell(cell: Cell) -> str:
    text, value, small, kind, href = cell
    shown = escaped(text).replace("/", "/<wbr>")
    return (
        (f'<td class="{escaped(kind)}"' if kind else "<td")
        + ("" if value == "" else f' data-value="{"" if value is None else escaped(str(value))}"')
        + (f'><a href="{escaped(href)}">{shown}</a>' if href else f">{shown}")
        + (f"<small>{escaped(small)}</small></td>" if small else "</td>")
    )


def escaped(text: str) -> str:
    """A text as it may stand in an element or in a quoted attribute, without invisible characters."""
    return visible(text).translate(_ESCAPES)
