"""The fuzzer: a short run of it finds nothing, the corpus is refused or read, and planted faults are found."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_tool", ROOT / "tools" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.fault("hostile and broken files: mutated patterns, records, run files, words", "files", times=5000)
def test_no_input_ends_in_anything_but_a_value_or_a_sentence():
    words = [sys.executable, str(ROOT / "tools" / "fuzz.py"), "--inputs", "5000", "--seed", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (lambda data: 1 // 0, "ZeroDivisionError"),
        (lambda data: exec("pass"), "exec"),
        (lambda data: open("/etc/hostname").close(), "open /etc/hostname"),
        (lambda data: (_ for _ in ()).throw(fuzz().UserError("two\nlines")), "ZeroDivision|not one sentence|UserError"),
    ],
)
def test_a_planted_fault_is_found(planted, said, monkeypatch):
    tool = fuzz()
    monkeypatch.setattr(tool, "targets", lambda folder: dict.fromkeys(tool.SHARES, planted))
    found = [what for _, _, what in tool.run(5, 0, "smtx")]
    assert len(found) == 5
    assert all(any(part in what for part in said.split("|")) for what in found)
