"""Rewards that are trained on: the algorithm's view of them, scaled and optionally standardised."""

import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.learning.algorithms import RewardView
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.types import Array, RewardStatistics

STANDARD_OFFSET = 1e-4  # added to the standard deviation: constant rewards become 0 instead of 0 / 0


def scaled_rewards(config: Config, rewards: Array, view: RewardView) -> Array:
    """Return the scaled reward of each mixed value, from the agents' own: float32[B, S, N] -> float32[B, S, V]."""
    return config.reward_scale * view(rewards)


def init_statistics(num_values: int) -> RewardStatistics:
    """Return the statistics of a new run."""
    return RewardStatistics(
        batches=jnp.zeros((), jnp.int32), mean=jnp.zeros(num_values), variance=jnp.zeros(num_values)
    )


def add_batch(statistics: RewardStatistics, rewards: Array, num_devices: int) -> RewardStatistics:
    """Update the running mean and variance with the k-th batch.

    With d = x - m over the k-th batch's rewards x, and m and v the mean and variance before it (Chan et al. 1983,
    eq. 2.1, for batches of one size):
        m' = m + mean(d) / k,    v' = v + (mean(d^2) - v) / k - (mean(d) / k)^2.

    A reward counts each time it is drawn, so prioritised replay counts surprising rewards more often. Devices average
    their shares.

    Args:
        statistics: of the previous batches.
        rewards: float32[B, S, V], see `scaled_rewards`; the local share on each device.
        num_devices: number of devices that share the batch.
    """
    deviation = rewards - statistics.mean[None, None]
    moments = jnp.stack([jnp.mean(deviation, axis=(0, 1)), jnp.mean(jnp.square(deviation), axis=(0, 1))])
    shift, spread = mean_over_devices(moments, num_devices)
    batches = statistics.batches + 1
    share = 1.0 / batches.astype(jnp.float32)
    variance = statistics.variance + share * (spread - statistics.variance) - jnp.square(share * shift)
    return RewardStatistics(
        batches=batches,
        mean=statistics.mean + share * shift,
        variance=jnp.maximum(variance, 0.0),  # rounding can make it negative
    )


def standardise(rewards: Array, statistics: RewardStatistics, centred: bool) -> Array:
    """Return (r - mean) / (standard deviation + offset), per mixed value. float32[B, S, V].

    If not centred, r / (root mean square + offset). That is a factor, so the best policy remains the same. Without the
    mean, the steps of an episode that could end sooner change their worth, and costs that never differ become 0.
    """
    if not centred:
        root_mean_square = jnp.sqrt(statistics.variance + jnp.square(statistics.mean))
        return rewards / (root_mean_square + STANDARD_OFFSET)[None, None]
    deviation = jnp.sqrt(statistics.variance) + STANDARD_OFFSET
    return (rewards - statistics.mean[None, None]) / deviation[None, None]
