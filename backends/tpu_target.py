"""A TPU that is not there: libtpu's description of one chip, and its compiler."""

from __future__ import annotations

from typing import Any

from backends.ahead import Target, route
from backends.ops import TPU_CHIPS, Device

PACKAGES = ("libtpu",)
MODULES = {"libtpu": "libtpu"}  # distribution to the module that it brings


class Chip(Target):
    """One chip as libtpu describes it, and its compiler. Made in a tenth of a second."""

    packages = PACKAGES
    kind = "tpu"

    def _described(self, topologies: Any, device: Device) -> Any:
        with route("libtpu's description of a chip", "jax", *PACKAGES):
            described = topologies.get_topology_desc(platform="tpu", topology_name=TPU_CHIPS[str(device.chip)])
            return described.devices[0]


def environ() -> dict[str, str]:
    """What libtpu and JAX read before they are loaded: no questions to a metadata server, no log files, no TPU."""
    return {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_LOG_DIR": "disabled",
        "TPU_MIN_LOG_LEVEL": "3",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # its lock is for a chip that two processes would share
    }
