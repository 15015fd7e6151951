"""Agent Q-networks: one per agent or one shared by all, feedforward or recurrent.

Batches are agent-major, `[N, B, F]`: XLA's batched products over agents are then as fast as flat ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.config import Config
from qmix_jax.networks.layers import Start, dueling_heads, orthogonal, output_layer, relu_layer, uniform
from qmix_jax.types import Array, Params


class QNetwork(nn.Module):
    """MLP with ReLU, and LayerNorm before it if asked for; dueling heads or one linear layer of values."""

    hidden_sizes: tuple[int, ...]
    num_actions: int
    start: Start
    layer_norm: bool = True
    dueling: bool = True

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Return the values of all actions: float32[..., F] -> float32[..., A]."""
        return self.values(self.hidden(features, self.hidden_sizes))

    def hidden(self, features: Array, sizes: tuple[int, ...]) -> Array:
        """Apply the hidden layers: float32[..., F] -> float32[..., H]."""
        for size in sizes:
            features = relu_layer(features, size, self.start, layer_norm=self.layer_norm)
        return features

    def values(self, hidden: Array) -> Array:
        """Apply the output layer: float32[..., H] -> float32[..., A]."""
        if self.dueling:
            return dueling_heads(hidden, self.num_actions, self.start)
        return output_layer(hidden, self.num_actions, self.start, name="values")


class RecurrentQNetwork(QNetwork):
    """`QNetwork` with a GRU (Cho et al. 2014) in place of the last hidden layer."""

    @nn.compact
    def __call__(self, features: Array, memory: Array) -> tuple[Array, Array]:  # type: ignore[override]
        """Return action values and the new hidden state: float32[..., F], [..., H] -> float32[..., A], [..., H]."""
        *sizes, memory_size = self.hidden_sizes
        inits: dict[str, Any] = {"recurrent_kernel_init": orthogonal(1.0)}
        if self.start.scheme == "torch":
            inits = dict.fromkeys(("kernel_init", "recurrent_kernel_init", "bias_init"), uniform(memory_size**-0.5))
        memory, _ = nn.GRUCell(memory_size, **inits)(memory, self.hidden(features, tuple(sizes)))
        return self.values(memory), memory


class Agents(NamedTuple):
    """All agents' Q-networks as pure functions. Feedforward agents have a hidden state of width H = 0."""

    init: Callable[[Array], Params]  # key -> params
    memory_size: int  # H
    # (params, features float32[N, B, F], hidden state float32[B, N, H]) -> values float32[N, B, A], new hidden state
    step: Callable[[Params, Array, Array], tuple[Array, Array]]
    # (params, features float32[N, B, T, F], begins bool[B, T], hidden state float32[B, N, H], burn_in)
    # -> values float32[N, B, T - burn_in, A], hidden states after those steps float32[N, B, T - burn_in, H]
    unroll: Callable[[Params, Array, Array, Array, int], tuple[Array, Array]]


def make_agents(config: Config, num_agents: int, num_features: int, num_actions: int) -> Agents:
    """Build one network per agent, or one shared network that also reads a one-hot agent id."""
    share_parameters, recurrent = config.share_parameters, config.agent == "gru"
    network: Any = (RecurrentQNetwork if recurrent else QNetwork)(
        config.hidden_sizes,
        num_actions,
        Start(config.initializer, config.head_init_scale),
        config.layer_norm,
        config.dueling,
    )
    memory_size = config.memory_size
    inputs = num_features + (num_agents if share_parameters else 0)
    samples = (jnp.zeros(inputs), *([jnp.zeros(memory_size)] if recurrent else []))

    def init(key: Array) -> Params:
        if share_parameters:
            return network.init(key, *samples)
        return jax.vmap(lambda key: network.init(key, *samples))(jax.random.split(key, num_agents))

    def apply(params: Params, features: Array, *memory: Array) -> Any:
        if share_parameters:
            return network.apply(params, append_agent_ids(features), *memory)
        return jax.vmap(network.apply)(params, features, *memory)

    def step(params: Params, features: Array, memory: Array) -> tuple[Array, Array]:
        if not recurrent:
            return apply(params, features), memory
        q_values, memory = apply(params, features, jnp.swapaxes(memory, 0, 1))
        return q_values, jnp.swapaxes(memory, 0, 1)

    def unroll(params: Params, features: Array, begins: Array, memory: Array, burn_in: int) -> tuple[Array, Array]:
        if recurrent:
            memory = jnp.swapaxes(memory, 0, 1)
            return unroll_recurrent(lambda *inputs: apply(params, *inputs), features, begins, memory, burn_in)
        later = features[:, :, burn_in:]
        rows = apply(params, later.reshape(num_agents, -1, num_features))
        return rows.reshape(*later.shape[:3], num_actions), jnp.zeros((*later.shape[:3], 0))

    return Agents(init, memory_size, step, unroll)


def unroll_recurrent(
    apply: Callable[[Array, Array], tuple[Array, Array]],
    features: Array,
    begins: Array,
    memory: Array,
    burn_in: int,
) -> tuple[Array, Array]:
    """Unroll a recurrent network over sequences, with a hidden state of zeros at every episode start.

    The first `burn_in` steps only warm up the hidden state, without a gradient (Kapturowski et al. 2019, section 3).

    Args:
        apply: (features float32[N, B, F], hidden state float32[N, B, H]) -> values float32[N, B, A], new hidden state.
        features: float32[N, B, T, F].
        begins: bool[B, T], whether the step is the first of an episode.
        memory: float32[N, B, H], the hidden state before the first step.
        burn_in: steps whose values are not returned.

    Returns:
        Values float32[N, B, T - burn_in, A], and the hidden states after those steps, float32[N, B, T - burn_in, H].
    """

    def step(memory: Array, inputs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        seen, first = inputs
        q_values, memory = apply(seen, jnp.where(first[None, :, None], 0.0, memory))
        return memory, (q_values, memory)

    by_time = jnp.moveaxis(features, 2, 0), begins.T
    if burn_in:
        memory, _ = jax.lax.scan(step, memory, jax.tree.map(lambda x: x[:burn_in], by_time))
        memory = jax.lax.stop_gradient(memory)
    _, (q_values, hidden_states) = jax.lax.scan(step, memory, jax.tree.map(lambda x: x[burn_in:], by_time))
    return jnp.moveaxis(q_values, 0, 2), jnp.moveaxis(hidden_states, 0, 2)


def append_agent_ids(features: Array) -> Array:
    """Append one-hot agent ids, for a shared network: float32[N, B, F] -> float32[N, B, F + N]."""
    chex.assert_rank(features, 3)
    num_agents, batch, _ = features.shape
    ids = jnp.broadcast_to(jnp.eye(num_agents)[:, None, :], (num_agents, batch, num_agents))
    return jnp.concatenate([features, ids], axis=-1)
