"""Weighted QMIX (Rashid et al. 2020, section 4): which joint actions the monotonic mixer is to fit best.

QMIX's network cannot fit every payoff, and with equal weights it gives up the best joint action for many bad ones. Here
an unrestricted Q*, trained beside it, gives both their targets, and joint actions that seem to be no better than the
greedy one weigh less.
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.networks.layers import plain_layers
from qmix_jax.types import Array

# (q_tot, target, Q* of the greedy joint action, whether that was the one taken, alpha), [B, K, 1] each -> weights
Weighting = Callable[[Array, Array, Array, Array, float], Array]


def optimistic_weights(q_tot: Array, target: Array, best: Array, is_best: Array, alpha: float) -> Array:
    """OW-QMIX: 1 where q_tot is below its target, alpha elsewhere."""
    del best, is_best
    return jnp.where(q_tot < target, 1.0, alpha)


def central_weights(q_tot: Array, target: Array, best: Array, is_best: Array, alpha: float) -> Array:
    """CW-QMIX: 1 where the target is above Q* of the greedy joint action, and for that action; alpha elsewhere."""
    del q_tot
    return jnp.where((target > best) | is_best, 1.0, alpha)


class CentralMixer(nn.Module):
    """Q*'s mixer: an ordinary network of the agents' values and the state, without monotonicity."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, agent_qs: Array, states: Array) -> Array:
        """Mix float32[R, N] chosen values by float32[R, G] states into float32[R]."""
        chex.assert_rank([agent_qs, states], 2)
        return plain_layers(jnp.concatenate([agent_qs, states], axis=-1), self.hidden_sizes)
