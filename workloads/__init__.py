"""Computations: one file a workload, found by its name; each ends with `WORKLOAD = Workload(…)`."""
