"""Why the model is off, by class of calls, and why it chooses badly: said wherever a class has no break-even."""

from __future__ import annotations

from collections.abc import Mapping

from harness.modelling.kernels import KernelClass

REASONS: Mapping[KernelClass, str] = {
    "elementwise": "one rate stands for every function, and how a compiler cuts its loops is not known",
    "dense": "a library has a rate for every shape and layout, and the model a curve by the shortest side",
    "convolution": "it is reckoned as a product: layouts, borders and the kernels of its gradients are left out",
    "small products": "a framework does one product in several ways, and square ones written one way were measured",
    "gather": "one rate stands for rows of every width and tables of every size",
    "embedding bag": "one rate stands for bags of every length",
    "sparse": "one rate stands for compressed rows, columns and blocks; copies and fallbacks are not counted",
    "scatter": "one rate stands for rows of every width, however many of them meet",
    "select": "a sort of rows stands for every choice by rank",
}
CHOICE = "operands by rows or by columns, and kernels of one kind, are the same work here and not to a library"
