"""Ceilings that `calibrate` measures beside dense_matmul and stream: workloads that no preset of a run has."""
