"""Mixers: from what each agent thinks of the actions taken to what is learnt of them together.

A mixer is a pair of functions. It gives V values per state: one for the team (`QMixer`, the sum of VDN), or one for
every agent by itself (`independent_mixer`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.networks.layers import orthogonal, plain_layers
from qmix_jax.types import Array, Params


class ActionValues(NamedTuple):
    """Joint actions of N agents in R states, and what each agent thinks of its part."""

    actions: Array  # int[N, R]
    chosen: Array  # float32[R, N], values of those actions
    best: Array  # float32[R, N], values of each agent's best allowed action


class Mixer(NamedTuple):
    """A mixer as two pure functions."""

    init: Callable[[Array], Params]  # key -> params
    # (params, joint actions, states float32[R, G]) -> float32[R, V]
    apply: Callable[[Params, ActionValues, Array], Array]
    # (params, states float32[R, G]) -> float32[R], V(s) of a mixer that adds one
    state_value: Callable[[Params, Array], Array] | None = None


def mix_values(module: nn.Module, num_agents: int, state_size: int) -> Mixer:
    """One value for the team, by a module that reads the values of the actions taken and the state."""

    def init(key: Array) -> Params:
        return dict(module.init(key, jnp.zeros((1, num_agents)), jnp.zeros((1, state_size))))

    def apply(params: Params, values: ActionValues, states: Array) -> Array:
        q_tot: Any = module.apply(params, values.chosen, states)
        return q_tot[:, None]

    return Mixer(init, apply)


def mix_advantages(module: nn.Module, num_agents: int, state_size: int) -> Mixer:
    """One value for the team, by a module that also reads the joint action and the agents' best values."""

    def init(key: Array) -> Params:
        nothing = ActionValues(jnp.zeros((num_agents, 1), jnp.int8), *(jnp.zeros((1, num_agents)) for _ in range(2)))
        return dict(module.init(key, nothing, jnp.zeros((1, state_size))))

    def apply(params: Params, values: ActionValues, states: Array) -> Array:
        q_tot: Any = module.apply(params, values, states)
        return q_tot[:, None]

    return Mixer(init, apply)


def vdn_mixer() -> Mixer:
    """VDN (Sunehag et al. 2018, eq. 3): q_tot is the sum of the agents' values."""
    return Mixer(
        init=lambda key: {}, apply=lambda params, values, states: jnp.sum(values.chosen, axis=1, keepdims=True)
    )


def independent_mixer() -> Mixer:
    """Independent Q-learning (Tan 1993): every agent's own value, V = N."""
    return Mixer(init=lambda key: {}, apply=lambda params, values, states: values.chosen)


def value_actions(q_values: Array, actions: Array, action_mask: Array | None) -> ActionValues:
    """Value joint actions int[N, R] by the agents' values float32[N, R, A] and masks bool[R, N, A].

    An agent without any allowed action, as a dead one, counts with 0 and gets no gradient.
    """
    chosen = select_actions(q_values, actions).T
    best = jnp.max(allowed_values(q_values, action_mask), axis=-1).T
    if action_mask is not None:
        acts = jnp.any(action_mask, axis=-1)
        chosen, best = jnp.where(acts, chosen, 0.0), jnp.where(acts, best, 0.0)
    return ActionValues(actions, chosen, best)


def select_actions(q_values: Array, actions: Array) -> Array:
    """Values of the chosen actions: float32[N, R, A], int[N, R] -> float32[N, R].

    A masked sum, not a gather: its gradient is a product, where a gather's is a slow scatter.
    """
    chex.assert_rank([q_values, actions], [3, 2])
    chosen = actions[:, :, None] == jnp.arange(q_values.shape[-1], dtype=actions.dtype)[None, None, :]
    return jnp.sum(jnp.where(chosen, q_values, 0.0), axis=-1)


def allowed_values(q_values: Array, action_mask: Array | None) -> Array:
    """Values float32[N, R, A] with -inf for what the masks bool[R, N, A] forbid; no masks forbid nothing."""
    if action_mask is None:
        return q_values
    return jnp.where(jnp.swapaxes(action_mask, 0, 1), q_values, -jnp.inf)


class QMixer(nn.Module):
    """Mix the agents' chosen values into `q_tot`, monotonically: d q_tot / d q_i >= 0 (Rashid et al. 2018, eq. 5).

    Hypernetworks map the global state to the weights of a two-layer ELU network over the agents' values (section 4,
    figure 2); absolute values keep those weights non-negative. Biases are free: the first is linear in the state, the
    last is a small network, V(s).
    """

    mixing_size: int
    hypernet_size: int
    init_scale: float  # orthogonal gain of the hypernetworks' output layers; small starts q_tot near 0

    @nn.compact
    def __call__(self, agent_qs: Array, states: Array) -> Array:
        """Mix float32[R, N] chosen values by float32[R, G] states into float32[R] q_tot."""
        chex.assert_rank([agent_qs, states], 2)
        rows, num_agents = agent_qs.shape

        def hypernetwork(size: int, name: str) -> Array:
            hidden = nn.Dense(self.hypernet_size, kernel_init=orthogonal(2**0.5), name=f"{name}_hidden")(states)
            return self._output(size, name)(nn.relu(hidden))

        weights_1 = jnp.abs(hypernetwork(num_agents * self.mixing_size, "weights_1"))
        weights_2 = jnp.abs(hypernetwork(self.mixing_size, "weights_2"))
        bias_1 = self._output(self.mixing_size, "bias_1")(states)
        value = hypernetwork(1, "value")

        weights_1 = weights_1.reshape(rows, num_agents, self.mixing_size)
        hidden = nn.elu(jnp.einsum("bn,bnm->bm", agent_qs, weights_1) + bias_1)
        return jnp.sum(hidden * weights_2, axis=-1) + value[:, 0]

    def _output(self, size: int, name: str) -> nn.Dense:
        return nn.Dense(size, kernel_init=orthogonal(self.init_scale), name=name)


def qmix_mixer(module: QMixer, num_agents: int, state_size: int) -> Mixer:
    """QMIX's value for the team, and V(s), its part that no agent's value changes."""

    def state_value(params: Params, states: Array) -> Array:
        _, outputs = module.apply(
            params,
            jnp.zeros((states.shape[0], num_agents)),
            states,
            capture_intermediates=lambda layer, _: layer.name == "value",
        )
        value: Any = outputs["intermediates"]["value"]["__call__"][0]
        return value[:, 0]

    return mix_values(module, num_agents, state_size)._replace(state_value=state_value)


class CentralMixer(nn.Module):
    """Q*'s mixer: an ordinary network of the agents' values and the state, without monotonicity."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, agent_qs: Array, states: Array) -> Array:
        """Mix float32[R, N] chosen values by float32[R, G] states into float32[R]."""
        chex.assert_rank([agent_qs, states], 2)
        return plain_layers(jnp.concatenate([agent_qs, states], axis=-1), self.hidden_sizes)
