"""Reads `records.jsonl` line by line: what cannot be read is left out and told, and a torn end is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.records.collecting import uncollected
from harness.records.record import SCHEMA, Record

NEWER = "is newer than"
# What decoding raises of bytes that are no JSON of the schema: no UTF-8, and values too deep, among them.
UNREADABLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Lines:
    """A records file line by line: what was read with its bytes, the bytes of what was not, why, and a torn end."""

    records: list[Record]
    contents: list[bytes]
    warnings: list[str]
    unread: list[bytes] = field(default_factory=list)
    torn: bytes = b""
    ended: bool = True  # by a line end


@uncollected()
def lines_of(path: Path) -> Lines:
    """Read the records of a file in their order; a line that cannot be read has a warning."""
    found = Lines([], [], [])
    torn = b""
    decoder = msgspec.json.Decoder(Record)
    whole = path.read_bytes()
    # Not splitlines: what a stranger wrote may hold other line ends.
    contents = whole.split(b"\n")
    if not contents[-1]:
        contents.pop()
    for number, line in enumerate(contents, 1):
        try:
            record = decoder.decode(line)
        except UNREADABLE as error:
            found.warnings.append(f"{path} line {number} was left out: {error}")
            found.unread.append(line)
            continue
        if record.time is not None and len(record.time.trials) != len(record.time.samples_s):
            found.warnings.append(f"{path} line {number} was left out: it has samples of other trials than its own")
            found.unread.append(line)
            continue
        if record.schema > SCHEMA:
            found.warnings.append(f"{path} line {number} was left out: schema {record.schema} {NEWER} {SCHEMA}; update")
            found.unread.append(line)
            continue
        found.records.append(record)
        found.contents.append(line)
    ended = not whole or whole.endswith(b"\n")
    if not ended and found.unread and whole.rpartition(b"\n")[2] == found.unread[-1]:
        torn = found.unread.pop()
    return Lines(found.records, found.contents, found.warnings, found.unread, torn, ended)
