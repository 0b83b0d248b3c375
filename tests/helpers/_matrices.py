"""Files of matrices: what is read of one with its zeros, and the sentence of one that is refused."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.common.matrix import MatrixError
from workloads.common.matrix_files import read, source_of

DENSE = np.array([[1.5, 0, -2, 0], [0, 0, 0, 0], [0, 3, 0, 4]])


def entries(file):
    """The matrix of a file with its zeros; a pattern has 1 where it has an entry."""
    pattern, values = read(source_of(str(file)))
    assert pattern.indices.dtype == pattern.indptr.dtype == np.int32
    out = np.zeros(pattern.shape)
    out[pattern.rows, pattern.indices] = 1 if values is None else values
    assert values is None or values.dtype == np.float64
    assert (np.diff(pattern.flat) > 0).all()
    return out


def refused(file):
    """The sentence of a file that is refused."""
    with pytest.raises(MatrixError) as caught:
        read(source_of(str(file)))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(str(file).split(":")[0])
    return said


def written(folder, data, name="a.mtx"):
    file = folder / name
    file.write_bytes(data)
    return file
