"""What a page holds of every record: the facts behind a cell, within a budget of bytes.

Records of one run share their environment and most settings, so that these are kept once. Where the samples of all
records are too many for the budget they are thinned evenly over time, and the page says so; no statistic is made of
the thinned ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.figures.explanation import explained
from harness.figures.frame import case_rows
from harness.figures.summary import Row
from harness.records.points import point_name
from harness.records.record import ANSWERED, Record
from harness.report.wording import quantity, significant, spread
from harness.web.packed import packed

_SAMPLES_KEPT = (None, 200, 60, 20, 0)  # of a process, until the budget holds
_MOST_TEXT = 4000  # characters of a reason; the records have all
_GROUP = ("run", "workload", "point", "mode", "dtype", "backend", "device")


class Index:
    """Finds the records of a row: those that compete for its best path, that path's own first."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = [record for record in records if not record.control]
        self.table = case_rows(self.records)
        self._groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, facts in enumerate(self.table):
            self._groups[tuple(str(facts[name]) for name in _GROUP)].append(number)

    def of(self, row: Row) -> list[int]:
        """Numbers of the row's records: the best path's first, else one of the worst outcome; then by time."""
        numbers = self._groups.get(tuple(str(getattr(row, name)) for name in _GROUP), [])

        def order(number: int) -> tuple[bool, bool, bool, float]:
            facts = self.table[number]
            time = facts["time_s"]
            best = row.path is not None and facts["path"] == row.path
            told = row.path is None and facts["reason"] is not None and facts["reason"] == row.reason
            return not (best and time == row.time_s), not (best or told), time != time, time if time == time else 0.0

        return sorted(numbers, key=order)

    def groups(self) -> list[list[int]]:
        """The records that compete with one another, by number."""
        return list(self._groups.values())


def details(index: Index, *, budget: int) -> dict[str, Any]:
    """`records` by number, `groups` of numbers, `settings` and `environments` that records name by their place.

    `samples_kept` is how many samples of a process are held at most, None for all; `budget` is in bytes of the packed
    JSON. A time has `samples`, whole numbers of its `unit_s`, in the place of `samples_s`.
    """
    payload: dict[str, Any] = {}
    for kept in _SAMPLES_KEPT:
        payload = _payload(index, kept)
        if len(msgspec.json.encode(packed(payload))) <= budget:
            break
    return payload


def thinned(samples: Sequence[float], most: int | None) -> list[float]:
    """At most `most` of the samples, evenly spaced, in their order, the first and the last among them; all for None."""
    if most is None or len(samples) <= most:
        return list(samples)
    return [samples[round(k * (len(samples) - 1) / max(1, most - 1))] for k in range(most)]


def _payload(index: Index, kept: int | None) -> dict[str, Any]:
    settings: dict[bytes, int] = {}
    environments: dict[bytes, int] = {}
    records = []
    for record, facts in zip(index.records, index.table, strict=True):
        fields = msgspec.to_builtins(record)
        for name, seen in (("settings", settings), ("environment", environments)):
            fields[name] = seen.setdefault(msgspec.json.encode(fields[name], order="sorted"), len(seen))
        for name in ("schema", "control", "twins", "headline"):
            del fields[name]
        fields["name"] = str(record.case)
        fields["path"] = facts["path"]
        fields["reason"] = excerpt(record.reason)
        if record.reason and record.status not in ANSWERED:
            fields["explained"] = explained(record.reason, [record.case], record.failure_class).line
        if record.time is not None:
            unit = _unit_s(record.time.samples_s)
            del fields["time"]["samples_s"]
            shown = [thinned(samples, kept) for samples in record.time.samples_s]
            fields["time"] |= {"unit_s": unit, "samples": [[round(s / unit) for s in samples] for samples in shown]}
            for trial in fields["time"]["trials"]:
                trial["warmup_s"] = len(trial["warmup_s"])
        fields["figures"] = figures(facts)
        records.append(fields)
    return {
        "records": records,
        "groups": index.groups(),
        "settings": [msgspec.json.decode(text) for text in settings],
        "environments": [msgspec.json.decode(text) for text in environments],
        "samples_kept": kept,
    }


def _unit_s(samples_s: Sequence[Sequence[float]]) -> float:
    """The power of ten that gives the fastest sample four digits, more than a chart can show, and none over 15."""
    known = [s for samples in samples_s for s in samples if s > 0] or [1.0]
    exponent = max(math.floor(math.log10(min(known))) - 3, math.ceil(math.log10(max(known))) - 15, -300)
    return float(f"1e{exponent}")


def excerpt(reason: str | None) -> str | None:
    """A reason cut to a length that a page can show, with how much is gone."""
    if reason is None or len(reason) <= _MOST_TEXT:
        return reason
    return f"{reason[:_MOST_TEXT]}… ({len(reason) - _MOST_TEXT} more characters in the record)"


def figures(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The derived figures of one row of the frame as text, the unknown ones left out."""
    known = {name: value for name, value in facts.items() if value is not None and value == value}
    source = known.get("energy_source")
    interval = spread(known.get("time_low_s"), known.get("time_high_s"), facts["processes"])
    out = [
        ("time of a call", quantity(known.get("time_s"), "s", *interval)),
        ("fastest sample", quantity(known.get("time_min_s"), "s")),
        ("processes, samples", f"{facts['processes']}, {facts['samples']}" if facts["processes"] else "–"),
        ("first call", quantity(known.get("first_call_s"), "s") + _after(known.get("compile_cache"), "cache")),
        ("of it compilation", quantity(known.get("compile_s"), "s")),
        ("conversion of the operands", quantity(known.get("convert_s"), "s")),
        ("useful FLOP/s", quantity(known.get("flop_per_s"), "FLOP/s")),
        ("least bytes/s", quantity(known.get("bytes_per_s"), "B/s")),
        ("useful FLOP over least bytes", significant(known["intensity"]) if "intensity" in known else "–"),
        ("peak memory", quantity(known.get("memory_bytes"), "B") + _after(known.get("memory_source"))),
        (
            "energy of a call",
            quantity(known.get("energy_j"), "J", known.get("energy_low_j"), known.get("energy_high_j"))
            + _after(source),
        ),
        ("useful FLOP", quantity(known.get("useful_flop"), "FLOP")),
        ("least traffic", quantity(known.get("least_bytes"), "B")),
        ("least memory alive", quantity(known.get("live_bytes"), "B")),
    ]
    return [(label, text) for label, text in out if not text.startswith("–")]


def _after(text: str | None, noun: str = "") -> str:
    return "" if not text else f" ({text}{' ' if noun else ''}{noun})"


def same_point(params: Mapping[str, Any], *, without: str) -> str:
    """The axes of a point but one, as one string."""
    return point_name({name: value for name, value in params.items() if name != without})
