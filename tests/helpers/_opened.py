"""Every backend that is installed, opened once in the process of the tests."""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import pytest

from backends.discovery import backends
from backends.ops import Backend, Device, Ops

BACKENDS, _ = backends()
REQUIRED = [name for name in os.environ.get("HWLOTTERY_REQUIRE", "").split(",") if name]


def installed(name: str) -> Backend:
    """The backend; a skip where its framework is absent, a failure where that must be there.

    Its environment was set by conftest.py, before anything imported the framework.
    """
    backend = BACKENDS[name]
    if importlib.util.find_spec(backend.module) is None:
        if name in REQUIRED:
            pytest.fail(f"{name} is required here and {backend.module} is not installed")
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    return backend


@cache
def opened(name: str) -> Ops:
    """Its operators on the CPU."""
    return installed(name).open(Device("cpu"))
