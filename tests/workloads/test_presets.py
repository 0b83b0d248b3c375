"""The presets as the specification's table has them, number by number."""

from __future__ import annotations

import pytest

from backends.discovery import backends
from harness.errors import PlanError
from harness.planning import plan
from workloads.discovery import workloads

FOUND, _ = workloads()


def _points(name, preset, mode="forward"):
    return [p.params for p in FOUND[name].presets[preset] if p.mode == mode]


def _sparse(name, preset, mode="forward"):
    return {tuple(p[a] for a in "mkn") for p in _points(name, preset, mode)}


def _networks(name, preset, mode="train_step"):
    points = [p for p in FOUND[name].presets[preset] if p.mode == mode and p.headline]
    return {tuple(p.params.get(a) for a in ("network", "batch", "width")) for p in points}


def test_quick_is_the_table():
    """¼ width, 1024² sweeps, blocks of 8, 16 and 32, batches of 32, 4 and 128."""
    cnn = {"network": "vgg8b", "batch": 32, "side": 32, "channels": 3, "width": 0.25}
    for mode in ("forward", "train_step"):
        assert _points("dense_cnn", "quick", mode) == [cnn]
    assert _sparse("unstructured_sparse", "quick") == {(1024, 1024, 1), (1024, 1024, 128)}
    densities = {p["density"] for p in _points("unstructured_sparse", "quick")}
    assert densities == {0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01}
    assert {(p["m"], p["n"], p["block"]) for p in _points("block_sparse", "quick") if p["density"] == 0.1} == {
        (1024, 128, b) for b in (8, 16, 32)
    }
    assert [p["batch"] for p in _points("capsule_routing", "quick")] == [32]
    names = ("batch", "height", "in_capsules", "out_capsules", "kernel", "stride", "padding")
    assert [tuple(p[a] for a in names) for p in _points("capsule_conv", "quick")] == [(4, 15, 32, 32, 3, 2, 0)]
    assert _networks("local_update", "quick") == {("mlp", 128, 1)}
    assert [p["batch"] for p in _points("forward_forward", "quick", "train_step")] == [128]


def test_standard_is_the_table():
    """DeepBench's products, the ladder, 128 images of routing, 64 of convolution and TVM's, VGG8b at 128."""
    assert _sparse("unstructured_sparse", "standard") == {(7680, 2560, n) for n in (1, 128, 1500)}
    ladder = [
        (p["m"], p["k"], p["n"], p["density"] * (p["m"] // 2560) ** 2) for p in _points("block_sparse", "standard")
    ]
    assert ladder == [(2560 * g, 2560 * g, 64, 1) for g in (1, 2, 4, 8)]
    for mode in ("forward", "train_step"):
        assert [p["batch"] for p in _points("capsule_routing", "standard", mode)] == [128]
        assert _networks("dense_cnn", "standard", mode) == {("vgg8b", 128, 1)}
    assert [p["batch"] for p in _points("capsule_conv", "standard")] == [64, 1, 1, 1, 1]
    assert ("vgg8b", 128, 1) in _networks("local_update", "standard")
    for name in ("unstructured_sparse", "block_sparse", "capsule_routing"):
        assert _points(name, "standard", "train_step")


def test_full_is_the_table():
    """The widest shapes, for accelerators."""
    assert _sparse("unstructured_sparse", "full") == {(8192, 2048, 128), *((10752, 3584, n) for n in (1, 1500, 6000))}
    blocks = {(p["m"], p["k"], p["n"], p["block"]) for p in _points("block_sparse", "full")}
    assert blocks == {(3072, 768, 50432, b) for b in (16, 32, 64)}
    assert [p["batch"] for p in _points("capsule_routing", "full")] == [1024]
    assert [p["batch"] for p in _points("capsule_conv", "full")] == [1024]
    assert ("vgg11b", 128, 3) in _networks("local_update", "full")
    assert _networks("dense_cnn", "full") == {("vgg8b", 512, 2)}


@pytest.mark.parametrize("preset", ["ideas", "quick", "standard", "full"])
def test_what_is_swept_has_been_surveyed(preset):
    """Every point that is not surveyed shares its group with one that is, twins too: no sweep starts from nothing."""
    planned = plan.cases(plan.Ask(preset=preset), *(found for found, _ in (workloads(), backends())))
    surveyed = {case.family for case in planned if case.survey}
    lonely = {str(case.case) for case in planned if not case.survey and case.family not in surveyed}
    # secondary twins take what came close for the principal one, of the same family
    assert not lonely


@pytest.mark.parametrize("preset", ["ideas", "quick", "standard", "full"])
def test_no_formulation_and_execution_goes_without_a_survey(preset):
    """Saving time drops no row: each formulation runs in each execution somewhere."""
    known = backends()[0]
    planned = plan.cases(plan.Ask(preset=preset), FOUND, known)
    found = {(p.case.workload, p.case.mode, p.case.formulation, p.case.execution) for p in planned if p.survey}
    for name, workload in FOUND.items():
        if workload.role != "idea" or preset not in workload.presets:
            continue
        for mode in {p.mode for p in workload.presets.get(preset, ())}:
            points = [p.params for p in workload.presets[preset] if p.mode == mode]
            for formulation, way in workload.formulations[mode].items():
                if any(way.applies(params) for params in points):
                    assert {e for *rest, e in found if rest == [name, mode, formulation]} >= {"eager", "compiled"}


@pytest.mark.parametrize(
    ("workload", "axis", "value", "words"),
    [
        ("block_sparse", "block", 7, "block 7 must divide both sides"),
        ("capsule_conv", "kernel", 40, "kernel of 40 does not fit"),
        ("dense_cnn", "side", 30, "must be a multiple of 16"),
        ("local_update", "network", "mlp9", "must be one of mlp, mlp8"),
    ],
)
def test_axes_that_do_not_go_together_are_refused_before_anything_runs(workload, axis, value, words):
    """One sentence, by the plan."""
    ask = plan.Ask(workloads=(workload,), axes={axis: (value,)})
    with pytest.raises(PlanError, match=words):
        plan.cases(ask, FOUND, backends()[0])


def test_ideas_is_every_idea_at_one_point():
    """Old and new, and each says what of the dense path it leaves out.

    Sparse training has its update as well, a step whose weights are stored in blocks, and one of Top-KAST.
    """
    for name, workload in FOUND.items():
        if workload.role == "idea":
            points = workload.presets["ideas"]
            assert len({p.mode for p in points}) == 1, name
            assert len(points) == (4 if name == "sparse_training" else 1), name
            assert all(p.headline and p.survey for p in points)
            assert workload.leaves_out, name
    assert "quick" not in FOUND["quantized_matmul"].presets
