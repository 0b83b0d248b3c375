"""Computations: one file a workload, found by its name. `Workload` is the short form in which one is written."""

from workloads.authoring.builder import Workload
from workloads.base import Axis, Parameters

__all__ = ["Axis", "Parameters", "Workload"]
