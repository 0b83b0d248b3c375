"""What a validation finds: refusals with what to do, marks, and words of others made safe to show."""

from __future__ import annotations

import re

import msgspec

_LONGEST = 240  # characters of a sentence's part
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]+")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why something may not be published. `where` is the file and line, `what` was found, `remedy` fixes it."""

    code: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What readers should know of something that may be published."""

    code: str
    what: str

    def __str__(self) -> str:
        return self.what


def refusal(code: str, where: str, what: str, remedy: str) -> Refusal:
    """A refusal in which the words of others are one line of limited length without invisible characters."""
    return Refusal(code=code, where=plain(where), what=plain(what), remedy=remedy)


def plain(text: str) -> str:
    """`text` as one line that is safe in a terminal; it is not escaped for HTML."""
    text = _UNSEEN.sub(" ", text[: 2 * _LONGEST])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
