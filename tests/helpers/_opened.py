"""Every backend that is installed, opened once in the process of the tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache

import pytest

from backends.discovery import backends
from backends.ops import Backend, Device, Ops
from harness.cli.run import cache_folder

BACKENDS, _ = backends()
REQUIRED = [name for name in os.environ.get("HWLOTTERY_REQUIRE", "").split(",") if name]


def installed(name: str) -> Backend:
    """The backend; a skip where its framework is absent, a failure where that must be there.

    Its environment is set as long as the framework is not imported: later it would only contradict what was read.
    """
    backend = BACKENDS[name]
    if importlib.util.find_spec(backend.module) is None:
        if name in REQUIRED:
            pytest.fail(f"{name} is required here and {backend.module} is not installed")
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    if backend.module not in sys.modules:
        os.environ.update(backend.environ(Device("cpu"), len(os.sched_getaffinity(0)), cache_folder()))
    return backend


@cache
def opened(name: str) -> Ops:
    """Its operators on the CPU."""
    return installed(name).open(Device("cpu"))
