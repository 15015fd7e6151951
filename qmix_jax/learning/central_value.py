"""Central value network: a diagnostic trained alongside the agents and not visible to them.

Its TD error measures how well an observer of all agents' observations predicts the team reward of the behaviour in
replay. The agents' updates are bitwise the same with and without it: it has its own parameters, optimiser, clipping and
target network, and skips its own non-finite updates without affecting them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from qmix_jax.config import Config
from qmix_jax.learning.algorithms import team_reward
from qmix_jax.learning.batch import Batch, Steps
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.learning.optimizer import copy_targets, make_optimizer, step_parameters
from qmix_jax.learning.packing import Packing, make_packing
from qmix_jax.learning.rewards import scaled_rewards
from qmix_jax.learning.targets import batch_targets
from qmix_jax.networks.layers import plain_layers
from qmix_jax.types import Array, CentralValue, Params, Schedule


class ValueNetwork(nn.Module):
    """MLP over all agents' features."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Return state values: float32[R, N * F] -> float32[R]."""
        return plain_layers(features, self.hidden_sizes)


class CentralLearner(NamedTuple):
    """The value network's learner as pure functions."""

    packing: Packing  # of its parameters
    init: Callable[[Array], CentralValue]  # key -> state
    # (packed state, schedule, updates before this one int32[], whether the agents' update is applied bool[], batch,
    # weights float32[B] or None) -> packed state, mean squared TD error float32[], NaN if it was not finite
    update: Callable[[CentralValue, Schedule, Array, Array, Batch, Array | None], tuple[CentralValue, Array]]


def make_central_learner(config: Config, num_features: int) -> CentralLearner:
    """Build the learner of `config`'s value network over all agents' features, `num_features` in total."""
    network = ValueNetwork(config.central_sizes)

    def init_params(key: Array) -> Params:
        return dict(network.init(key, jnp.zeros((1, num_features))))

    packing = make_packing(init_params)

    def init(key: Array) -> CentralValue:
        params = init_params(key)
        return CentralValue(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),  # a buffer cannot be donated twice
            optimizer_state=make_optimizer(config).init(packing.pack(params)),
        )

    def update(
        state: CentralValue,
        schedule: Schedule,
        updates: Array,
        usable: Array,
        batch: Batch,
        weights: Array | None,
    ) -> tuple[CentralValue, Array]:
        def loss(params: Params) -> tuple[Array, Array]:
            return central_loss(config, network, params, packing.unpack(state.target_params), batch, weights)

        gradient, squared_error = jax.grad(loss, has_aux=True)(packing.unpack(state.params))
        vector = jnp.append(packing.pack(gradient), squared_error)
        vector = mean_over_devices(vector, config.num_devices)
        gradient, squared_error = vector[:-1], vector[-1]
        finite = jnp.isfinite(squared_error) & jnp.isfinite(jnp.linalg.norm(gradient))
        usable = usable & finite
        params, optimizer_state = step_parameters(
            config, schedule, updates, usable, gradient, state.optimizer_state, state.params
        )
        target_params = copy_targets(config, updates + 1, usable, params, state.target_params)
        return CentralValue(params, target_params, optimizer_state), jnp.where(finite, squared_error, jnp.nan)

    return CentralLearner(packing, init, update)


def central_loss(
    config: Config,
    network: ValueNetwork,
    params: Params,
    target_params: Params,
    batch: Batch,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """Return the mean squared TD error of V(observations) on the team reward, weighted by sequence and unweighted.

    For 1-step targets: (V(o_t) - (r_t + gamma (1 - done_t) V'(o_t+1)))^2, the value of the behaviour in replay (Sutton
    & Barto 2018, section 6.1), with the target network V'. In other targets V' replaces the mixed values. Rewards are
    scaled but not standardised, so V is in reward units.

    Args:
        config: selects the target.
        network: V.
        params: parameters of V.
        target_params: parameters of V'.
        batch: what was sampled.
        weights: float32[B], importance weights of prioritised replay, or None.

    Returns:
        float32[], float32[].
    """

    def values(params: Params, steps: Steps) -> Array:
        value: Any = network.apply(params, jnp.swapaxes(steps.features, 0, 1).reshape(steps.states.shape[0], -1))
        return value.reshape(*steps.actions.shape[:2], 1)

    rewards = scaled_rewards(config, batch.rewards, team_reward)
    target = batch_targets(config, rewards, batch, values(target_params, batch.later))
    errors = values(params, batch.first) - jax.lax.stop_gradient(target)
    squares = jnp.square(errors)
    if batch.step_weights is not None:
        squares = batch.step_weights * jnp.where(batch.step_weights > 0.0, squares, 0.0)
    weighted = squares if weights is None else weights[:, None, None] * squares
    return jnp.mean(weighted), jnp.mean(squares)
