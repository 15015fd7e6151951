"""QPLEX (Wang et al. 2021): any joint value whose best joint action is made of the agents' own best ones (IGM)."""

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import constant

from qmix_jax.networks.layers import Start, output_layer, relu_layer
from qmix_jax.networks.mixers import ActionValues
from qmix_jax.types import Array

_TIE = 0.01  # sum of advantages, in units of q_tot, about which a joint action's gap fades out
_LEAST = 1e-10  # keeps absolute values positive
_FIRST_GAP = -2.25  # softplus of it is 0.1


class DuelingMixer(nn.Module):
    """Duplex dueling (Wang et al. 2021, section 3): q_tot = V_tot + A_tot, both from transformed agents' values.

    - Transformation: Q_i' = w_i(s) Q_i + b_i(s) with w_i > 0, so V_i' = max Q_i' and A_i' = w_i (Q_i - V_i) <= 0.
    - Dueling mixing: V_tot = sum V_i' and A_tot = sum lambda_i(s, a) A_i' with lambda_i > 0. Hence q_tot is V_tot where
      every agent does its best, and less elsewhere.

    As in the authors' code (wjh720/QPLEX, 6c0a7ba) it is computed as sum Q_i' + sum (lambda_i - 1) A_i', without a
    gradient through the second sum's A_i': the agents are trained as VDN's are, and the weights fit the rest.

    Subclasses say how lambda is made, in `importance`.
    """

    num_actions: int
    num_heads: int
    hidden_size: int
    start: Start

    @nn.compact
    def __call__(self, values: ActionValues, states: Array) -> Array:
        """Mix the values of R joint actions by float32[R, G] states into float32[R] q_tot."""
        chex.assert_rank([values.chosen, values.best, states], 2)
        rows, num_agents = values.chosen.shape
        weights = jnp.abs(self.network(states, num_agents, "weights", 1.0)) + _LEAST
        q_values = weights * values.chosen + self.network(states, num_agents, "biases")
        advantages = jax.lax.stop_gradient(weights * (values.chosen - values.best))
        taken = jax.nn.one_hot(values.actions.T, self.num_actions).reshape(rows, -1)
        importance = self.importance(states, jnp.concatenate([states, taken], axis=-1), advantages)
        return jnp.sum(q_values + (importance - 1.0) * advantages, axis=-1)

    def importance(self, states: Array, joint: Array, advantages: Array) -> Array:
        """lambda of every agent, float32[R, N], from states, states with joint actions, and advantages [R, N]."""
        raise NotImplementedError

    def network(self, inputs: Array, size: int, name: str, first: float = 0.0) -> Array:
        """Two layers, float32[R, I] -> float32[R, size]; near `first` at the start, PyTorch's aside."""
        hidden = relu_layer(inputs, self.hidden_size, self.start, f"{name}_hidden")
        kernel, bias = self.start.output(self.hidden_size)
        if self.start.scheme != "torch":
            bias = constant(first)
        return nn.Dense(size, kernel_init=kernel, bias_init=bias, name=name)(hidden)


class QPlexMixer(DuelingMixer):
    """QPLEX as published: lambda_i = sum_k |key_k(s)| sigmoid(agent_ki(s)) sigmoid(action_ki(s, a)) over K heads."""

    head_layers: int = 3

    def importance(self, states: Array, joint: Array, advantages: Array) -> Array:
        """See `DuelingMixer.importance`."""
        num_agents = advantages.shape[-1]
        keys = jnp.abs(self._heads(states, 1, "keys")) + _LEAST
        agents = nn.sigmoid(self._heads(states, num_agents, "agents"))
        actions = nn.sigmoid(self._heads(joint, num_agents, "actions"))
        return jnp.sum(keys * agents * actions, axis=0)

    def _heads(self, inputs: Array, size: int, name: str) -> Array:
        """A network for each head: float32[R, I] -> float32[K, R, size]."""
        heads = nn.vmap(
            _Head,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=self.num_heads,
        )
        return heads(self.hidden_size, self.head_layers, size, self.start, name=name)(inputs)


class _Head(nn.Module):
    """Linear layers with ReLU between them."""

    hidden_size: int
    layers: int
    size: int
    start: Start

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """float32[R, I] -> float32[R, size]."""
        hidden = inputs
        for _ in range(self.layers - 1):
            hidden = relu_layer(hidden, self.hidden_size, self.start)
        return output_layer(hidden, self.size, self.start)


class QPlexGapMixer(DuelingMixer):
    """Duplex dueling with bounded heads and a gap of the joint action itself.

    Where payoffs are not monotonic, two agents must come to prefer another action together, and a joint action's gap
    to V_tot has to stay while the advantages it is made of pass through 0: QPLEX's weight of one agent would have to
    grow without limit, and the other's to be as large at once. So `num_heads` heads in (0, 2) under the state's
    attention, 1 at first, are joined by the gap g(s, a) > 0 of the joint action, whichever agent it is due to:

        lambda_i = sum_k attention_k(s) 2 sigmoid(head_ik(s, a)) + g(s, a) / (sum_j |A_j'| + tie)

    The tie is absolute: other reward scales change where the gap fades out.
    """

    def importance(self, states: Array, joint: Array, advantages: Array) -> Array:
        """See `DuelingMixer.importance`."""
        rows, num_agents = advantages.shape
        attention = nn.softmax(self.network(states, self.num_heads, "attention"))
        heads = nn.sigmoid(self.network(joint, num_agents * self.num_heads, "heads"))
        bounded = 2.0 * jnp.einsum("rk,rnk->rn", attention, heads.reshape(rows, num_agents, self.num_heads))
        gap = nn.softplus(self.network(joint, 1, "gap", _FIRST_GAP))
        return bounded + gap / (jnp.sum(jnp.abs(advantages), axis=-1, keepdims=True) + _TIE)
