"""QPLEX (Wang et al. 2021): joint values whose greedy action consists of the agents' own greedy actions (IGM)."""

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.initializers import constant

from qmix_jax.networks.layers import orthogonal
from qmix_jax.networks.mixers import ActionValues
from qmix_jax.types import Array

_TIE = 0.01  # sum of advantages, in units of q_tot, below which a joint action's gap fades out
_LEAST = 1e-10  # keeps weights positive
_FIRST_GAP = -2.25  # its softplus is 0.1


class QPlexMixer(nn.Module):
    """Duplex dueling network (section 3.2): q_tot = V_tot + A_tot, both from transformed agent values.

    - Transformation: Q_i' = w_i(s) Q_i + b_i(s) with w_i > 0, so V_i' = max Q_i' and A_i' = w_i (Q_i - V_i) <= 0.
    - Dueling mixing: V_tot = sum V_i' and A_tot = sum lambda_i(s, a) A_i' with lambda_i > 0. Hence q_tot is V_tot if
      every agent is greedy, and smaller otherwise.

    As in the authors' code, it is computed as sum Q_i' + sum (lambda_i - 1) A_i' without a gradient through A_i' in the
    second sum: the agents learn as in VDN, and the weights account for the rest.

    The weights differ from the authors', a sum over heads of an absolute value times two sigmoids. With non-monotonic
    payoffs, two agents have to switch their preferred action together, and the joint action's gap to V_tot must persist
    while its advantages pass through 0, so one agent's weight would have to grow without bound. We therefore use
    `num_heads` heads in (0, 2), weighted by the state's attention and starting at 1, plus a gap g(s, a) > 0 of the
    joint action:

        lambda_i = sum_k attention_k(s) 2 sigmoid(head_ik(s, a)) + g(s, a) / (sum_j |A_j'| + tie)
    """

    num_actions: int
    num_heads: int
    hidden_size: int
    init_scale: float  # orthogonal gain of the output layers; if small, q_tot starts near the sum of agent values

    @nn.compact
    def __call__(self, values: ActionValues, states: Array) -> Array:
        """Mix the values of R joint actions and states float32[R, G] into q_tot float32[R]."""
        chex.assert_rank([values.chosen, values.best, states], 2)
        num_agents = values.chosen.shape[1]
        weights = jnp.abs(self._network(states, num_agents, "weights", 1.0)) + _LEAST
        q_values = weights * values.chosen + self._network(states, num_agents, "biases")
        advantages = jax.lax.stop_gradient(weights * (values.chosen - values.best))
        importance = self._importance(values.actions, advantages, states)
        return jnp.sum(q_values + (importance - 1.0) * advantages, axis=-1)

    def _importance(self, actions: Array, advantages: Array, states: Array) -> Array:
        """Return lambda of every agent: int[N, R], float32[R, N], float32[R, G] -> float32[R, N]."""
        rows, num_agents = advantages.shape
        taken = jax.nn.one_hot(actions.T, self.num_actions).reshape(rows, -1)
        joint = jnp.concatenate([states, taken], axis=-1)
        attention = nn.softmax(self._network(states, self.num_heads, "attention"))
        heads = nn.sigmoid(self._network(joint, num_agents * self.num_heads, "heads"))
        bounded = 2.0 * jnp.einsum("rk,rnk->rn", attention, heads.reshape(rows, num_agents, self.num_heads))
        gap = nn.softplus(self._network(joint, 1, "gap", _FIRST_GAP))
        return bounded + gap / (jnp.sum(jnp.abs(advantages), axis=-1, keepdims=True) + _TIE)

    def _network(self, inputs: Array, size: int, name: str, first: float = 0.0) -> Array:
        """Apply two layers, float32[R, I] -> float32[R, size]; the output is near `first` before any update."""
        hidden = nn.Dense(self.hidden_size, kernel_init=orthogonal(2**0.5), name=f"{name}_hidden")(inputs)
        output = nn.Dense(size, kernel_init=orthogonal(self.init_scale), bias_init=constant(first), name=name)
        return output(nn.relu(hidden))
