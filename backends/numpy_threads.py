"""How many threads NumPy's products have: set to what the run asks for, and read back. Imports NumPy alone."""

from __future__ import annotations

import os

import numpy as np
import threadpoolctl

from backends.compiled import Scalar


def limit() -> None:
    """Give BLAS as many threads as HWLOTTERY_THREADS says, where it says so.

    OpenBLAS starts its pool when it is loaded, and the server that forks must have none: it is raised here instead.
    """
    if "HWLOTTERY_THREADS" in os.environ:
        threadpoolctl.threadpool_limits(limits=int(os.environ["HWLOTTERY_THREADS"]), user_api="blas")


def settings() -> dict[str, Scalar]:
    """NumPy's version, its BLAS, and the threads that this has."""
    pools = threadpoolctl.threadpool_info()
    return {
        "numpy": np.__version__,
        "blas": ", ".join(sorted({f"{p['internal_api']} {p.get('version')}" for p in pools})) or None,
        "threads": max((p["num_threads"] for p in pools), default=1),
    }
