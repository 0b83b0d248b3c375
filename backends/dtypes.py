"""Facts of a dtype by its name, the same in every framework. Imports nothing of ours."""

from __future__ import annotations

import os

PRECISION, TF32 = "HWLOTTERY_PRECISION", "tf32"  # set to it for a run that asks TF32 of every framework
ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}


def tf32() -> bool:
    """Whether this run asks float32 products and convolutions to be computed in TF32, of all frameworks alike."""
    return os.environ.get(PRECISION) == TF32


def itemsize(dtype: str) -> int:
    """Bytes of one element of `dtype`, by its NumPy name; ValueError for a name that is not in ITEM_BYTES."""
    try:
        return ITEM_BYTES[dtype]
    except KeyError:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(ITEM_BYTES)}") from None
