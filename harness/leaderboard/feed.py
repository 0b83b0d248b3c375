"""The Atom feed (RFC 4287) of what changed on the leaderboard: dates and identifiers from the records alone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from xml.etree import ElementTree

from harness.leaderboard.standings import Change, Leaderboard
from harness.leaderboard.submission import Submission

MOST = 100  # entries, the newest; the site's history has all
NOTHING_YET = "1970-01-01T00:00:00Z"  # Atom wants a date of a feed that has no entry
_ATOM = "http://www.w3.org/2005/Atom"
_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "hwlottery/leaderboard")


def atom(board: Leaderboard, links: Sequence[tuple[str, str]]) -> bytes:
    """The feed; `links` pairs the digest of a submission with the address of its page, relative to the feed."""
    address = dict(links)
    ElementTree.register_namespace("", _ATOM)
    feed = ElementTree.Element(f"{{{_ATOM}}}feed")
    newest = [submission for submission in reversed(board.submissions) if submission.started_at is not None][:MOST]
    _add(feed, "title", "Hardware lottery leaderboard")
    _add(feed, "subtitle", "What leaving the dense-matmul path costs: submissions, and what they changed.")
    _add(feed, "id", uuid.uuid5(_NAMES, "feed").urn)
    _add(feed, "updated", (newest[0].started_at if newest else None) or NOTHING_YET)
    _add(feed, "link", None, rel="self", href="feed.xml", type="application/atom+xml")
    _add(feed, "link", None, rel="alternate", href="index.html", type="text/html")
    _add(_add(feed, "author", None), "name", "the submitters")
    for sent in newest:
        entry = _add(feed, "entry", None)
        change = board.changes[sent.digest]
        _add(entry, "title", f"{sent.machine.title}: {_headline(sent, change)}")
        _add(entry, "id", uuid.uuid5(_NAMES, sent.digest).urn)
        _add(entry, "updated", sent.started_at)
        _add(entry, "published", sent.started_at)
        _add(entry, "link", None, rel="alternate", href=address[sent.digest], type="text/html")
        _add(entry, "summary", " ".join(sentences(sent, change)), type="text")
    ElementTree.indent(feed)
    text: str = ElementTree.tostring(feed, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _add(parent: ElementTree.Element, name: str, text: str | None, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}", attributes)
    child.text = text
    return child


def _headline(submission: Submission, change: Change) -> str:
    if change.leads:
        return f"takes {len(change.leads)} lead{'s' if len(change.leads) > 1 else ''}"
    return f"{submission.preset or 'a run'}, {submission.records} cases"


def sentences(submission: Submission, change: Change) -> list[str]:
    """What a submission changed, in whole sentences."""
    out = [f"{submission.records} cases of preset {submission.preset or 'unknown'}."]
    if any(entry.disturbed for entry in submission.entries):
        out.append("The machine disturbed this run.")
    if change.leads:
        more = "" if len(change.leads) <= 5 else f" and {len(change.leads) - 5} more"
        out.append(f"Takes the lead in {'; '.join(change.leads[:5])}{more}.")
    if change.against is not None:
        out.append(
            f"Against this machine's submission {change.against[:8]}: {change.faster} faster, {change.slower} slower, "
            f"{change.ties} ties."
        )
    for word, moved in (("Most gained", change.best), ("Worst", change.worst)):
        if moved is not None:
            out.append(f"{word}: {moved[1]}, {moved[0]:.3g}× the time.")
    return out
