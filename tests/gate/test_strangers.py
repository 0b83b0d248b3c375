"""The gate before what is no submission at all: limits, links, pipes, torn lines, and whatever a fuzzer writes."""

from __future__ import annotations

import contextlib
import copy
import json
import os

import pytest
from _sound import IDEA, INFO, SOUND, UNSUPPORTED, codes, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.gate import foreign_file, run_rules, strict_read
from harness.gate.validate import MOST_REFUSALS, validate
from harness.records.record import Record

# -- what is no submission at all --------------------------------------------------------------------------------------


def test_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    assert codes(tmp_path / "nowhere") == codes(tmp_path / "empty") == codes(tmp_path / "notes.txt") == {"missing"}


def test_a_pipe_a_folder_and_a_loop_are_not_opened(tmp_path):
    folder = written(tmp_path / "r")
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)):
        (folder / "records.jsonl").rmdir() if (folder / "records.jsonl").is_dir() else (
            folder / "records.jsonl"
        ).unlink()
        make(folder / "records.jsonl")
        assert codes(folder) == {"unreadable"}


@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [
        ("records.jsonl", 1000, "too-large"),
        ("run.json", 10, "too-large"),
        ("MOST_LINE_BYTES", 100, "too-large"),
        ("MOST_VALUES", 10, "too-many-samples"),
        ("MOST_LINES", 2, "too-many-lines"),
    ],
)
def test_the_limits_hold_before_anything_is_decoded(limit, value, code, tmp_path, monkeypatch):
    if limit in foreign_file.MOST_BYTES:
        monkeypatch.setitem(foreign_file.MOST_BYTES, limit, value)
    else:
        monkeypatch.setattr(strict_read, limit, value)
    assert code in codes(written(tmp_path / "r"))


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ({"slow": ["c"] * (strict_read.MOST_LEFT_OUT + 1)}, "10001 cases for 1 reasons"),
        ({f"reason {n}": ["c"] for n in range(strict_read.MOST_REASONS + 1)}, "51 cases for 51 reasons"),
        ({"slow": ["c" * (strict_read.MOST_WORDS + 1)]}, "1001 characters"),
        ({"r" * (strict_read.MOST_WORDS + 1): []}, "1001 characters"),
    ],
)
def test_no_more_is_left_out_than_is_read(left_out, said, tmp_path):
    refusals = validate(written(tmp_path / "r", info={**INFO, "left_out": left_out})).refusals
    assert [refusal.code for refusal in refusals] == ["too-large"]
    assert said in refusals[0].what


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"[" * 1_000_000, "too-deep"),
        (b'{"schema":1,"run":' + b'{"a":' * 100_000, "too-deep"),
        (b'{"schema":1,"settings":{"a":' + b"[" * 50 + b"]" * 50 + b"}}", "too-deep"),
        (b'{"schema":1,"settings":{"[[[[[[[[[[[[":1}}', "schema"),
        (b'{"schema":NaN}', "json"),
        (b'{"schema":1e999}', "schema"),
        (b'{"schema":1' + b"0" * 5000 + b"}", "schema"),
        (b'{"run":"\xff\xfe"}', "json"),
        (b"\x00\x01", "json"),
        (b"", "json"),
        (b"null", "schema"),
        (b"{}", "schema"),
        (b'"' + b"\\" * 99_999, "json"),
    ],
)
def test_hostile_lines_are_refused(line, code, tmp_path):
    folder = written(tmp_path / "r")
    (folder / "records.jsonl").write_bytes(line + b"\n")
    assert codes(folder) >= {code}
    (folder / "run.json").write_bytes(line)
    assert codes(folder) >= {code}


def test_the_reasons_for_a_hundred_thousand_bad_lines_are_limited(tmp_path):
    folder = written(tmp_path / "r")
    (folder / "records.jsonl").write_bytes(b"x\n" * 90_000)
    assert 100 <= len(validate(folder).refusals) <= 110
    bad = json.dumps({**SOUND[UNSUPPORTED], "reason": None})
    (folder / "records.jsonl").write_text(f"{bad}\n" * 600)
    refusals = validate(folder).refusals
    assert len(refusals) == MOST_REFUSALS + 1
    assert refusals[-1].code == "more"


def test_the_words_of_others_are_one_short_line(tmp_path):
    records = copy.deepcopy(SOUND)
    records[IDEA]["case"]["workload"] = "\x1b[31m\nred\u202e\ud83d" + "x" * 10_000
    for refusal in validate(written(tmp_path / "r", records)).refusals:
        assert len(str(refusal)) < 1000
        assert not set("\x1b\n\u202e") & set(str(refusal))


def test_a_bug_of_the_validator_refuses_and_raises_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(run_rules, "check", lambda *_: 1 / 0)
    assert codes(written(tmp_path / "r")) == {"unchecked"}


# -- fuzz --------------------------------------------------------------------------------------------------------------

_SMALL = [SOUND[IDEA], SOUND[1], SOUND[UNSUPPORTED]]
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        [0, -1, 1e308, -0.0, 10**18, 2**63, "", "smtx:/etc/passwd", "tpu-aot:v5e", "cuda:99999999999", "ok"]
    )
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        if isinstance(name, str) or name < 2:
            yield from _places(inner, (*at, name))


_PLACES = list(_places([_SMALL, INFO]))


def _checked(folder):
    report = validate(folder)
    assert "unchecked" not in {r.code for r in report.refusals}, report.refusals
    assert all(r.code and r.where and r.what and r.remedy for r in report.refusals)
    if report.run is not None:
        assert all(isinstance(r, Record) for r in report.run.records)
    return report


@given(changes=st.lists(st.tuples(st.sampled_from(_PLACES[1:]), _VALUES), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_value_anywhere_is_refused_or_sound_and_raises_nothing(changes, tmp_path_factory):
    both = copy.deepcopy([_SMALL, INFO])
    for place, value in changes:
        inside = both
        for name in place[:-1]:
            try:
                inside = inside[name]
            except (LookupError, TypeError):
                break
        else:
            with contextlib.suppress(LookupError, TypeError):  # a place that a change before took away
                inside[place[-1]] = value
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    records = both[0] if isinstance(both[0], list) else [both[0]]
    (folder / "records.jsonl").write_text("".join(_json(r) + "\n" for r in records))
    (folder / "run.json").write_text(_json(both[1]))
    _checked(folder)


def _json(value):
    return json.dumps(value, ensure_ascii=True)


@given(
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 40)), min_size=1, max_size=4),
    of_info=st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_anywhere_are_refused_or_sound_and_raise_nothing(cuts, of_info, tmp_path_factory):
    folder = written(tmp_path_factory.getbasetemp() / "bytes", _SMALL)
    file = folder / ("run.json" if of_info else "records.jsonl")
    content = file.read_bytes()
    for where, put, length in cuts:
        at = int(where * len(content))
        content = content[:at] + put + content[at + length :]
    file.write_bytes(content)
    _checked(folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("times", [[1e300, 1e-6], [1e-6, 1e300], [1e300, 1e300]])
def test_times_that_no_clock_took_are_judged_without_a_warning(tmp_path, times):
    """A validator that trips over a stranger's numbers would call itself broken."""
    changed = copy.deepcopy(SOUND)
    time = changed[IDEA]["time"]
    time["trials"] = [
        {**time["trials"][0], "round": n, "heat": n, "warmup_s": [], "slices": [3], "calls_per_sample": 1}
        | {"window_s": 3.0001 * seconds}
        for n, seconds in enumerate(times, 1)
    ]
    for n, trial in enumerate(time["trials"]):
        trial["started_at"] = f"2026-11-26T14:4{n}:52Z"
    time["samples_s"] = [[seconds] * 3 for seconds in times]
    time |= {name: time["trials"][0][name] for name in ("first_call_s", "compile_s", "convert_s", "steady", "drift")}
    found = validate(written(tmp_path / "r", changed))
    assert [str(refusal) for refusal in found.refusals] == []
