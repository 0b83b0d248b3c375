"""Cases by a few words: what each word names, and which path is meant where the words leave it open."""

from __future__ import annotations

import pytest
from _opened import BACKENDS

from harness.errors import UserError
from harness.planning import naming
from harness.planning.naming import CaseNames
from workloads.discovery import workloads

WORKLOADS = workloads()[0]


def named(*words):
    return naming.named_cases(words, WORKLOADS, BACKENDS)


def planned(preset=None, **names):
    fields = {"workloads": ("block_sparse",), "backends": ("torch",)} | names
    return naming.planned_for(CaseNames(**fields), preset, WORKLOADS, BACKENDS)


def test_words_name_cases_in_one_argument_or_several():
    one = CaseNames(workloads=("block_sparse",), formulations=("bsr",), backends=("torch",), executions=("compiled",))
    assert named("block_sparse/bsr torch compiled") == [one] == named("block_sparse/bsr", "torch", "compiled")
    several = named("block_sparse", "torch", "capsule_conv jax train_step float64 cuda:1 batch=4")
    assert [names.workloads for names in several] == [("block_sparse",), ("capsule_conv",)]
    assert several[1].axes == {"batch": (4,)}
    assert (several[1].modes, several[1].dtypes, several[1].devices) == (("train_step",), ("float64",), ("cuda:1",))
    assert named() == []


def test_a_word_that_names_nothing_has_its_nearest():
    with pytest.raises(UserError, match=r"no word of a case 'block_spars'; did you mean block_sparse"):
        named("block_spars torch")


def test_the_first_preset_with_points_is_meant():
    assert all(p.case.params["m"] == 1024 for p in planned())
    assert planned(workloads=("early_exit",))  # which `quick` has not
    assert all(p.case.params["m"] < 1024 for p in planned("smoke"))
    assert {p.case.execution for p in planned("smoke", formulations=("bsr",))} == {"eager", "compiled"}
    assert {p.case.params["block"] for p in planned(axes={"block": (4,)})} == {4}
    assert {p.case.workload for p in planned(workloads=("dense_conv",))} == {"dense_conv"}  # a twin, of some idea


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"workloads": ("block_spars",)}, "did you mean block_sparse"),
        ({"axes": {"blok": (4,)}}, "did you mean block"),
        ({"formulations": ("nn",)}, "no case of any preset is named by block_sparse nn torch"),
    ],
)
def test_what_is_not_planned_is_a_sentence(names, words):
    with pytest.raises(UserError, match=words):
        planned(**names)


def test_the_path_that_stands_best_at_the_headline_point_is_meant_of_each_backend():
    names = CaseNames(workloads=("block_sparse",), backends=("torch", "jax"))
    candidates = naming.planned_for(names, "quick", WORKLOADS, BACKENDS)
    (torch, jax) = naming.chosen(candidates, lambda p: 1.0 if p.case.formulation == "bsr" else 2.0, names)
    assert (torch.planned.case.formulation, torch.planned.case.backend, torch.known) == ("bsr", "torch", True)
    assert torch.planned.headline
    assert (jax.planned.case.backend, jax.named) == ("jax", False)
    (first, _) = naming.chosen(candidates, lambda _: None, names)
    assert not first.known
    assert first.planned.case.formulation == candidates[0].case.formulation
