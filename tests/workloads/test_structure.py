"""The structure of a matrix: found where every block or group has it, and in nothing that lacks one entry of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.common.matrix import FileMatrix, of_scipy
from workloads.common.structure import block_side, in_blocks, kept_of, structures


def matrix(dense):
    return of_scipy("made", np.asarray(dense, float))


def blocks(rows, columns, side, seed, share=0.4):
    """A matrix of full blocks with normal values, some of them there."""
    rng = np.random.default_rng(seed)
    kept = rng.random((rows, columns)) < share
    kept.flat[rng.integers(kept.size)] = True
    return np.kron(kept, np.ones((side, side))) * rng.uniform(0.5, 1, (rows * side, columns * side))


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([2, 3, 4, 8]), st.integers(0, 99))
def test_blocks_are_found_and_taken_out_again(rows, columns, side, seed):
    """The largest side of which every block is full; a multiple of it only where its blocks happen to be full, too."""
    dense = blocks(rows, columns, side, seed)
    whole = matrix(dense)
    found = block_side(whole.pattern)
    assert found is not None
    assert found % side == 0
    pattern, values = in_blocks(whole, side)
    assert pattern.shape == (rows, columns)
    again = np.zeros_like(dense)
    for row, column, block in zip(pattern.rows, pattern.indices, values, strict=True):
        again[row * side : (row + 1) * side, column * side : (column + 1) * side] = block
    assert (again == dense).all()
    assert in_blocks(FileMatrix(whole.pattern, None), side)[1] is None


@given(st.integers(0, 99))
def test_one_entry_less_is_no_block(seed):
    dense = blocks(3, 4, 4, seed)
    entry = np.argwhere(dense)[seed % np.count_nonzero(dense)]
    dense[tuple(entry)] = 0
    whole = matrix(dense) if dense.any() else None
    assert whole is None or block_side(whole.pattern) is None
    with pytest.raises(ValueError, match="block 4 is not the side of blocks that are each full or empty"):
        in_blocks(whole, 4)


def test_what_is_full_but_not_in_its_place_is_no_block():
    """As many entries as whole blocks have, in runs as long, but a column, a row or one row beside."""
    for rows, columns in (((0, 1), (1, 2)), ((1, 2), (0, 1))):
        dense = np.zeros((4, 4))
        dense[np.ix_(rows, columns)] = 1
        assert block_side(matrix(dense).pattern) is None
    dense = np.zeros((4, 4))
    dense[0, 0:2] = dense[1, 2:4] = 1
    assert block_side(matrix(dense).pattern) is None


def nm(rows, groups, keep, of, seed):
    rng = np.random.default_rng(seed)
    dense = np.zeros((rows, groups, of))
    for group in dense.reshape(-1, of):
        group[rng.choice(of, keep, replace=False)] = 1
    return dense.reshape(rows, groups * of)


@given(
    st.integers(2, 5), st.integers(2, 5), st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 8), (1, 16)]), st.integers(0, 99)
)
def test_groups_are_found(rows, groups, pair, seed):
    """Of the same share; 1 of every 2 is 2 of every 4 where 4 divides the columns."""
    found = kept_of(matrix(nm(rows, groups, *pair, seed)).pattern)
    assert found is not None
    assert found[0] * pair[1] == found[1] * pair[0]


@given(st.integers(0, 99))
def test_an_entry_in_the_wrong_group_is_none(seed):
    dense = nm(8, 8, 2, 4, seed)
    row, group = seed % 8, seed % 7
    dense[row, group * 4 : group * 4 + 8] = [1, 1, 1, 0, 1, 0, 0, 0]
    found = kept_of(matrix(dense).pattern)
    assert found is None or found[1] > 4


def test_equal_rows_are_no_groups():
    assert kept_of(matrix(nm(8, 1, 2, 4, 0)).pattern) is None


def test_what_it_can_be_measured_as():
    def names(dense):
        return {found.workload: found.axes for found in structures(matrix(dense).pattern)}

    assert names(np.ones((4, 4))) == {"unstructured_sparse": {"density": 1.0}}
    assert names([[0, 1, 1], [1, 0, 0], [0, 0, 0]]).keys() == {"unstructured_sparse"}
    both = np.kron(np.array([[1, 0, 1, 0], [0, 1, 0, 1]]), np.ones((2, 2)))
    assert names(both) == {
        "unstructured_sparse": {"density": 0.5},
        "block_sparse": {"density": 0.5, "block": 2},
        "nm_sparse": {"keep": 2, "out_of": 4, "transposable": 0},
    }
