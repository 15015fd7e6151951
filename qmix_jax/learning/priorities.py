"""Prioritised replay (Schaul et al. 2016): sequence priorities and importance weights."""

import chex
import jax.numpy as jnp

from qmix_jax.types import Array

LEAST_PRIORITY = 1e-6  # so that every sequence can be drawn again
_SHARE_OF_MAX = 0.9


def sequence_priorities(td_error: Array) -> Array:
    """Return sequence priorities: 0.9 times the largest plus 0.1 times the mean absolute TD error.

    Kapturowski et al. 2019, section 2.3; for a single error, its absolute value. float32[B, K, V] -> float32[B].
    """
    chex.assert_rank(td_error, 3)
    errors = jnp.abs(td_error).reshape(td_error.shape[0], -1)
    return _SHARE_OF_MAX * jnp.max(errors, axis=1) + (1.0 - _SHARE_OF_MAX) * jnp.mean(errors, axis=1) + LEAST_PRIORITY


def updated_priorities(td_error: Array, usable: Array) -> Array:
    """Return priorities after an update; if it was skipped, the sequences at fault are deprioritised.

    Those are the sequences with non-finite squared errors, or the whole batch if there are none. Deprioritising the
    others too would remove a whole batch from replay for each non-finite reward.

    float32[B, K, V], bool[] -> float32[B].
    """
    at_fault = ~jnp.isfinite(jnp.sum(jnp.square(td_error), axis=(1, 2)))
    deprioritised = ~usable & (at_fault | ~jnp.any(at_fault))
    return jnp.where(deprioritised, LEAST_PRIORITY, sequence_priorities(td_error))


def importance_weights(probabilities: Array, exponent: Array) -> Array:
    """Return weights (N P(i))^-exponent over their maximum in the batch (Schaul et al. 2016, section 3.4).

    At exponent 1 the expected gradient is that of uniform sampling. The buffer's sums of priorities are rounded, so a
    draw occasionally hits an empty slot; its probability is 0, and so is its weight.

    float32[B], float32[] -> float32[B] in [0, 1].
    """
    chex.assert_rank([probabilities, exponent], [1, 0])
    stored = probabilities > 0.0
    least = jnp.min(probabilities, where=stored, initial=1.0)
    return jnp.where(stored, (jnp.where(stored, probabilities, least) / least) ** -exponent, 0.0)
