"""A GPU that is not there: a card's description, and XLA's compiler for it out of JAX's CUDA plug-in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from backends.ahead import Target, route
from backends.gpu_cards import GPU_CARDS
from backends.ops import Device

PACKAGES = ("jax-cuda12-plugin", "nvidia-cuda-nvcc-cu12")
# Distribution to the module that it brings.
MODULES = {
    "jax-cuda12-plugin": "jax_cuda12_plugin",
    "jax-cuda12-pjrt": "jax_plugins.xla_cuda12",
    "nvidia-cuda-nvcc-cu12": "nvidia.cuda_nvcc",
}
PAIRED = ("jaxlib", "jax-cuda12-plugin", "jax-cuda12-pjrt")  # of one version, or JAX leaves the plug-in aside


class CardTarget(Target):
    """One card as XLA is told of it, and its compiler. Made in a tenth of a second."""

    packages = PACKAGES
    kind = "cuda"

    def _described(self, topologies: Any, device: Device) -> Any:
        with route("XLA's description of a card", "jax", *PACKAGES):
            _let_cusparse_be_absent(importlib.import_module("jaxlib.gpu_sparse")._cusparse)
            config = importlib.import_module("jax").config
            config.update("jax_bcoo_cusparse_lowering", True)  # as on a card that is there
            name = str(device.chip)
            described = topologies.get_topology_desc(
                platform="cuda", target_config=GPU_CARDS[name].text(name), topology="1x1x1"
            )
            return described.devices[0]

    def _options(self, options: Any) -> Any:
        """With the ptxas of our package, which JAX names too, and not one that happens to be on PATH."""
        (folder, *_) = importlib.import_module(MODULES["nvidia-cuda-nvcc-cu12"]).__path__
        options.executable_build_options.debug_options.xla_gpu_cuda_data_dir = folder
        return options

    def _cost(self, executable: Any) -> Mapping[str, float]:
        return {}  # "GetCostAnalysis is not supported": the program itself is read instead


def _let_cusparse_be_absent(module: Any) -> None:
    """Let JAX lower sparse products to cuSPARSE where that library does not run, with a workspace of no bytes.

    JAX asks cuSPARSE how large its workspace is while it lowers, which takes the library and a card. The call is in the
    program all the same; only that workspace is missing from the temporaries.
    """

    def tolerant(build: Callable[..., tuple[int, bytes]]) -> Callable[..., tuple[int, bytes]]:
        @wraps(build)
        def descriptor(*args: Any) -> tuple[int, bytes]:
            try:
                return build(*args)
            except RuntimeError:  # "The cuSPARSE library was not found", or it has no card to run on
                return 0, b""

        return descriptor

    for name in [name for name in dir(module) if name.startswith("build_") and name.endswith("_descriptor")]:
        setattr(module, name, tolerant(getattr(module, name)))


def environ() -> dict[str, str]:
    """What JAX reads before it is loaded: nothing runs but on the host, and no CUDA library is looked for."""
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TPU_SKIP_MDS_QUERY": "1",
    }
