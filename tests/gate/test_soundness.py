"""The gate's short way: what is sound beyond doubt breaks no rule, and what breaks one is never sound beyond doubt."""

from __future__ import annotations

import copy

import msgspec
import pytest
from _sound import IDEA, SOUND, STORED, UNSUPPORTED

from harness.gate import record_rules
from harness.gate.known import Known
from harness.gate.soundness import are_times, beyond_doubt, times_in
from harness.gate.validate import Remembered, validate
from harness.records.record import Record
from workloads.discovery import workloads

HOSTILE = (
    -1,
    0,
    -1e-300,
    1e-12,
    1,
    1e3,
    1e300,
    10**400,
    None,
    False,
    True,
    "",
    "none",
    "٢026-11-26T14:45:52Z",
    [],
    [-1.0],
)


def _known_by(record):
    known = Known()
    assert record_rules.check(record, "a line", known) == []
    return known


def test_the_records_of_a_stored_run_are_sound_beyond_doubt_once_their_cases_are_known():
    learnt = Remembered()
    records = validate(STORED, learnt).run.records
    assert not any(beyond_doubt(record, Known()) for record in records), "nothing is known of their cases yet"
    assert all(beyond_doubt(record, learnt.known) for record in records)
    assert are_times(times_in(records))


def _leaves(value, path=()):
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for name, each in inside:
        yield from _leaves(each, (*path, name))


def _with(found, path, value):
    found = copy.deepcopy(found)
    *outer, last = path
    held = found
    for name in outer:
        held = held[name]
    held[last] = value
    return found


COUNTED = {"matmul_flop": 8, "other_flop": 0, "bytes": 10, "gathered_rows": 0, "scattered_rows": 0, "launches": 1}


@pytest.mark.parametrize("number", [IDEA, UNSUPPORTED])
def test_whatever_stands_in_a_record_is_sound_beyond_doubt_only_where_no_rule_is_broken(number):
    whole = {**SOUND[number], "executed": COUNTED}
    sound = msgspec.convert(whole, Record)
    known = _known_by(sound)
    assert beyond_doubt(sound, known)
    refused = doubted = 0
    for path in _leaves(whole):
        for value in HOSTILE if path else ():
            try:
                found = msgspec.convert(_with(whole, path, value), Record)
            except msgspec.ValidationError:
                continue
            if found.case == sound.case and found.twins == sound.twins:  # which are one where they are read
                found = msgspec.structs.replace(found, case=sound.case, twins=sound.twins)
            wrong = record_rules.check(found, "a line", known)
            sure = beyond_doubt(found, known) and are_times(times_in([found]))
            assert not (sure and wrong), (path, value, wrong)
            refused += bool(wrong)
            doubted += not sure and not wrong
    assert refused > 20
    assert doubted < refused, "the rules are asked of few that they do not refuse"


@pytest.mark.parametrize("place", ["a record", "a trial"])
def test_one_time_that_is_none_leaves_all_records_of_a_submission_to_the_rules(place):
    sound, other = (msgspec.convert(SOUND[number], Record) for number in (IDEA, UNSUPPORTED))
    assert are_times(times_in([sound, other]))
    held = SOUND[UNSUPPORTED] if place == "a record" else _with(SOUND[IDEA], ("time", "trials", 0), _late())
    late = msgspec.convert({**held, "started_at": "2026-11-26T14:45:52"} if place == "a record" else held, Record)
    assert not are_times(times_in([sound, late]))


def _late():
    return {**SOUND[IDEA]["time"]["trials"][0], "started_at": "26 November"}


def test_that_a_case_was_refused_by_a_framework_does_not_let_it_be_measured():
    """Its formulation has not its execution, which a run may try, and no record may have a time of."""
    params = workloads()[0]["dense_conv"].presets["smoke"][0].params
    case = {**SOUND[UNSUPPORTED]["case"], "workload": "dense_conv", "mode": "forward", "params": dict(params)}
    case |= {"formulation": "nhwc_packed", "backend": "torch", "execution": "compiled"}
    known = Known()
    item = msgspec.convert({**SOUND[UNSUPPORTED], "case": case, "twins": []}, Record)
    work = known.facts_of(item.case)[0]
    facts = {name: getattr(work, name) for name in ("useful_flop", "least_bytes", "live_bytes")}
    item = msgspec.structs.replace(item, work=msgspec.convert(facts, type(item.work)))
    assert record_rules.check(item, "a line", known) == []
    assert beyond_doubt(item, known)
    measured = msgspec.structs.replace(msgspec.convert(SOUND[IDEA], Record), case=item.case, twins=item.twins)
    assert not beyond_doubt(measured, known)
    assert "case" in {refusal.code for refusal in record_rules.check(measured, "a line", known)}
