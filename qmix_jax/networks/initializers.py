"""Orthogonal initialisation by matrix products alone."""

import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer

from qmix_jax.types import Array

_ITERATIONS = 40  # the smallest singular value grows 1.5-fold a turn, then converges quadratically


def orthogonal(gain: float) -> Initializer:
    """Initialiser of float32[rows, columns] matrices with orthonormal rows or columns, times `gain`.

    The polar factor of a Gaussian matrix is uniform over orthogonal matrices (Haar), as the usual QR factor is
    after its sign correction. It is found by Newton-Schulz iterations, X <- X (3 I - X'X) / 2 (Higham 2008,
    eq. 8.20), because jaxlib's batched QR, which initialising several agents or seeds at once would call, can
    deadlock on a CPU of two cores: its kernels wait for each other's share of one small thread pool.
    """

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        rows, columns = shape
        gaussian = jax.random.normal(key, (max(shape), min(shape)), dtype)
        # Frobenius norm bounds the largest singular value, so the iteration starts inside its basin.
        start = gaussian / jnp.linalg.norm(gaussian)
        identity = jnp.eye(min(shape), dtype=dtype)

        def iterate(_: int, matrix: Array) -> Array:
            return matrix @ (1.5 * identity - 0.5 * (matrix.T @ matrix))

        polar = jax.lax.fori_loop(0, _ITERATIONS, iterate, start)
        return gain * (polar if rows >= columns else polar.T)

    return init
