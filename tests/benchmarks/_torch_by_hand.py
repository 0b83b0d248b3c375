"""What the files of PyTorch's candidates share."""

from __future__ import annotations

import numpy as np
import torch
from _candidates import Candidates

RATE = 0.1
LAST = torch.channels_last
BOTH = ("eager", "compiled")

candidate = Candidates()


def put(*xs):
    """Tensors of host arrays."""
    return [_tensor(np.ascontiguousarray(x)) for x in xs]


def _tensor(x):
    if x.dtype.name == "bfloat16":  # of which NumPy's own interface knows nothing
        return torch.tensor(x.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(x)


def first(outputs):
    """The one output of a product."""
    return {"y": outputs[0]}


def mkl(a, b):
    """A dense product as PyTorch calls it, by MKL on a CPU."""
    return torch.mm(a, b)


def onednn(a, b):
    """A dense product by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


def packed(w, rows):
    """A host array of weights (k, n) in oneDNN's own layout, for products of so many rows."""
    return torch.ops.mkldnn._reorder_linear_weight(*put(w.T), rows)


def by_packed(a, w):
    """A product of such weights."""
    return torch.ops.mkldnn._linear_pointwise(a, w, None, "none", [], "")


def relu_of(product):
    """The relu of a product, in its place or within it."""
    if product is by_packed:
        return lambda a, w: torch.ops.mkldnn._linear_pointwise(a, w, None, "relu", [], "")
    return lambda a, w: torch.relu_(product(a, w))


def less_product(w, left, right, scale, product):
    """w − scale·(left·right), in one call of MKL's."""
    if product is mkl:
        return torch.addmm(w, left, right, alpha=-scale)
    return torch.sub(w, product(left, right), alpha=scale)


PRODUCTS = {"": mkl, "_onednn": onednn}  # by the ending of a candidate's name


def executions(product):
    """Where a way is tried that is written with `product`: oneDNN's operator is not for graphs as they are traced."""
    return BOTH if product is mkl else ("eager",)
