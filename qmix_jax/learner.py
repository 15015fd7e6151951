"""One gradient update of QMIX: loss, clipping, Adam, target copy; or none where it would not be finite."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.faults import judge_update, no_faults
from qmix_jax.loss import BatchValues, init_params, make_loss, make_networks
from qmix_jax.priorities import LEAST_PRIORITY, importance_weights, sequence_priorities
from qmix_jax.schedule import initial_schedule, learning_rate, share_left
from qmix_jax.selection import select
from qmix_jax.sharding import mean_over_devices
from qmix_jax.types import Array, LearnerState, Params, Sample, UpdateMetrics


class Learner(NamedTuple):
    """QMIX's learning side as pure functions."""

    init: Callable[[Array], LearnerState]  # key -> state
    init_memory: Callable[[int], Array]  # number of environments B -> float32[B, N, H], as every episode begins
    # (params, observations [B, N, O], memory) -> float32[N, B, A], new memory
    q_values: Callable[[Params, Array, Array], tuple[Array, Array]]
    # (state, what replay drew) -> state, metrics, the sequences' new priorities float32[B]
    update: Callable[[LearnerState, Sample], tuple[LearnerState, UpdateMetrics, Array]]


def make_learner(config: Config, spec: EnvSpec) -> Learner:
    """Agents, mixer and optimiser of `config` for an environment of `spec`."""
    networks = make_networks(config, spec)
    views, agents = networks.views, networks.agents
    optimizer = make_optimizer(config)
    loss = make_loss(config, networks)

    def init(key: Array) -> LearnerState:
        params = init_params(networks, key)
        return LearnerState(
            params=params,
            # A copy, not an alias: the whole state is donated, and no buffer can be donated twice.
            target_params=jax.tree.map(jnp.copy, params),
            optimizer_state=optimizer.init(ravel_pytree(params)[0]),
            updates=jnp.zeros((), jnp.int32),
            schedule=initial_schedule(config),
            faults=no_faults(),
        )

    def update(state: LearnerState, sample: Sample) -> tuple[LearnerState, UpdateMetrics, Array]:
        sequences, _, probabilities = sample
        weights = None
        if probabilities is not None:
            exponent = 1.0 - (1.0 - config.importance_exponent) * share_left(state.schedule, state.updates)
            weights = importance_weights(probabilities, exponent)
        gradient, values = jax.grad(loss, has_aux=True)(state.params, state.target_params, sequences, weights)
        vector, _ = ravel_pytree(gradient)
        vector, moments = average_over_devices(vector, batch_moments(values), config.num_devices)
        metrics = update_metrics(moments, vector, config.max_grad_norm)
        usable, faults = judge_update(
            state.faults, state.updates, metrics.loss, metrics.grad_norm, config.max_bad_updates
        )
        flat, unravel = ravel_pytree(state.params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to its int32 step count
            direction, optimizer_state = optimizer.update(vector, state.optimizer_state, flat)
        stepped = flat - learning_rate(config, state.schedule, state.updates) * direction
        # One flat vector, read and written in any case: to choose costs nothing.
        flat, optimizer_state, metrics = select(
            usable,
            (stepped, optimizer_state, metrics),
            (flat, state.optimizer_state, jax.tree.map(jnp.zeros_like, metrics)),
        )
        params = unravel(flat)
        updates = state.updates + 1
        # A loop of one turn, or none: a select would read and write all parameters in every update.
        copies = (updates % config.target_update_interval == 0).astype(jnp.int32)
        target_params = jax.lax.fori_loop(
            0,
            copies,
            lambda _, old: select(usable, move_towards(params, old, config.target_tau), old),
            state.target_params,
        )
        state = LearnerState(params, target_params, optimizer_state, updates, state.schedule, faults)
        # Sequences whose update could not be made are put off.
        return state, metrics, jnp.where(usable, sequence_priorities(values.td_error), LEAST_PRIORITY)

    return Learner(
        init=init,
        init_memory=lambda num_envs: jnp.zeros((num_envs, spec.num_agents, agents.memory_size)),
        q_values=lambda params, observations, memory: agents.step(params["agents"], views.agents(observations), memory),
        update=update,
    )


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Global-norm clipping, weight decay and the optimiser's direction; not the learning rate.

    Weight decay is L2 in the gradient, as PyTorch's optimisers have it, but for AdamW (Loshchilov & Hutter 2019,
    algorithm 2). Elementwise all of it, so it works on one flat vector of all parameters: a few large operations.
    """
    directions = {
        "adam": optax.scale_by_adam(eps=config.optimizer_epsilon),
        "adamw": optax.scale_by_adam(eps=config.optimizer_epsilon),
        "radam": optax.scale_by_radam(eps=config.optimizer_epsilon),
        "rmsprop": optax.scale_by_rms(decay=0.99, eps=config.optimizer_epsilon, eps_in_sqrt=False),
    }
    steps = [optax.add_decayed_weights(config.weight_decay), directions[config.optimizer]]
    if config.optimizer == "adamw":
        steps.reverse()
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), *steps)


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


def move_towards(params: Params, target_params: Params, tau: float | Array) -> Params:
    """The target parameters, moved by the share `tau` of their distance to `params`; at 1 a copy."""
    if isinstance(tau, float) and tau == 1.0:
        return params
    return optax.incremental_update(params, target_params, tau)
