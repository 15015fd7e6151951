"""Rewards as they are learnt: seen as the algorithm sees them, scaled, and if wished standardised."""

import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.learning.algorithms import RewardView
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.types import Array, RewardStatistics, Transition

STANDARD_OFFSET = 1e-4  # added to the deviation: rewards that never differ are 0, and not 0 / 0


def learnt_rewards(config: Config, batch: Transition, view: RewardView) -> Array:
    """What each value is paid in the steps that targets read: agents' rewards by a view of them, scaled.

    Sequences [B, T, ...] -> float32[B, S, V].
    """
    return config.reward_scale * view(batch.rewards[:, config.learnt_steps.start : -1])


def no_statistics(num_values: int) -> RewardStatistics:
    """What a new run knows of its rewards: nothing."""
    return RewardStatistics(
        batches=jnp.zeros((), jnp.int32), mean=jnp.zeros(num_values), variance=jnp.zeros(num_values)
    )


def add_batch(statistics: RewardStatistics, rewards: Array, num_devices: int) -> RewardStatistics:
    """Mean and variance of all rewards of the first k batches, from those of the first k - 1 and the k-th.

    With d = x - m over the k-th batch's rewards x, and m and v the mean and variance before it (Chan et al. 1983,
    eq. 2.1, for batches of one size):
        m' = m + mean(d) / k,    v' = v + (mean(d^2) - v) / k - (mean(d) / k)^2.

    Every reward in the windows that a batch's targets read counts once for each time that replay drew it:
    prioritised replay counts surprising ones more often. Devices count their shares together.

    Args:
        statistics: of the batches before.
        rewards: float32[B, S, V], see `learnt_rewards`; of one device its share.
        num_devices: how many devices share the batch.
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


def standardise(rewards: Array, statistics: RewardStatistics) -> Array:
    """(r - mean) / (deviation + offset), each mixed value by its own. float32[B, S, V]."""
    deviation = jnp.sqrt(statistics.variance) + STANDARD_OFFSET
    return (rewards - statistics.mean[None, None]) / deviation[None, None]
