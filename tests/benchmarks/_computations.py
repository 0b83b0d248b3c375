"""What `bench_best` computes: the first seven ideas at shapes of `quick` and `standard`, the others of `ideas`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from _interleaved import TOLERANCE, WORKLOADS

from harness.measuring.correctness import rounded
from workloads.base import Inputs, Mode, Params


@dataclass(frozen=True)
class Computation:
    """A row: a workload's mode at one setting of its axes."""

    label: str
    workload: str
    mode: Mode
    axes: Params
    preset: str = "quick"
    dtype: str = "float32"

    def inputs(self) -> tuple[Inputs, Params]:
        """Those of the seed 0, rounded to the dtype, and the axes."""
        workload = WORKLOADS[self.workload]
        params = workload.check(self.axes)
        return rounded(workload.inputs(params, 0), self.dtype), params

    @property
    def tolerance(self) -> float:
        """TOLERANCE, or the workload's own where that is more: one maximum that rounding flips may move a weight so."""
        workload = WORKLOADS[self.workload]
        return max(TOLERANCE, workload.tolerances_at(workload.check(self.axes))[self.dtype, self.mode])


def _product(m: int, k: int, n: int, grads: str = "both") -> Params:
    return {"m": m, "k": k, "n": n, "grads": grads}


def _sparse(m: int, k: int, n: int, density: float = 0.1, **more: Any) -> Params:
    return {"m": m, "k": k, "n": n, "density": density, "pattern": "magnitude", **more}


def _point(workload: str, mode: Mode, preset: str, **axes: Any) -> Params:
    points = [
        p.params for p in WORKLOADS[workload].presets[preset] if p.mode == mode and axes.items() <= p.params.items()
    ]
    return points[0]


_ROUTING = {"in_capsules": 1152, "out_capsules": 10, "in_dim": 8, "out_dim": 16, "rounds": 3}
_CONV = {"height": 15, "in_channels": 128, "out_channels": 128, "kernel": 3, "stride": 2, "padding": 0}
_VGG = {"network": "vgg8b", "side": 32, "channels": 3, "width": 0.25}

SEVEN = (
    Computation("dense product, n=1", "dense_matmul", "forward", _product(1024, 1024, 1)),
    Computation("dense product, n=128", "dense_matmul", "forward", _product(1024, 1024, 128)),
    Computation("dense product, routing's twin", "dense_matmul", "forward", _product(160, 9216, 32)),
    Computation("dense product step, n=128", "dense_matmul", "train_step", _product(1024, 1024, 128)),
    Computation("sparse product, n=1", "unstructured_sparse", "forward", _sparse(1024, 1024, 1)),
    Computation("sparse product, n=128", "unstructured_sparse", "forward", _sparse(1024, 1024, 128)),
    Computation("sparse product, n=128, 1 %", "unstructured_sparse", "forward", _sparse(1024, 1024, 128, 0.01)),
    Computation("sparse product step, n=128", "unstructured_sparse", "train_step", _sparse(1024, 1024, 128)),
    Computation("block-sparse product, b=16", "block_sparse", "forward", _sparse(1024, 1024, 128, block=16)),
    Computation("block-sparse product, b=32", "block_sparse", "forward", _sparse(1024, 1024, 128, block=32)),
    Computation("block-sparse step, b=16", "block_sparse", "train_step", _sparse(1024, 1024, 128, block=16)),
    Computation("capsule routing", "capsule_routing", "forward", {"batch": 32, **_ROUTING}),
    Computation("capsule routing step", "capsule_routing", "train_step", {"batch": 32, **_ROUTING}),
    Computation("capsule convolution", "capsule_conv", "forward", _point("capsule_conv", "forward", "quick")),
    Computation("ordinary convolution", "dense_conv", "forward", {"batch": 16, **_CONV}),
    Computation("CNN", "dense_cnn", "forward", {"batch": 32, **_VGG}),
    Computation("CNN step", "dense_cnn", "train_step", {"batch": 32, **_VGG}),
    Computation("MLP step", "dense_mlp", "train_step", _point("dense_mlp", "train_step", "quick")),
    Computation("local step, MLP", "local_update", "train_step", _point("local_update", "train_step", "quick")),
    Computation("local step, CNN", "local_update", "train_step", {"batch": 32, **_VGG}),
    Computation(
        "forward-forward step", "forward_forward", "train_step", _point("forward_forward", "train_step", "quick")
    ),
    # shapes of `standard` whose call takes at most a few seconds
    Computation("dense product, 4096³", "dense_matmul", "forward", _product(4096, 4096, 4096), "standard"),
    Computation("sparse product, 7680×2560, n=1", "unstructured_sparse", "forward", _sparse(7680, 2560, 1), "standard"),
    Computation(
        "sparse product, 7680×2560, n=128", "unstructured_sparse", "forward", _sparse(7680, 2560, 128), "standard"
    ),
    Computation(
        "block-sparse product, 5120², n=64",
        "block_sparse",
        "forward",
        _sparse(5120, 5120, 64, 0.25, block=32),
        "standard",
    ),
    Computation("capsule routing, batch 128", "capsule_routing", "forward", {"batch": 128, **_ROUTING}, "standard"),
    Computation(
        "capsule convolution, N=64",
        "capsule_conv",
        "forward",
        _point("capsule_conv", "forward", "standard"),
        "standard",
    ),
    Computation("ordinary convolution, N=64", "dense_conv", "forward", {"batch": 256, **_CONV}, "standard"),
)


def _idea(label: str, workload: str, mode: Mode = "forward", **axes: Any) -> Computation:
    """An idea at its point of the preset `ideas`."""
    return Computation(label, workload, mode, _point(workload, mode, "ideas", **axes), "ideas")


def _blocks_moved() -> Computation:
    """The update at the step's point, which the preset has not."""
    axes = {**_point("sparse_training", "train_step", "ideas", rule="blocks"), "phase": "update"}
    return Computation("sparse update, blocks", "sparse_training", "train_step", axes, "ideas")


def _chosen_anew() -> Computation:
    """The choice of Top-KAST at the step's point, which the preset has not."""
    axes = {**_point("sparse_training", "train_step", "ideas", rule="top_kast"), "phase": "update"}
    return Computation("sparse update, Top-KAST", "sparse_training", "train_step", axes, "ideas")


def _twin(label: str, workload: str, dtype: str = "float32", **axes: Any) -> Computation:
    """A twin at the shape that such a point asks for."""
    return Computation(label, workload, "forward", axes, "ideas", dtype)


IDEAS = (
    _idea("pruned block", "structured_pruned"),
    _idea("2:4 product", "nm_sparse"),
    _idea("int8 product", "quantized_matmul"),
    _idea("early exit", "early_exit"),
    _idea("mixture of experts", "mixture_of_experts"),
    _idea("sparse step", "sparse_training", "train_step", phase="step"),
    _idea("sparse update", "sparse_training", "train_step", phase="update"),
    _idea("sparse step, blocks", "sparse_training", "train_step", phase="step", rule="blocks"),
    _blocks_moved(),
    _idea("sparse step, Top-KAST", "sparse_training", "train_step", phase="step", rule="top_kast"),
    _chosen_anew(),
    _idea("kaleidoscope", "kaleidoscope"),
    _idea("selective scan", "selective_scan"),
    _idea("spiking neurons", "spiking"),
    _idea("decision forest", "decision_forest"),
    _idea("product by tables", "table_product"),
    _twin("block, 768×3072", "dense_block", batch=128, d=768, h=3072),
    _twin("block, 256×1024", "dense_block", batch=512, d=256, h=1024),
    _twin("MLP of 8 layers", "dense_mlp", batch=128, features=1024, hidden=1024, layers=8),
    _twin("perceptron", "dense_mlp", batch=1024, features=64, hidden=1035, layers=1),
    _twin("causal attention", "causal_attention", batch=2, steps=512, width=256, head=64),
    _twin("bfloat16 product", "dense_matmul", "bfloat16", **_product(1024, 1024, 128)),
    _twin("dense product, 1600×512²", "dense_matmul", **_product(1600, 512, 512)),
    _twin("dense product, 1024×256²", "dense_matmul", **_product(1024, 256, 256)),
)
COMPUTATIONS = (*SEVEN, *IDEAS)
