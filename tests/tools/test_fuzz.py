"""The fuzzer: a short run of it finds nothing, the corpus is refused or read, and planted faults are found."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from harness.errors import UserError
from harness.modelling import device_file, device_schema
from tools import fuzz, fuzz_atheris, fuzz_devices, fuzz_targets

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.fault(
    "hostile and broken files: mutated patterns, records, run files, devices, words", "files", times=5000
)
def test_no_input_ends_in_anything_but_a_value_or_a_sentence(tmp_path):
    words = [sys.executable, str(ROOT / "tools" / "fuzz.py"), "--inputs", "5000", "--seed", "3"]
    words += ["-o", str(tmp_path / "tried.jsonl")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    (tried,) = map(json.loads, (tmp_path / "tried.jsonl").read_text().splitlines())
    assert (tried["engine"], tried["seed"], tried["faults"]) == ("mutations", 3, 0)
    assert sum(tried["inputs"].values()) == 5000
    assert tried["inputs"].keys() == fuzz_targets.SHARES.keys()


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The targets, in a folder, with what watches them."""
    folder = tmp_path_factory.mktemp("fuzz").resolve()
    return fuzz_targets.targets(folder), fuzz_targets.watch(folder)


@pytest.mark.parametrize("target", fuzz_targets.SHARES)
def test_the_corpus_is_read_or_refused_in_a_sentence(target, known, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    targets, switch = known
    seeds = fuzz_targets.corpus()[target]
    assert seeds
    for data in seeds:
        targets[target](data) if target == "words" else fuzz_targets.fault_of(targets[target], data, switch)
        assert fuzz_targets.fault_of(targets[target], data, switch) is None


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (lambda data: 1 // 0, "ZeroDivisionError"),
        (lambda data: [None for _ in itertools.count() if False], "TooLongError"),
        (lambda data: threading.Event().wait(), "TooLongError"),
        (lambda data: exec("pass"), "exec"),
        (lambda data: open("/etc/hostname").close(), "open /etc/hostname"),
        (lambda data: (_ for _ in ()).throw(UserError("two\nlines")), "not one sentence"),
    ],
)
def test_a_planted_fault_is_found(planted, said, monkeypatch):
    monkeypatch.setattr(fuzz, "LONGEST_S", 0.02)
    monkeypatch.setattr(fuzz, "WAITING_S", 0.5)
    monkeypatch.setattr(fuzz_targets, "targets", lambda folder: dict.fromkeys(fuzz_targets.SHARES, planted))
    monkeypatch.setattr(fuzz_targets, "warmed", lambda folder, name, seeds: planted)
    found = [what for _, _, what in fuzz.run(5, 0, "smtx")]
    assert len(found) == 5
    assert all(said in what for what in found)


def test_device_files_have_every_key_of_the_schema_so_that_a_new_one_is_fuzzed(monkeypatch):
    read = device_file.checked(fuzz_devices.whole(), "whole")
    given = {field.partition(" ")[0] for field in fuzz_devices.as_toml(msgspec.to_builtins(read)).splitlines()}
    for part in vars(device_schema).values():
        if isinstance(part, type) and issubclass(part, msgspec.Struct) and part.__module__ == device_schema.__name__:
            for name in {f.name for f in msgspec.structs.fields(part)} - {"base"}:
                assert any(name in re.split(r"\W", line) for line in given), f"{part.__name__}.{name}"
    schema = device_schema.json_schema()
    schema["$defs"]["SelectUnit"]["properties"]["newest"] = {"type": "number", "minimum": 1.0, "maximum": 2.0}
    monkeypatch.setattr(fuzz_devices, "json_schema", lambda: schema)
    assert sum(b"newest" in seed for seed in fuzz_devices.seeds()) > 1


def test_each_target_has_a_share_of_the_inputs_of_the_second_engine():
    assert fuzz_atheris.shares(1000, None, {"a": 60, "b": 40}) == {"a": 600, "b": 400}
    assert fuzz_atheris.shares(10, "b", {"a": 60, "b": 40}) == {"b": 10}
    assert fuzz_atheris.shares(1, None, {"a": 60, "b": 40}) == {"a": 1, "b": 1}


def test_the_second_engine_tries_inputs_and_keeps_what_reached_new_code(tmp_path):
    """Where it is installed: `tox run -e fuzz`."""
    pytest.importorskip("atheris")
    assert fuzz_atheris.fuzz("fleet", 50, 1, tmp_path) == (50, None)
    assert any((tmp_path / "fleet").iterdir())
