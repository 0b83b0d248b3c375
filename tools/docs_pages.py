"""Blocks of a page that are generated, in a line or around lines: `<!-- begin: NAME WORDS -->` … `<!-- end -->`.

A maker gets a `Block` and returns what stands between the two marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

BLOCK = re.compile(r"(<!-- begin: (?P<name>[\w-]+)(?P<words>[^>]*?) -->)(?P<body>.*?)(?P<end><!-- end -->)", re.DOTALL)
_MARKS = re.compile(r"<!-- (?:begin: [^>]*|end) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One block as it stands: its name, the words behind it, what is between the marks, and the page's file."""

    name: str
    words: tuple[str, ...]
    body: str
    page: Path

    @property
    def inline(self) -> bool:
        """Whether it stands within a line of text."""
        return "\n" not in self.body


Maker: TypeAlias = Callable[[Block], str]


class PageError(ValueError):
    """A page that cannot be made: which, where, and what to do."""


def blocks(page: Path, text: str) -> list[Block]:
    """Every block of a page; PageError where a mark has no partner."""
    found = list(BLOCK.finditer(text))
    marks = len(_MARKS.findall(text))
    if marks != 2 * len(found) or any(_MARKS.search(m["body"]) for m in found):
        raise PageError(f"{page}: a block's begin and end do not match; write <!-- begin: NAME --> … <!-- end -->")
    for m in found:
        if "\n" not in m["body"] and (m.start() == 0 or text[m.start() - 1] == "\n"):
            raise PageError(f"{page}: {m[1]} begins a line, which Markdown then takes as HTML; put words before it")
    return [_block(m, page) for m in found]


def _block(match: re.Match[str], page: Path) -> Block:
    return Block(match["name"], tuple(match["words"].split()), match["body"], page)


def regenerated(page: Path, text: str, makers: Mapping[str, Maker]) -> str:
    """The page with every block made anew."""
    for block in blocks(page, text):
        if block.name not in makers:
            raise PageError(f"{page}: no block is called {block.name!r}; there are {', '.join(sorted(makers))}")

    def made(match: re.Match[str]) -> str:
        block = _block(match, page)
        content = makers[block.name](block)
        gap = "" if block.inline else "\n"
        return f"{match[1]}{gap}{content}{gap}{match['end']}"

    return BLOCK.sub(made, text)


def fenced(text: str, *languages: str) -> list[str]:
    """The contents of the fenced code blocks of these languages."""
    found = re.findall(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [body for _, language, body in found if language in languages]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
