"""Agents' Q-networks: dueling MLPs, one per agent or one shared by all.

Batches are agent-major, `[N, B, F]`: XLA's batched products over agents then run as fast as flat ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.initializers import orthogonal
from qmix_jax.types import Array, Params


class QNetwork(nn.Module):
    """MLP with LayerNorm, then ReLU, after each layer, and dueling heads (Wang et al. 2016, eq. 9)."""

    hidden_sizes: tuple[int, ...]
    num_actions: int
    head_init_scale: float

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Values of all actions: float32[..., F] -> float32[..., A]."""
        hidden = features
        for size in self.hidden_sizes:
            hidden = nn.Dense(size, kernel_init=orthogonal(2**0.5))(hidden)
            hidden = nn.relu(nn.LayerNorm()(hidden))
        head_init = orthogonal(self.head_init_scale)
        advantage = nn.Dense(self.num_actions, kernel_init=head_init, name="advantage")(hidden)
        value = nn.Dense(1, kernel_init=head_init, name="value")(hidden)
        return value + advantage - jnp.mean(advantage, axis=-1, keepdims=True)


class Agents(NamedTuple):
    """All agents' Q-networks as two pure functions."""

    init: Callable[[Array], Params]  # key -> params
    apply: Callable[[Params, Array], Array]  # (params, float32[N, B, F]) -> float32[N, B, A]


def make_agents(
    hidden_sizes: tuple[int, ...],
    num_agents: int,
    num_features: int,
    num_actions: int,
    share_parameters: bool,
    head_init_scale: float,
) -> Agents:
    """One network per agent, or one for all that also reads a one-hot agent id."""
    network: Any = QNetwork(hidden_sizes, num_actions, head_init_scale)
    if share_parameters:
        return Agents(
            init=lambda key: network.init(key, jnp.zeros(num_features + num_agents)),
            apply=lambda params, features: network.apply(params, append_agent_ids(features)),
        )
    return Agents(
        init=lambda key: jax.vmap(network.init)(
            jax.random.split(key, num_agents), jnp.zeros((num_agents, num_features))
        ),
        apply=jax.vmap(network.apply),
    )


def append_agent_ids(features: Array) -> Array:
    """float32[N, B, F] -> float32[N, B, F + N]: a one-hot id tells a shared network who it is."""
    chex.assert_rank(features, 3)
    num_agents, batch, _ = features.shape
    ids = jnp.broadcast_to(jnp.eye(num_agents)[:, None, :], (num_agents, batch, num_agents))
    return jnp.concatenate([features, ids], axis=-1)
