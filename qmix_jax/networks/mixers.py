"""Mixers: from the agents' values of the actions taken to the values that are trained.

A mixer is a pair of functions. It returns V values per state: one for the team (QMIX, VDN), or one for each agent
(`independent_mixer`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.networks.layers import Start, output_layer, plain_layers, relu_layer
from qmix_jax.types import Array, Params


class ActionValues(NamedTuple):
    """Joint actions of N agents in R states, and the agents' own values of them."""

    actions: Array  # int[N, R]
    chosen: Array  # float32[R, N], values of those actions
    best: Array  # float32[R, N], values of each agent's best allowed action


class Mixer(NamedTuple):
    """A mixer as pure functions, in two steps: targets read their states once for many updates."""

    init: Callable[[Array], Params]  # key -> params
    read: Callable[[Params, Array], Any]  # (params, states float32[R, G]) -> what mixing takes from the states
    # (params, joint actions, what `read` returned) -> float32[R, V]
    mix: Callable[[Params, ActionValues, Any], Array]
    # what `read` returned -> float32[R], V(s), for mixers that add a state value
    state_value: Callable[[Any], Array] | None = None

    def apply(self, params: Params, values: ActionValues, states: Array) -> Array:
        """Mix joint actions by states float32[R, G] in one step. float32[R, V]."""
        return self.mix(params, values, self.read(params, states))


def _states(params: Params, states: Array) -> Array:
    return states


def mix_values(module: nn.Module, num_agents: int, state_size: int) -> Mixer:
    """Wrap a module (chosen values, state) -> q_tot as a mixer with one team value."""

    def init(key: Array) -> Params:
        return dict(module.init(key, jnp.zeros((1, num_agents)), jnp.zeros((1, state_size))))

    def mix(params: Params, values: ActionValues, states: Array) -> Array:
        q_tot: Any = module.apply(params, values.chosen, states)
        return q_tot[:, None]

    return Mixer(init, _states, mix)


def mix_advantages(module: nn.Module, num_agents: int, state_size: int) -> Mixer:
    """Wrap a module that also reads the joint action and the agents' best values as a mixer with one team value."""

    def init(key: Array) -> Params:
        empty = ActionValues(jnp.zeros((num_agents, 1), jnp.int8), *(jnp.zeros((1, num_agents)) for _ in range(2)))
        return dict(module.init(key, empty, jnp.zeros((1, state_size))))

    def mix(params: Params, values: ActionValues, states: Array) -> Array:
        q_tot: Any = module.apply(params, values, states)
        return q_tot[:, None]

    return Mixer(init, _states, mix)


def vdn_mixer() -> Mixer:
    """Return VDN's mixer (Sunehag et al. 2018, eq. 3): q_tot is the sum of the agents' values."""
    return Mixer(
        init=lambda key: {}, read=_states, mix=lambda params, values, _: jnp.sum(values.chosen, axis=1, keepdims=True)
    )


def independent_mixer() -> Mixer:
    """Return the mixer of independent Q-learning (Tan 1993): each agent's own value, V = N."""
    return Mixer(init=lambda key: {}, read=_states, mix=lambda params, values, _: values.chosen)


def value_actions(q_values: Array, actions: Array, action_mask: Array | None) -> ActionValues:
    """Return the agents' values of joint actions int[N, R], from values float32[N, R, A] and masks bool[R, N, A].

    An agent without allowed actions, such as a dead one, has value 0 and gets no gradient.
    """
    chosen = select_actions(q_values, actions).T
    best = jnp.max(allowed_values(q_values, action_mask), axis=-1).T
    if action_mask is not None:
        acts = jnp.any(action_mask, axis=-1)
        chosen, best = jnp.where(acts, chosen, 0.0), jnp.where(acts, best, 0.0)
    return ActionValues(actions, chosen, best)


def select_actions(q_values: Array, actions: Array) -> Array:
    """Return the values of the chosen actions: float32[N, R, A], int[N, R] -> float32[N, R].

    A masked sum instead of a gather, whose gradient would be a slow scatter.
    """
    chex.assert_rank([q_values, actions], [3, 2])
    chosen = actions[:, :, None] == jnp.arange(q_values.shape[-1], dtype=actions.dtype)[None, None, :]
    return jnp.sum(jnp.where(chosen, q_values, 0.0), axis=-1)


def allowed_values(q_values: Array, action_mask: Array | None) -> Array:
    """Return values float32[N, R, A] with -inf where masks bool[R, N, A] forbid an action; None allows all."""
    if action_mask is None:
        return q_values
    return jnp.where(jnp.swapaxes(action_mask, 0, 1), q_values, -jnp.inf)


class QMixer(nn.Module):
    """QMIX's monotonic mixing network: d q_tot / d q_i >= 0 (Rashid et al. 2018, eq. 5).

    Hypernetworks map the global state to the weights of a two-layer ELU network over the agents' values (section 4,
    figure 2); absolute values keep the weights non-negative. Biases are unconstrained: the first is linear in the
    state, the last is a small network, V(s).

    With `skip`, the sum of the agents' values is added: d q_tot / d q_i >= 1, and a small start is near VDN's sum.
    Without it, that slope falls to a seventh early in training, wherever it starts, and varies between agents and
    states. As values may have any scale, the sum excludes only that q_tot is flat in an agent's value.
    """

    mixing_size: int
    hypernet_size: int
    start: Start  # if its gain is small, q_tot starts near 0
    hypernet_layers: int = 2  # of the networks that give weights
    value_size: int | None = None  # hidden width of V(s), None for `hypernet_size`
    skip: bool = False  # add the sum of the agents' values
    layer_norm: bool = False  # of the hypernetworks' hidden layers

    def __call__(self, agent_qs: Array, states: Array) -> Array:
        """Mix chosen values float32[R, N] by states float32[R, G] into q_tot float32[R]."""
        chex.assert_rank([agent_qs, states], 2)
        return monotonic_mix(agent_qs, self.hypernetworks(states, agent_qs.shape[1]), self.skip)

    @nn.compact
    def hypernetworks(self, states: Array, num_agents: int) -> "MixingWeights":
        """Map states float32[R, G] to the weights that mix the values of N agents."""

        def hidden_layer(size: int, name: str) -> Array:
            return relu_layer(states, size, self.start, name, self.layer_norm)

        def weights(size: int, name: str) -> Array:
            inputs = states
            if self.hypernet_layers > 1:
                inputs = hidden_layer(self.hypernet_size, f"{name}_hidden")
            return jnp.abs(output_layer(inputs, size, self.start, name))

        hidden = hidden_layer(self.value_size or self.hypernet_size, "value_hidden")
        return MixingWeights(
            weights_1=weights(num_agents * self.mixing_size, "weights_1").reshape(-1, num_agents, self.mixing_size),
            bias_1=output_layer(states, self.mixing_size, self.start, "bias_1"),
            weights_2=weights(self.mixing_size, "weights_2"),
            value=output_layer(hidden, 1, self.start, "value")[:, 0],
        )


class MixingWeights(NamedTuple):
    """What QMIX's hypernetworks make of R states, for M mixing units."""

    weights_1: Array  # float32[R, N, M], not negative
    bias_1: Array  # float32[R, M]
    weights_2: Array  # float32[R, M], not negative
    value: Array  # float32[R], V(s)


def monotonic_mix(agent_qs: Array, weights: MixingWeights, skip: bool) -> Array:
    """Mix chosen values float32[R, N] into q_tot float32[R], see `QMixer`."""
    hidden = nn.elu(jnp.einsum("bn,bnm->bm", agent_qs, weights.weights_1) + weights.bias_1)
    mixed = jnp.sum(hidden * weights.weights_2, axis=-1)
    if skip:
        mixed = jnp.sum(agent_qs, axis=-1) + mixed
    return mixed + weights.value


def qmix_mixer(module: QMixer, num_agents: int, state_size: int) -> Mixer:
    """Return QMIX's mixer, with `state_value` for V(s), the term independent of the agents' values."""

    def read(params: Params, states: Array) -> MixingWeights:
        weights: Any = module.apply(params, states, num_agents, method="hypernetworks")
        return weights

    def mix(params: Params, values: ActionValues, weights: MixingWeights) -> Array:
        return monotonic_mix(values.chosen, weights, module.skip)[:, None]

    init = mix_values(module, num_agents, state_size).init
    return Mixer(init, read, mix, state_value=lambda weights: weights.value)


class CentralMixer(nn.Module):
    """Unrestricted mixer of Q*: an MLP over the agents' values and the state."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, agent_qs: Array, states: Array) -> Array:
        """Mix chosen values float32[R, N] and states float32[R, G] into float32[R]."""
        chex.assert_rank([agent_qs, states], 2)
        return plain_layers(jnp.concatenate([agent_qs, states], axis=-1), self.hidden_sizes)
