"""What the files of JAX's candidates share."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from _candidates import Candidates
from jax import lax

RATE = 0.1
NHWC = ("NHWC", "HWIO", "NHWC")
CONV = ("default", "off", "dot", "individual", "fast-math")  # executions of convolutions
PRODUCT = ("eager", "jit", "off", "individual")  # and of dense products

candidate = Candidates()


def put(*xs):
    """Arrays of host arrays."""
    return [jnp.array(np.ascontiguousarray(x)) for x in xs]


def first(outputs):
    """The one output of a product."""
    return {"y": outputs[0]}


def conv(x, w, stride=1, padding=1):
    """A convolution, channels last."""
    return lax.conv_general_dilated(x, w, (stride, stride), ((padding, padding),) * 2, dimension_numbers=NHWC)
