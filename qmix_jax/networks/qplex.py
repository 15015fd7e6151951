"""QPLEX (Wang et al. 2021): any joint value whose best joint action is made of the agents' own best ones (IGM)."""

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import constant

from qmix_jax.networks.layers import orthogonal
from qmix_jax.networks.mixers import ActionValues
from qmix_jax.types import Array

_TIE = 0.01  # sum of advantages, in units of q_tot, about which a joint action's gap fades out
_LEAST = 1e-10  # keeps absolute values positive
_FIRST_GAP = -2.25  # softplus of it is 0.1


class QPlexMixer(nn.Module):
    """Duplex dueling (section 3.2): q_tot = V_tot + A_tot, both from transformed agents' values.

    - Transformation: Q_i' = w_i(s) Q_i + b_i(s) with w_i > 0, so V_i' = max Q_i' and A_i' = w_i (Q_i - V_i) <= 0.
    - Dueling mixing: V_tot = sum V_i' and A_tot = sum lambda_i(s, a) A_i' with lambda_i > 0. Hence q_tot is V_tot where
      every agent does its best, and less elsewhere.

    As in the authors' code it is written sum Q_i' + sum (lambda_i - 1) A_i' without a gradient through the second sum's
    A_i': the agents learn as VDN's do, and the weights explain the rest.

    The weights differ from theirs, a sum over heads of an absolute value times two sigmoids. Where payoffs are not
    monotonic, two agents must come to prefer another action together, and a joint action's gap to V_tot has to stay
    while the advantages it is made of pass through 0: the weight of one agent would have to grow without limit, and the
    other's to be as large at once. So `num_heads` heads in (0, 2) under the state's attention, 1 at first, are joined
    by the gap g(s, a) > 0 of the joint action itself, whoever it is due to:

        lambda_i = sum_k attention_k(s) 2 sigmoid(head_ik(s, a)) + g(s, a) / (sum_j |A_j'| + tie)
    """

    num_actions: int
    num_heads: int
    hidden_size: int
    init_scale: float  # orthogonal gain of the output layers; small starts q_tot near the sum of the agents' values

    @nn.compact
    def __call__(self, values: ActionValues, states: Array) -> Array:
        """Mix the values of R joint actions by float32[R, G] states into float32[R] q_tot."""
        chex.assert_rank([values.chosen, values.best, states], 2)
        num_agents = values.chosen.shape[1]
        weights = jnp.abs(self._network(states, num_agents, "weights", 1.0)) + _LEAST
        q_values = weights * values.chosen + self._network(states, num_agents, "biases")
        advantages = jax.lax.stop_gradient(weights * (values.chosen - values.best))
        importance = self._importance(values.actions, advantages, states)
        return jnp.sum(q_values + (importance - 1.0) * advantages, axis=-1)

    def _importance(self, actions: Array, advantages: Array, states: Array) -> Array:
        """lambda of every agent: int[N, R], float32[R, N], float32[R, G] -> float32[R, N]."""
        rows, num_agents = advantages.shape
        taken = jax.nn.one_hot(actions.T, self.num_actions).reshape(rows, -1)
        joint = jnp.concatenate([states, taken], axis=-1)
        attention = nn.softmax(self._network(states, self.num_heads, "attention"))
        heads = nn.sigmoid(self._network(joint, num_agents * self.num_heads, "heads"))
        bounded = 2.0 * jnp.einsum("rk,rnk->rn", attention, heads.reshape(rows, num_agents, self.num_heads))
        gap = nn.softplus(self._network(joint, 1, "gap", _FIRST_GAP))
        return bounded + gap / (jnp.sum(jnp.abs(advantages), axis=-1, keepdims=True) + _TIE)

    def _network(self, inputs: Array, size: int, name: str, first: float = 0.0) -> Array:
        """Two layers, float32[R, I] -> float32[R, size]; about `first` before any update."""
        hidden = nn.Dense(self.hidden_size, kernel_init=orthogonal(2**0.5), name=f"{name}_hidden")(inputs)
        output = nn.Dense(size, kernel_init=orthogonal(self.init_scale), bias_init=constant(first), name=name)
        return output(nn.relu(hidden))
