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
from jax.flatten_util import ravel_pytree

from qmix_jax.config import Config
from qmix_jax.learning.algorithms import team_reward
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.learning.model import flat, learned_step_weights, take_steps
from qmix_jax.learning.optimizer import copy_targets, make_optimizer, step_parameters
from qmix_jax.learning.rewards import scaled_rewards
from qmix_jax.learning.targets import batch_targets
from qmix_jax.learning.time_limit import bootstrap_from_cuts
from qmix_jax.networks.layers import plain_layers
from qmix_jax.networks.views import Views
from qmix_jax.types import Array, CentralValue, Cuts, Params, Schedule, Transition


class ValueNetwork(nn.Module):
    """MLP over all agents' features."""

    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Return state values: float32[R, N * F] -> float32[R]."""
        return plain_layers(features, self.hidden_sizes)


class CentralLearner(NamedTuple):
    """The value network's learner as pure functions."""

    init: Callable[[Array], CentralValue]  # key -> state
    # (state, schedule, updates before this one int32[], whether the agents' update is applied bool[], sequences,
    # weights float32[B] or None, cuts or None) -> state, mean squared TD error float32[], NaN if it was not finite
    update: Callable[
        [CentralValue, Schedule, Array, Array, Transition, Array | None, Cuts | None], tuple[CentralValue, Array]
    ]


def make_central_learner(config: Config, views: Views, num_agents: int) -> CentralLearner:
    """Build the learner of `config`'s value network over the agents' `views`."""
    network = ValueNetwork(config.central_sizes)

    def init(key: Array) -> CentralValue:
        params = dict(network.init(key, jnp.zeros((1, num_agents * views.num_features))))
        return CentralValue(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),  # a buffer cannot be donated twice
            optimizer_state=make_optimizer(config).init(ravel_pytree(params)[0]),
        )

    def update(
        state: CentralValue,
        schedule: Schedule,
        updates: Array,
        usable: Array,
        batch: Transition,
        weights: Array | None,
        cuts: Cuts | None,
    ) -> tuple[CentralValue, Array]:
        def loss(params: Params) -> tuple[Array, Array]:
            return central_loss(config, network, views, params, state.target_params, batch, weights, cuts)

        gradient, squared_error = jax.grad(loss, has_aux=True)(state.params)
        vector = jnp.append(ravel_pytree(gradient)[0], squared_error)
        vector = mean_over_devices(vector, config.num_devices)
        gradient, squared_error = vector[:-1], vector[-1]
        finite = jnp.isfinite(squared_error) & jnp.isfinite(jnp.linalg.norm(gradient))
        usable = usable & finite
        params, optimizer_state = step_parameters(
            config, schedule, updates, usable, gradient, state.optimizer_state, state.params
        )
        target_params = copy_targets(config, updates + 1, usable, params, state.target_params)
        return CentralValue(params, target_params, optimizer_state), jnp.where(finite, squared_error, jnp.nan)

    return CentralLearner(init, update)


def central_loss(
    config: Config,
    network: ValueNetwork,
    views: Views,
    params: Params,
    target_params: Params,
    batch: Transition,
    weights: Array | None = None,
    cuts: Cuts | None = None,
) -> tuple[Array, Array]:
    """Return the mean squared TD error of V(observations) on the team reward, weighted by sequence and unweighted.

    For 1-step targets: (V(o_t) - (r_t + gamma (1 - done_t) V'(o_t+1)))^2, the value of the behaviour in replay (Sutton
    & Barto 2018, section 6.1), with the target network V'. In other targets V' replaces the mixed values. Rewards are
    scaled but not standardised, so V is in reward units.

    Args:
        config: selects the target.
        network: V.
        views: the agents' inputs.
        params: parameters of V.
        target_params: parameters of V'.
        batch: sequences [B, T, ...].
        weights: float32[B], importance weights of prioritised replay, or None.
        cuts: truncations that targets bootstrap from, or None.

    Returns:
        float32[], float32[].
    """

    def values(params: Params, observations: Array) -> Array:
        features = jnp.swapaxes(views.agents(flat(observations)), 0, 1)
        rows, length = observations.shape[:2]
        value: Any = network.apply(params, features.reshape(rows * length, -1))
        return value.reshape(rows, length, 1)

    later = bootstrap_from_cuts(take_steps(batch, config.bootstrap_steps), cuts)
    rewards = scaled_rewards(config, batch, team_reward)
    target = batch_targets(config, rewards, batch, values(target_params, later.observations))
    errors = values(params, batch.observations[:, config.learned_steps]) - jax.lax.stop_gradient(target)
    squares = jnp.square(errors)
    step_weights = learned_step_weights(config, batch, cuts)
    if step_weights is not None:
        squares = step_weights * jnp.where(step_weights > 0.0, squares, 0.0)
    weighted = squares if weights is None else weights[:, None, None] * squares
    return jnp.mean(weighted), jnp.mean(squares)
