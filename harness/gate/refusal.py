"""What a validation finds: refusals with what to do, marks, and words of others made safe to show."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.records.text import plain


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


def grouped(refusals: Iterable[Refusal]) -> list[Refusal]:
    """One refusal for all that say the same of different places: at the first of these, with the number of others."""
    alike: dict[tuple[str, str, str], list[Refusal]] = {}
    for found in refusals:
        alike.setdefault((found.code, found.what, found.remedy), []).append(found)
    return [
        first
        if not others
        else msgspec.structs.replace(
            first, where=f"{first.where} and {len(others)} more place{'s' * (len(others) > 1)}"
        )
        for first, *others in alike.values()
    ]
