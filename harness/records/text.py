r"""Words of others made safe to show: no character that cannot be seen, one line, a limited length.

Results come from strangers and from frameworks, and their words are printed in terminals, tables and pages. What moves
a cursor, sets a colour, turns the direction of text or hides in it is taken out here and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ONE_LINE = 300  # characters that a table bears
SENTENCE = 240  # characters of a part of a sentence

# First and last of each range. All of Unicode 15's categories Cc, Cs, Zl and Zp, of Cf all but the twelve signs that
# enclose digits or words and are seen (U+0600 to 0605, 06DD, 070F, 0890, 0891, 08E2, 110BD, 110CD), and what is no
# character: U+2065, FDD0 to FDEF, and the last two of every plane.
INVISIBLE = (
    *((0x00, 0x1F), (0x7F, 0x9F)),  # control characters: escape sequences, line ends, C1
    *((0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E)),  # soft hyphen, Arabic letter mark, Mongolian separator
    *((0x200B, 0x200F), (0x2028, 0x202E)),  # zero width, marks of direction, line ends, embeddings and overrides
    *((0x2060, 0x206F), (0xFEFF, 0xFEFF)),  # joiners, invisible operators, isolates, byte order mark
    *((0xD800, 0xDFFF), (0xFDD0, 0xFDEF)),  # halves of pairs, which no encoding of a page bears; no characters
    *((0xFFF9, 0xFFFB), (0xFFFE, 0xFFFF)),  # annotations; no characters
    *((0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)),  # controls of hieroglyphs, shorthand and music
    *((0xE0001, 0xE0001), (0xE0020, 0xE007F)),  # tags
    *((plane + 0xFFFE, plane + 0xFFFF) for plane in range(0x10000, 0x110000, 0x10000)),
)
_INVISIBLE = re.compile("[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in INVISIBLE) + "]")

_HALVES = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` as one line without invisible characters: a line end or tab is a blank instead, another U+FFFD.

    Each leaves a mark, so that two words which differ by one do not look alike. It is not escaped for HTML.
    """
    if text.isprintable():  # most are: none of INVISIBLE is
        return text
    return _INVISIBLE.sub(lambda found: " " if found[0].isspace() else REPLACEMENT, text)


def encodable(value: Any) -> Any:
    """The same of what JSON is made of, with U+FFFD for the bytes of names that are no UTF-8, which no JSON bears."""
    if isinstance(value, str):
        return _HALVES.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {encodable(key): encodable(each) for key, each in value.items()}
    return [encodable(each) for each in value] if isinstance(value, list) else value


def shorten(text: str, most: int) -> str:
    """`text` cut to at most `most` characters, the last of them … where something is gone."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain(text: object, most: int = SENTENCE) -> str:
    """`text` as it may be shown anywhere: one line, only visible characters, at most `most` of them."""
    if type(text) is str and len(text) <= most and text.isprintable():  # as nearly all are
        return text
    return shorten(visible(str(text)[: most + 1]), most)


def first_line(text: str | None) -> str | None:
    """The first line of `text` that says anything, without the blanks around it; None where none does."""
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), None)


def one_line(text: str | None, most: int = ONE_LINE) -> str:
    """The first line that says anything, cut to a length that a table bears; nothing where none does."""
    return shorten(first_line(text) or "", most)


def without_path(text: str, folder: str, instead: str) -> str:
    """`text` in which the absolute path `folder` is called `instead`, where it stands whole or begins a longer path.

    Never a part of another word or name: /a/b is not in /a/bc, nor in x/a/b. What is no absolute path, or the root,
    hides nothing.
    """
    folder = folder.rstrip(os.sep)
    if not os.path.isabs(folder):
        return text
    return re.sub(rf"(?<![\w.~-]){re.escape(folder)}(?![\w~-]|\.\w)", lambda _: instead, text)


def private(text: str, folders: Mapping[str, str] | None = None) -> str:
    """`text` as it may be published: the `folders` by what they are to be called, then the user's home as ~."""
    for folder, instead in (folders or {}).items():
        text = without_path(text, folder, instead)
    return without_path(text, os.path.expanduser("~"), "~")
