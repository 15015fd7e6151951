"""The family of algorithms: one differs from another in its mixer, and in what each mixed value is paid."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.weighting import CentralMixer, Weighting, central_weights, optimistic_weights
from qmix_jax.networks.mixers import (
    Mixer,
    QMixer,
    keep_apart,
    mix_advantages,
    mix_monotonically,
    mix_values,
    sum_values,
)
from qmix_jax.networks.qplex import QPlexMixer
from qmix_jax.types import Array

RewardView = Callable[[Array], Array]  # agents' own rewards float32[..., N] -> float32[..., V], of each mixed value
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


def _qmixer(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QMixer(config.mixing_size, config.hypernet_size, config.hypernet_init_scale)
    return mix_monotonically(module, spec.num_agents, state_size)


def _qplex(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QPlexMixer(spec.num_actions, config.num_heads, config.hypernet_size, config.hypernet_init_scale)
    return mix_advantages(module, spec.num_agents, state_size)


def _sum(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    return sum_values()


def _apart(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    return keep_apart()


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
