"""Random starts are uniform over all ordered choices of 8 different cells; fixed ones are reproducible."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from env_jax.gridworld.layouts import NUM_OBJECTS, cells_from_ranks, fixed_start, random_start

NUM_STARTS = 200_000
P_VALUE = 1e-4  # of one test; the seed is fixed, so a pass stays a pass


@pytest.fixture(scope="module")
def cells():
    """Cell numbers y * 25 + x of many random starts, int[starts, object]."""
    keys = jax.random.split(jax.random.key(7), NUM_STARTS)
    agents, foods = jax.device_get(jax.jit(jax.vmap(random_start))(keys))
    positions = np.concatenate([agents, foods], axis=1)
    assert positions.shape == (NUM_STARTS, 8, 2)
    assert positions.dtype == np.int32
    assert positions.min() == 0
    assert positions.max() == 24
    return positions[..., 1] * 25 + positions[..., 0]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.tuples(*[st.one_of(st.integers(0, 624 - k), st.integers(0, 7)) for k in range(NUM_OBJECTS)]))
def test_ranks_become_the_nth_free_cells(ranks):
    free = list(range(625))
    expected = [free.pop(rank) for rank in ranks]
    assert [int(cell) for cell in cells_from_ranks([np.int32(rank) for rank in ranks])] == expected


def test_no_two_objects_share_a_cell(cells):
    assert (np.diff(np.sort(cells, axis=1), axis=1) > 0).all()


def test_every_object_reaches_every_cell_equally_often(cells):
    for k in range(NUM_OBJECTS):
        counts = np.bincount(cells[:, k], minlength=625)
        assert (counts > 0).all()
        assert stats.chisquare(counts).pvalue > P_VALUE


def test_every_pair_of_objects_is_uniform_over_pairs_of_different_cells(cells):
    # Counted by the rows of both: 25 * 25 pairs of cells for two different rows, 25 * 24 for one row.
    expected = NUM_STARTS * np.where(np.eye(25, dtype=bool), 25 * 24, 25 * 25) / (625 * 624)
    rows, columns = cells // 25, cells % 25
    for first, second in itertools.combinations(range(NUM_OBJECTS), 2):
        for line in (rows, columns):
            counts = np.bincount(line[:, first] * 25 + line[:, second], minlength=625)
            assert stats.chisquare(counts, expected.reshape(-1)).pvalue > P_VALUE


def test_neighbouring_cells_are_as_likely_as_others(cells):
    """A rank decoded one cell off would show in how often the next object stands right behind an earlier one."""
    for first, second in itertools.combinations(range(NUM_OBJECTS), 2):
        for gap in (-1, 1):
            count = (cells[:, second] - cells[:, first] == gap).sum()
            assert stats.binomtest(int(count), NUM_STARTS, 624 / (625 * 624)).pvalue > P_VALUE


def test_the_training_layout():
    agents, foods = fixed_start(1)
    assert agents.tolist() == [[11, 12], [18, 23], [0, 3], [20, 23]]
    assert foods.tolist() == [[6, 7], [21, 10], [6, 20], [6, 10]]
    assert agents.dtype == foods.dtype == np.int32
