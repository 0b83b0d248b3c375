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

    return Markup(
        "".join(f"<tr>{''.join(map(_cell, map(_safe, row) if _unsafe(row) else row))}</tr>\n" for row in rows)
    )


def _unsafe(row: Sequence[Cell]) -> bool:
    """Whether any text of a row has anything to escape: most have nothing, and it takes one look at all of them."""
    told = [
        f"{text}{small}{href}{value}" if isinstance(value, str) else f"{text}{small}{href}"
        for text, value, small, _, href in row
    ]
    texts = "".join(told)
    return not texts.isprintable() or _ESCAPED.search(texts) is not None


def _safe(cell: Cell) -> Cell:
    text, value, small, kind, href = cell
    value = escaped(value) if isinstance(value, str) else value
    return Cell(escaped(text), value, escaped(small), kind, escaped(href))


def _cell(cell: Cell) -> str:
    """The markup of a cell whose texts are safe."""
    text, value, small, kind, href = cell
    shown = text.replace("/", "/<wbr>")
    return (
        (f'<td class="{kind}"' if kind else "<td")
        + ("" if value == "" else f' data-value="{"" if value is None else value}"')
        + (f'><a href="{href}">{shown}</a>' if href else f">{shown}")
        + (f"<small>{small}</small></td>" if small else "</td>")
    )


def escaped(text: str) -> str:
    """A text as it may stand in an element or in a quoted attribute, without invisible characters."""
    text = visible(text)
    return text.translate(_ESCAPES) if _ESCAPED.search(text) else text
