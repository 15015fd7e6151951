"""Orthogonal initialisation: orthonormal, the same under vmap, and uniform over directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmix_jax.networks.layers import orthogonal


def _matrices(shape, count, gain=1.0, seed=0):
    """Return `count` matrices drawn together, as initialising several agents does."""
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: orthogonal(gain)(key, shape)))(keys))


def _departure(matrix, gain=1.0):
    """How far the shorter side's rows are from orthogonal rows of length `gain`."""
    matrix = np.asarray(matrix, np.float64) / gain
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return np.abs(gram - np.eye(len(gram))).max()


@pytest.mark.parametrize(
    ("shape", "gain"), [((1, 1), 1.0), ((1, 7), 2**0.5), ((7, 1), 0.01), ((8, 3), 0.01), ((52, 128), 2**0.5)]
)
def test_rows_or_columns_are_orthonormal_times_gain(shape, gain):
    matrix = jax.jit(orthogonal(gain), static_argnums=1)(jax.random.key(3), shape)
    assert matrix.shape == shape
    assert matrix.dtype == jnp.float32
    assert _departure(matrix, gain) < 1e-5


def test_square_matrices_of_many_keys():
    """A square Gaussian matrix can have a tiny singular value; the iteration must still bring it to one."""
    assert max(map(_departure, _matrices((32, 32), 100))) < 1e-5


def test_vmap_gives_the_same_matrices():
    alone = jax.jit(orthogonal(1.0), static_argnums=1)
    for key, matrix in zip(jax.random.split(jax.random.key(0), 4), _matrices((5, 5), 4), strict=True):
        np.testing.assert_allclose(alone(key, (5, 5)), matrix, atol=1e-5)


def test_uniform_over_orthogonal_matrices():
    """Haar: each element has mean 0 and variance 1/n, either determinant is as likely, no direction is preferred."""
    n, count = 3, 4000
    matrices = _matrices((n, n), count, seed=1).astype(np.float64)
    np.testing.assert_allclose(matrices.mean(axis=0), 0.0, atol=4 / np.sqrt(n * count))
    np.testing.assert_allclose((matrices**2).mean(axis=0), 1 / n, atol=4 * 0.3 / np.sqrt(count))
    assert abs((np.linalg.det(matrices) > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(count)
    # A coordinate of a uniform point on the sphere in three dimensions is uniform on (-1, 1) (Archimedes).
    quartiles = np.quantile(matrices[:, 0, 0], (0.25, 0.5, 0.75))
    np.testing.assert_allclose(quartiles, (-0.5, 0.0, 0.5), atol=0.07)
