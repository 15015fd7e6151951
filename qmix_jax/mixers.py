"""QMIX's monotonic mixing network (Rashid et al. 2018, section 4, figure 2)."""

import chex
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.initializers import orthogonal
from qmix_jax.types import Array


class QMixer(nn.Module):
    """Mix the agents' chosen values into `q_tot`, monotonically: d q_tot / d q_i >= 0 (eq. 5).

    Hypernetworks map the global state to the weights of a two-layer ELU network over the agents' values;
    absolute values keep those weights non-negative. Biases are free: the first is linear in the state, the
    last is a small network, V(s).
    """

    mixing_size: int
    hypernet_size: int
    init_scale: float  # orthogonal gain of the hypernetworks' output layers; small starts q_tot near 0

    @nn.compact
    def __call__(self, agent_qs: Array, states: Array) -> Array:
        """Mix float32[B, N] chosen values by float32[B, G] states into float32[B] q_tot."""
        chex.assert_rank([agent_qs, states], 2)
        batch, num_agents = agent_qs.shape

        def hypernetwork(size: int, name: str) -> Array:
            hidden = nn.Dense(self.hypernet_size, kernel_init=orthogonal(2**0.5), name=f"{name}_hidden")(states)
            return self._output(size, name)(nn.relu(hidden))

        weights_1 = jnp.abs(hypernetwork(num_agents * self.mixing_size, "weights_1"))
        weights_2 = jnp.abs(hypernetwork(self.mixing_size, "weights_2"))
        bias_1 = self._output(self.mixing_size, "bias_1")(states)
        value = hypernetwork(1, "value")

        weights_1 = weights_1.reshape(batch, num_agents, self.mixing_size)
        hidden = nn.elu(jnp.einsum("bn,bnm->bm", agent_qs, weights_1) + bias_1)
        return jnp.sum(hidden * weights_2, axis=-1) + value[:, 0]

    def _output(self, size: int, name: str) -> nn.Dense:
        return nn.Dense(size, kernel_init=orthogonal(self.init_scale), name=name)
