"""What is measured on a GPU in which order, sized by the seconds of a process, and what is said of its kernels."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from _records import idea

from tools import gpu_ideas

ASKED = ("numpy",)


def steps(preset="smoke", seconds=()):
    return list(gpu_ideas.steps([preset], ASKED, "cpu", dict(seconds)))


@pytest.fixture(scope="module")
def smoke():
    return steps()


def test_ideas_follow_each_other_with_their_twins_and_those_that_tell_most_come_first(smoke):
    """A survey in a random order left a random part of the cases: ideas without twins, which the gate refuses."""
    names = [step.idea for step in smoke]
    known = [name for name in gpu_ideas.ORDER if name in names]
    assert names[: len(known)] == known
    assert len(set(names)) == len(names)
    assert all(step.cases > 2 for step in smoke), "each has its twin and its ceilings with it"


def test_an_idea_is_sized_by_the_seconds_that_a_process_took_here(smoke):
    """Not by a promise: a process on a GPU takes seconds, and nobody knew how many."""
    slow = {("numpy", "eager"): 2 * gpu_ideas.UNKNOWN_S}
    for unknown, sized in zip(smoke, steps(seconds=slow.items()), strict=True):
        assert sized.whole_s == pytest.approx(2 * unknown.whole_s)
        assert 0 < sized.first_s < sized.whole_s


@pytest.fixture
def measuring(tmp_path, monkeypatch):
    """The script, `left_s` seconds before its end, which notes the ideas that it would measure."""
    tool = importlib.import_module("gpu_run")
    ran = []
    monkeypatch.setattr(tool.Measuring, "run", lambda self, folder, own, limit_s: ran.append((folder.name, limit_s)))
    monkeypatch.setattr(tool, "publishable", lambda folder: "may be published")

    made = []

    def begin(left_s):
        asked = SimpleNamespace(out=Path(tmp_path), preset="smoke", idea=None, device="cpu", rest=[])
        made.append(tool.Measuring(asked, [*ASKED], time.monotonic(), left_s + tool.CLOSING_S))
        return made[0], ran

    yield begin
    made[0]._findings.close()


def test_what_does_not_fit_into_the_time_is_named_and_not_begun(measuring, capsys, smoke):
    least = min(step.first_s for step in smoke)
    script, ran = measuring(least / 2)
    script.ideas()
    assert ran == []
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == [step.name for step in smoke]
    assert all("left out: its first rounds take about" in line for line in said)


def test_an_idea_that_has_time_gets_what_it_needs_and_a_little_more(measuring, smoke):
    script, ran = measuring(1e6)
    script.ideas()
    assert [name for name, _ in ran] == [step.name for step in smoke]
    assert [limit for _, limit in ran] == pytest.approx([gpu_ideas.SPARE * step.whole_s for step in smoke])


@pytest.mark.parametrize(
    ("formulation", "told"),
    [("cutlass", True), ("cusparselt", True), ("bsr", True), ("int8_padded", True), ("unpack", False)],
)
def test_units_for_two_of_four_for_few_bits_and_for_blocks_are_named_by_what_ran(formulation, told):
    ran = {"kernels": "void cutlass::Kernel<sparse_gemm> ×1"}
    record = msgspec.structs.replace(idea([1.0], formulation=formulation), settings=ran)
    lines = list(gpu_ideas.findings([record]))
    assert (f"kernels of {formulation}, {record.case.backend} {record.case.execution}" in "\n".join(lines)) == told
    assert any("void cutlass::Kernel" in line for line in lines) == told
