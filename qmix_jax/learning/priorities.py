"""Prioritised replay (Schaul et al. 2016): what a sequence's priority is, and what its weight undoes."""

import chex
import jax.numpy as jnp

from qmix_jax.types import Array

LEAST_PRIORITY = 1e-6  # so that nothing is drawn never again
_SHARE_OF_MAX = 0.9


def sequence_priorities(td_error: Array) -> Array:
    """Priorities of sequences by their TD errors: 0.9 times the largest and 0.1 times the mean absolute one.

    Kapturowski et al. 2019, section 2.3; of a single error its absolute value. float32[B, K, V] -> float32[B].
    """
    chex.assert_rank(td_error, 3)
    errors = jnp.abs(td_error).reshape(td_error.shape[0], -1)
    return _SHARE_OF_MAX * jnp.max(errors, axis=1) + (1.0 - _SHARE_OF_MAX) * jnp.mean(errors, axis=1) + LEAST_PRIORITY


def updated_priorities(td_error: Array, usable: Array) -> Array:
    """Priorities after an update; of one that could not be made, the sequences at fault are put off.

    Those are the ones whose own squared errors are not finite, and where none is, all of the batch. To put off the
    others with them would take a whole batch out of replay for every reward that is not finite.

    float32[B, K, V], bool[] -> float32[B].
    """
    at_fault = ~jnp.isfinite(jnp.sum(jnp.square(td_error), axis=(1, 2)))
    put_off = ~usable & (at_fault | ~jnp.any(at_fault))
    return jnp.where(put_off, LEAST_PRIORITY, sequence_priorities(td_error))


def importance_weights(probabilities: Array, exponent: Array) -> Array:
    """Weights (N P(i))^-exponent over their maximum in the batch (Schaul et al. 2016, section 3.4): at exponent 1 the
    expected gradient is that of a uniform draw.

    The buffer's sums of priorities are rounded, so that now and then a draw ends where nothing is stored. Its
    probability is 0, and so is its weight.

    float32[B], float32[] -> float32[B] in [0, 1].
    """
    chex.assert_rank([probabilities, exponent], [1, 0])
    stored = probabilities > 0.0
    least = jnp.min(probabilities, where=stored, initial=1.0)
    return jnp.where(stored, (jnp.where(stored, probabilities, least) / least) ** -exponent, 0.0)
