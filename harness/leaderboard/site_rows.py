"""The rows of the site's tables as markup: a leaderboard has a million cells, and a template took most of its time.

Whatever a cell says is escaped here, each text of it, as the templates' autoescape does everywhere else. Its class is
one of our own words (`Cell`), and is as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.leaderboard.site_cells import Cell
from harness.records.text import visible

if TYPE_CHECKING:
    from markupsafe import Markup

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})
_ESCAPED = re.compile("[&<>\"']")  # few texts have any


def body(rows: Iterable[Sequence[Cell]]) -> Markup:
    """A line of markup a row, for the body of a table."""
    from markupsafe import Markup

    return Markup("".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows))


def _cell(cell: Cell) -> str:
    text, value, small, kind, href = cell
    shown = escaped(text).replace("/", "/<wbr>")
    return (
        (f'<td class="{kind}"' if kind else "<td")
        + ("" if value == "" else f' data-value="{"" if value is None else _sorted_by(value)}"')
        + (f'><a href="{escaped(href)}">{shown}</a>' if href else f">{shown}")
        + (f"<small>{escaped(small)}</small></td>" if small else "</td>")
    )


def _sorted_by(value: float | str) -> str:
    return escaped(value) if isinstance(value, str) else str(value)


def escaped(text: str) -> str:
    """A text as it may stand in an element or in a quoted attribute, without invisible characters."""
    text = visible(text)
    return text.translate(_ESCAPES) if _ESCAPED.search(text) else text
