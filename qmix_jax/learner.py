"""One gradient update of QMIX: loss, clipping, Adam, target copy; or none where it would not be finite."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.faults import judge_update, no_faults
from qmix_jax.mixers import QMixer
from qmix_jax.networks import Agents, make_agents
from qmix_jax.schedule import initial_schedule, learning_rate
from qmix_jax.selection import select
from qmix_jax.sharding import mean_over_devices
from qmix_jax.targets import td_target
from qmix_jax.types import Array, LearnerState, Params, Transition, UpdateMetrics
from qmix_jax.views import Views, make_views


class BatchValues(NamedTuple):
    """What the loss computes for each sequence of a batch."""

    q_tot: Array  # float32[B], value of the actions taken
    td_error: Array  # float32[B], q_tot minus its target
    target_lag: Array  # float32[B], see `make_loss`


class Networks(NamedTuple):
    """Agents and mixer, and what they read."""

    views: Views
    agents: Agents
    mixer: Any  # QMixer


class Learner(NamedTuple):
    """QMIX's learning side as pure functions."""

    init: Callable[[Array], LearnerState]  # key -> state
    q_values: Callable[[Params, Array], Array]  # (params, observations [B, N, O]) -> float32[N, B, A]
    update: Callable[[LearnerState, Transition], tuple[LearnerState, UpdateMetrics]]  # batch [B, n + 1]


def make_learner(config: Config, spec: EnvSpec) -> Learner:
    """Agents, mixer and optimiser of `config` for an environment of `spec`."""
    networks = make_networks(config, spec)
    views, agents, mixer = networks
    optimizer = make_optimizer(config)
    loss = make_loss(config, networks)

    def init(key: Array) -> LearnerState:
        agents_key, mixer_key = jax.random.split(key)
        params = {
            "agents": agents.init(agents_key),
            "mixer": mixer.init(mixer_key, jnp.zeros((1, spec.num_agents)), jnp.zeros((1, views.state_size))),
        }
        return LearnerState(
            params=params,
            # A copy, not an alias: the whole state is donated, and no buffer can be donated twice.
            target_params=jax.tree.map(jnp.copy, params),
            optimizer_state=optimizer.init(ravel_pytree(params)[0]),
            updates=jnp.zeros((), jnp.int32),
            schedule=initial_schedule(config),
            faults=no_faults(),
        )

    def update(state: LearnerState, batch: Transition) -> tuple[LearnerState, UpdateMetrics]:
        gradient, values = jax.grad(loss, has_aux=True)(state.params, state.target_params, batch)
        vector, _ = ravel_pytree(gradient)
        vector, moments = average_over_devices(vector, batch_moments(values), config.num_devices)
        metrics = update_metrics(moments, vector, config.max_grad_norm)
        usable, faults = judge_update(
            state.faults, state.updates, metrics.loss, metrics.grad_norm, config.max_bad_updates
        )
        weights, unravel = ravel_pytree(state.params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to its int32 step count
            direction, optimizer_state = optimizer.update(vector, state.optimizer_state, weights)
        stepped = weights - learning_rate(config, state.schedule, state.updates) * direction
        # One flat vector, read and written in any case: to choose costs nothing.
        weights, optimizer_state, metrics = select(
            usable,
            (stepped, optimizer_state, metrics),
            (weights, state.optimizer_state, jax.tree.map(jnp.zeros_like, metrics)),
        )
        params = unravel(weights)
        updates = state.updates + 1
        # A loop of one turn, or none: a select would read and write all parameters in every update.
        copies = (updates % config.target_update_interval == 0).astype(jnp.int32)
        target_params = jax.lax.fori_loop(0, copies, lambda _, old: select(usable, params, old), state.target_params)
        return LearnerState(params, target_params, optimizer_state, updates, state.schedule, faults), metrics

    return Learner(
        init=init,
        q_values=lambda params, observations: agents.apply(params["agents"], views.agents(observations)),
        update=update,
    )


def make_networks(config: Config, spec: EnvSpec) -> Networks:
    """Networks of `config` for an environment of `spec`."""
    views = make_views(spec, config.encoding, config.state_clock)
    agents = make_agents(
        config.hidden_sizes,
        spec.num_agents,
        views.num_features,
        spec.num_actions,
        config.share_parameters,
        config.head_init_scale,
    )
    return Networks(views, agents, QMixer(config.mixing_size, config.hypernet_size, config.hypernet_init_scale))


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Global-norm clipping, L2 weight decay in the gradient as PyTorch's Adam has it, Adam; not the learning rate.

    Elementwise all of it, so it works on one flat vector of all parameters: a few large operations.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_adam(eps=config.adam_epsilon),
    )


class BatchMoments(NamedTuple):
    """Means over the batch, from which `UpdateMetrics` follow."""

    squared_td_error: Array  # float32[]
    absolute_td_error: Array  # float32[]
    td_error: Array  # float32[]
    q_tot: Array  # float32[]
    target_lag: Array  # float32[]


def batch_moments(values: BatchValues) -> BatchMoments:
    """Means over one batch, or one device's share of it."""
    return BatchMoments(
        squared_td_error=jnp.mean(jnp.square(values.td_error)),
        absolute_td_error=jnp.mean(jnp.abs(values.td_error)),
        td_error=jnp.mean(values.td_error),
        q_tot=jnp.mean(values.q_tot),
        target_lag=jnp.mean(values.target_lag),
    )


def average_over_devices(gradient: Array, moments: BatchMoments, num_devices: int) -> tuple[Array, BatchMoments]:
    """Gradient and moments of the whole batch from those of the devices' shares, in one exchange."""
    size = gradient.shape[0]
    whole = mean_over_devices(jnp.concatenate([gradient, jnp.stack(moments)]), num_devices)
    return whole[:size], BatchMoments(*whole[size:])


def update_metrics(moments: BatchMoments, gradient: Array, max_grad_norm: float) -> UpdateMetrics:
    """What an update reports, from the batch's moments and the flat gradient before clipping."""
    grad_norm = jnp.linalg.norm(gradient)  # clipping computes the same; XLA then does it once
    variance = moments.squared_td_error - jnp.square(moments.td_error)
    return UpdateMetrics(
        loss=moments.squared_td_error,
        td_error=moments.absolute_td_error,
        q_value=moments.q_tot,
        td_error_std=jnp.sqrt(jnp.maximum(variance, 0.0)),
        target_lag=moments.target_lag,
        grad_norm=grad_norm,
        clipped=(grad_norm > max_grad_norm).astype(jnp.float32),
    )


def make_loss(config: Config, networks: Networks) -> Callable[[Params, Params, Transition], tuple[Array, BatchValues]]:
    """Mean squared TD error of q_tot (Rashid et al. 2018, eq. 6) with double Q-learning and n-step targets.

    The target lag is |q_tot(online agents) - q_tot(target agents)| of the bootstrap's actions, both by the target
    mixer: how much of each target is due to the copy's age, in units of return. Double Q-learning has both agents'
    values anyway, and the mixer's weights serve twice. The mixer's own lag would need another pass, and so would
    the agents' without double Q-learning: it is NaN there.
    """
    views, agents, mixer = networks

    def loss(params: Params, target_params: Params, batch: Transition) -> tuple[Array, BatchValues]:
        chex.assert_shape(batch.done, (None, config.n_step + 1))
        first, last = (jax.tree.map(lambda x, t=t: x[:, t], batch) for t in (0, -1))

        q_values = agents.apply(params["agents"], views.agents(first.observations))
        q_chosen = select_actions(q_values, first.actions.T)
        mixer_state = views.mixer(first.observations, first.state, first.elapsed)
        q_tot = mixer.apply(params["mixer"], q_chosen.T, mixer_state)

        last_features = views.agents(last.observations)
        target_values = agents.apply(target_params["agents"], last_features)
        selector = agents.apply(params["agents"], last_features) if config.double_q else target_values
        if last.action_mask is not None:
            selector = jnp.where(jnp.swapaxes(last.action_mask, 0, 1), selector, -jnp.inf)
        next_actions = jnp.argmax(selector, axis=-1)
        target_chosen = select_actions(target_values, next_actions)
        last_mixer_state = views.mixer(last.observations, last.state, last.elapsed)
        target_q_tot = mixer.apply(target_params["mixer"], target_chosen.T, last_mixer_state)
        target_lag = jnp.full_like(target_q_tot, jnp.nan)
        if config.double_q:
            online_chosen = jax.lax.stop_gradient(select_actions(selector, next_actions))
            target_lag = jnp.abs(mixer.apply(target_params["mixer"], online_chosen.T, last_mixer_state) - target_q_tot)

        team_rewards = jnp.sum(batch.rewards[:, :-1], axis=-1)
        target = jax.vmap(td_target, in_axes=(0, 0, 0, None))(
            team_rewards, batch.done[:, :-1], target_q_tot, config.gamma
        )
        td_error = q_tot - jax.lax.stop_gradient(target)
        return jnp.mean(jnp.square(td_error)), BatchValues(q_tot, td_error, target_lag)

    return loss


def select_actions(q_values: Array, actions: Array) -> Array:
    """Values of the chosen actions: float32[N, B, A], int[N, B] -> float32[N, B].

    A masked sum, not a gather: its gradient is a product, where a gather's is a slow scatter.
    """
    chex.assert_rank([q_values, actions], [3, 2])
    chosen = actions[:, :, None] == jnp.arange(q_values.shape[-1], dtype=actions.dtype)[None, None, :]
    return jnp.sum(jnp.where(chosen, q_values, 0.0), axis=-1)
