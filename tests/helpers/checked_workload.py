"""A workload in the short form in which a test plants one fault. Copied into a folder, with a line replaced."""

import os  # noqa: F401 - planted faults use it
import time  # noqa: F401

import numpy as np

from workloads import Workload

w = Workload("checked", title="what is checked", source="tests", axes={"rows": 64, "columns": 32})
kept = []


@w.inputs
def inputs(p, rng):
    x = rng.standard_normal((p.rows, p.columns))
    return {"x": x}


@w.reference
def reference(x):
    return {"norm": np.sqrt((x**2).sum(axis=1))}


@w.formulation(note="square, then sum")
def by_sum(ops, x):
    squares = x * x
    return {"norm": ops.sqrt(ops.sum(squares, axis=1))}


@w.formulation(note="a product with itself")
def by_einsum(ops, x):
    return {"norm": ops.sqrt(ops.einsum("ij,ij->i", x, x))}


w.work(flop=lambda p: 2 * p.rows * p.columns, bytes=lambda p, e: e * (p.rows * p.columns + p.rows))
w.twin("dense_matmul", m="rows", k="columns", n=1, grads="both")
