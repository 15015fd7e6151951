"""The supported algorithms: each has a mixer, a reward for each mixed value, and optionally a loss weighting.

Weighted QMIX (Rashid et al. 2020, section 4): a monotonic mixer cannot fit every payoff, and with equal weights it may
sacrifice the best joint action to fit many poor ones. An unrestricted Q*, trained alongside, provides the targets of
both, and joint actions that appear no better than the greedy one get a smaller weight.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.networks.layers import Start
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
from qmix_jax.networks.qplex import QPlexGapMixer, QPlexMixer
from qmix_jax.types import Array

RewardView = Callable[[Array], Array]  # agents' rewards float32[..., N] -> float32[..., V], one per mixed value
# (q_tot, target, Q* of the greedy joint action, whether it was taken, alpha), [B, K, 1] each -> weights
Weighting = Callable[[Array, Array, Array, Array, float], Array]
MakeMixer = Callable[[Config, EnvSpec, int], Mixer]  # (config, spec, state_size) -> mixer


class Algorithm(NamedTuple):
    """One algorithm."""

    make_mixer: MakeMixer
    rewards: RewardView
    weighting: Weighting | None = None


def team_reward(rewards: Array) -> Array:
    """Sum over agents, for one team value: float32[..., N] -> float32[..., 1]."""
    return jnp.sum(rewards, axis=-1, keepdims=True)


def team_reward_of_each(rewards: Array) -> Array:
    """Give every agent the sum over agents: float32[..., N] -> float32[..., N]."""
    return jnp.broadcast_to(team_reward(rewards), rewards.shape)


def own_reward(rewards: Array) -> Array:
    """Give every agent its own reward: float32[..., N] -> float32[..., N]."""
    return rewards


def optimistic_weights(q_tot: Array, target: Array, best: Array, is_best: Array, alpha: float) -> Array:
    """Return OW-QMIX's weights: 1 where q_tot is below its target, alpha elsewhere."""
    del best, is_best
    return jnp.where(q_tot < target, 1.0, alpha)


def central_weights(q_tot: Array, target: Array, best: Array, is_best: Array, alpha: float) -> Array:
    """Return CW-QMIX's weights: 1 for the greedy joint action and targets above its Q*, alpha elsewhere."""
    del q_tot
    return jnp.where((target > best) | is_best, 1.0, alpha)


def _qmix(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QMixer(
        config.mixing_size,
        config.hypernet_size,
        _start(config),
        config.hypernet_layers,
        config.value_size,
        config.mixer_skip,
        config.mixer_norm,
    )
    return qmix_mixer(module, spec.num_agents, state_size)


def _qplex(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QPlexMixer(spec.num_actions, config.num_heads, config.hypernet_size, _start(config), config.head_layers)
    return mix_advantages(module, spec.num_agents, state_size)


def _qplex_gap(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    module = QPlexGapMixer(spec.num_actions, config.num_heads, config.hypernet_size, _start(config))
    return mix_advantages(module, spec.num_agents, state_size)


def _start(config: Config) -> Start:
    return Start(config.initializer, config.hypernet_init_scale)


def _vdn(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    return vdn_mixer()


def _independent(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    return independent_mixer()


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "qmix": Algorithm(_qmix, team_reward),
        "vdn": Algorithm(_vdn, team_reward),
        "iql": Algorithm(_independent, team_reward_of_each),
        "madqn": Algorithm(_independent, own_reward),
        "cw_qmix": Algorithm(_qmix, team_reward, central_weights),
        "ow_qmix": Algorithm(_qmix, team_reward, optimistic_weights),
        "qplex": Algorithm(_qplex, team_reward),
        "qplex_gap": Algorithm(_qplex_gap, team_reward),
    }
)


def make_central_mixer(config: Config, spec: EnvSpec, state_size: int) -> Mixer:
    """Build the mixer of Q*, which weighted algorithms train alongside their own."""
    return mix_values(CentralMixer(config.central_sizes), spec.num_agents, state_size)
