"""What a file must hold to be a workload, in the short form and in the long."""

from __future__ import annotations

from types import ModuleType

import pytest

from workloads import Workload
from workloads.authoring.functions import WorkloadError
from workloads.base import Definition
from workloads.dense_matmul import WORKLOAD as LONG
from workloads.discovery import definition_of, workloads
from workloads.facts import faults

SHORT = """
from workloads import Workload

NAME = Workload("mine", title="t", source="s", axes={"n": 4})
NAME.inputs(lambda p, rng: {"x": rng.standard_normal(p.n)})
NAME.reference(lambda x: {"y": x + x})
NAME.work(flop=lambda p: p.n, bytes=lambda p, e: 2 * e * p.n)


@NAME.formulation(note="a sum")
def twice(ops, x):
    return {"y": x + x}
"""


def _module(text="", **held):
    module = ModuleType("mine")
    exec(text, vars(module))
    vars(module).update(held)
    return module


def _short(name="mine"):
    w = Workload(name, title="t", source="s", axes={"n": 4})
    w.inputs(lambda p, rng: {"x": rng.standard_normal(p.n)})
    w.reference(lambda x: {"y": x + x})
    w.work(flop=lambda p: p.n, bytes=lambda p, e: 2 * e * p.n)
    w.formulation(note="a sum", outputs=("y",))(twice)
    return w


def twice(ops, x):
    return (x + x,)


@pytest.mark.parametrize("held", [{"w": _short()}, {"anything": _short()}, {"WORKLOAD": _short()}])
def test_a_builder_under_any_name_is_the_workload_of_its_file(held):
    found = definition_of(_module(**held), "mine.py")
    assert isinstance(found, Definition)
    assert found.name == "mine"


def test_the_long_form_is_one_too_and_a_name_decides_between_two():
    assert definition_of(_module(thing=LONG), "mine.py") is LONG
    assert definition_of(_module(thing=LONG, same=LONG), "mine.py") is LONG
    assert definition_of(_module(helper=LONG, w=_short()), "mine.py").name == "mine"
    assert definition_of(_module(w=_short(), WORKLOAD=LONG), "mine.py") is LONG
    assert definition_of(LONG, "an entry point") is LONG


def test_a_file_without_a_workload_or_with_two_is_refused():
    with pytest.raises(WorkloadError, match=r"mine.py defines none: it must define one workload, w = Workload"):
        definition_of(_module(number=3), "mine.py")
    with pytest.raises(WorkloadError, match=r"mine.py defines 2 \(first, second\): it must define one workload"):
        definition_of(_module(first=_short(), second=LONG), "mine.py")


def test_files_of_the_short_form_are_found_and_broken_ones_are_told(tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text(SHORT.replace("NAME", "w"))
    (tmp_path / "_helper.py").write_text("raise SystemError('never imported by itself')\n")
    (tmp_path / "none.py").write_text("")
    (tmp_path / "bare.py").write_text(
        "from workloads import Workload\nw = Workload('bare', title='', source='', axes={})\n"
    )
    (tmp_path / "wrong.py").write_text(SHORT.replace("NAME", "w").replace('{"y": x + x}\n', "x + x\n"))
    (tmp_path / "int.py").write_text("int('x')\n")
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    found, broken = workloads()
    assert "mine" in found
    reasons = {b.path.name: b.reason for b in broken}
    assert set(reasons) == {"none.py", "bare.py", "wrong.py", "int.py"}
    assert "none.py defines none: it must define one workload" in reasons["none.py"]
    assert "bare.py: bare has no inputs; decorate" in reasons["bare.py"]
    assert reasons["wrong.py"].startswith(f"{tmp_path / 'wrong.py'}:10: formulation twice of mine must end each path")
    assert "int.py does not load: ValueError: invalid literal" in reasons["int.py"]


NORMS = """
import numpy as np
from workloads import Workload

w = Workload("vector_norm", title="row norms", source="a test", axes={"rows": 1024, "columns": 1024})
@w.inputs
def inputs(p, rng): return {"x": rng.standard_normal((p.rows, p.columns))}
@w.reference
def reference(x): return {"norm": np.sqrt((x**2).sum(axis=1))}
@w.formulation(note="square, then sum")
def by_sum(ops, x): return {"norm": ops.sqrt(ops.sum(x * x, axis=1))}
w.work(flop=lambda p: 2 * p.rows * p.columns, bytes=lambda p, e: e * (p.rows * p.columns + p.rows))
w.twin("dense_matmul", m="rows", k="columns", n=1)
"""


def test_a_twin_has_the_defaults_of_the_axes_that_its_idea_does_not_name(monkeypatch, tmp_path):
    """dense_matmul has an axis `grads` too, which the author of an idea without a train step need not know."""
    (tmp_path / "norms.py").write_text(NORMS)
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    found, broken = workloads()
    assert not broken
    (twin,) = found["vector_norm"].twins({"rows": 8, "columns": 4}, "forward")
    assert twin.params == {"m": 8, "k": 4, "n": 1, "grads": "both"}
    assert faults(found["vector_norm"], found) == []
