"""The family of algorithms: each has its mixer, the reward of each mixed value, and its weighting if it has one.

Weighted QMIX (Rashid et al. 2020, section 4): QMIX's network cannot fit every payoff, and with equal weights it gives
up the best joint action for many bad ones. An unrestricted Q*, trained beside it, gives both their targets, and joint
actions that seem to be no better than the greedy one weigh less.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.networks.mixers import (
    CentralMixer,
    Mixer,
    QMixer,
    independent_mixer,
    mix_advantages,
    mix_values,
    qmix_mixer,
    vdn_mixer,
)
from qmix_jax.networks.qplex import QPlexMixer
from qmix_jax.types import Array

RewardView = Callable[[Array], Array]  # agents' own rewards float32[..., N] -> float32[..., V], of each mixed value
# (q_tot, target, Q* of the greedy joint action, whether that was the one taken, alpha), [B, K, 1] each -> weights
Weighting = Callable[[Array, Array, Array, Array, float], Array]
MakeMixer = Callable[[Config, EnvSpec, int], Mixer]  # (config, spec, state_size) -> mixer


class Algorithm(NamedTuple):
    """One member of the family."""

    make_mixer: MakeMixer
    rewards: RewardView
    weighting: Weighting | None = None


def team_reward(rewards: Array) -> Array:
    """The sum over agents, for one value of the whole team: float32[..., N] -> float32[..., 1]."""
    return jnp.sum(rewards, axis=-1, keepdims=True)


def team_reward_of_each(rewards: Array) -> Array:
    """The sum over agents, for each agent: float32[..., N] -> float32[..., N]."""
    return jnp.broadcast_to(team_reward(rewards), rewards.shape)


def own_reward(rewards: Array) -> Array:
    """Each agent's own: float32[..., N] -> float32[..., N]."""
    return rewards


def optimistic_weights(q_tot: Array, target: Array, best: Array, is_best: Array, alpha: float) -> Array:
    """OW-QMIX: 1 where q_tot is below its target, alpha elsewhere."""
    del best, is_best
    return jnp.where(q_tot < target, 1.0, alpha)


def central_weights(q_tot: Array, target: Array, best: Array, is_best: Array, alpha: float) -> Array:
    """CW-QMIX: 1 where the target is above Q* of the greedy joint action, and for that action; alpha elsewhere."""
    del q_tot
    return jnp.where((target > best) | is_best, 1.0, alpha)


def _qmixer(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QMixer(config.mixing_size, config.hypernet_size, config.hypernet_init_scale)
    return qmix_mixer(module, spec.num_agents, state_size)


def _qplex(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QPlexMixer(spec.num_actions, config.num_heads, config.hypernet_size, config.hypernet_init_scale)
    return mix_advantages(module, spec.num_agents, state_size)


def _sum(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    return vdn_mixer()


def _apart(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    return independent_mixer()


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "qmix": Algorithm(_qmixer, team_reward),
        "vdn": Algorithm(_sum, team_reward),
        "iql": Algorithm(_apart, team_reward_of_each),
        "madqn": Algorithm(_apart, own_reward),
        "cw_qmix": Algorithm(_qmixer, team_reward, central_weights),
        "ow_qmix": Algorithm(_qmixer, team_reward, optimistic_weights),
        "qplex": Algorithm(_qplex, team_reward),
    }
)


def make_central_mixer(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    """The mixer of Q*, which weighted algorithms train beside their own."""
    return mix_values(CentralMixer(config.central_sizes), spec.num_agents, state_size)
