"""The gradient update: loss, clipping, optimiser step and target network, skipped if not finite."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.algorithms import ALGORITHMS
from qmix_jax.learning.batch import Batch, prepare
from qmix_jax.learning.central_value import make_central_learner
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.learning.faults import init_faults, judge_update
from qmix_jax.learning.loss import BatchValues, TargetValues, make_loss, make_target_values
from qmix_jax.learning.model import init_params, make_networks
from qmix_jax.learning.optimizer import copy_targets, initial_schedule, make_optimizer, share_left, step_parameters
from qmix_jax.learning.packing import change_parameters, make_packing
from qmix_jax.learning.priorities import importance_weights, updated_priorities
from qmix_jax.learning.rewards import add_batch, init_statistics, scaled_rewards
from qmix_jax.learning.selection import select
from qmix_jax.types import Array, LearnerState, Params, Sample, UpdateMetrics

# Folded into the learner's key; far from the small numbers that `split` uses.
_CENTRAL_STREAM = 0x63656E74


class Learner(NamedTuple):
    """The learner as pure functions.

    An update has five parts, of which the trainer makes the first three for many updates at once:

        packed = pack(state)
        batch = prepare(sample)
        targets = read_targets(packed, batch)  # None without replay: there are no target networks
        packed, metrics, priorities = update(packed, batch, targets)
        state = unpack(copy_targets(packed))
    """

    init: Callable[[Array], LearnerState]  # key -> state
    init_memory: Callable[[int], Array]  # number of environments B -> initial hidden state float32[B, N, H]
    # (params, observations [B, N, O], hidden state) -> float32[N, B, A], new hidden state
    q_values: Callable[[Params, Array, Array], tuple[Array, Array]]
    pack: Callable[[LearnerState], LearnerState]  # parameters as vectors, as the next four take and return them
    prepare: Callable[[Sample], Batch]  # what does not depend on parameters
    read_targets: Callable[[LearnerState, Batch], TargetValues | None]  # what depends on target parameters only
    # (packed state, batch, target values) -> packed state, metrics, the sequences' new priorities float32[B]
    update: Callable[[LearnerState, Batch, TargetValues | None], tuple[LearnerState, UpdateMetrics, Array]]
    copy_targets: Callable[
        [LearnerState], LearnerState
    ]  # where it is due, after every `target_update_interval` updates
    unpack: Callable[[LearnerState], LearnerState]


def make_learner(config: Config, spec: EnvSpec) -> Learner:
    """Build the learner of `config` for an environment with `spec`."""
    networks = make_networks(config, spec)
    views, agents = networks.views, networks.agents
    loss, target_values = make_loss(config, networks), make_target_values(config, networks)
    reward_view = ALGORITHMS[config.algorithm].rewards
    packing = make_packing(partial(init_params, networks))
    num_features = spec.num_agents * views.num_features
    central = make_central_learner(config, num_features) if config.central_value else None

    def init(key: Array) -> LearnerState:
        params = init_params(networks, key)
        # A separate stream: the agents' initial parameters do not depend on the central value network.
        central_key = jax.random.fold_in(jax.random.clone(key), _CENTRAL_STREAM)
        num_values = reward_view(jnp.zeros(spec.num_agents)).shape[-1]
        return LearnerState(
            params=params,
            # A copy, not an alias: the state is donated, and a buffer cannot be donated twice.
            target_params=jax.tree.map(jnp.copy, params) if config.replay != "none" else None,
            optimizer_state=make_optimizer(config).init(packing.pack(params)),
            updates=jnp.zeros((), jnp.int32),
            schedule=initial_schedule(config),
            faults=init_faults(),
            rewards=init_statistics(num_values) if config.standardise_rewards else None,
            central=central.init(central_key) if central is not None else None,
        )

    def pack(state: LearnerState) -> LearnerState:
        if central is not None and state.central is not None:
            state = replace(state, central=change_parameters(state.central, central.packing.pack))
        return change_parameters(state, packing.pack)

    def unpack(state: LearnerState) -> LearnerState:
        if central is not None and state.central is not None:
            state = replace(state, central=change_parameters(state.central, central.packing.unpack))
        return change_parameters(state, packing.unpack)

    def read_targets(state: LearnerState, batch: Batch) -> TargetValues | None:
        if state.target_params is None:
            return None
        return target_values(packing.unpack(state.target_params), batch)

    def update(
        state: LearnerState, batch: Batch, targets: TargetValues | None
    ) -> tuple[LearnerState, UpdateMetrics, Array]:
        weights = None
        if batch.probabilities is not None:
            exponent = 1.0 - (1.0 - config.importance_exponent) * share_left(state.schedule, state.updates)
            weights = importance_weights(batch.probabilities, exponent)
        statistics = state.rewards
        if statistics is not None:
            rewards = scaled_rewards(config, batch.rewards, reward_view)
            statistics = add_batch(statistics, rewards, config.num_devices)
        target_params = None if state.target_params is None else packing.unpack(state.target_params)
        gradient, values = jax.grad(loss, has_aux=True)(
            packing.unpack(state.params), target_params, batch, targets, weights, statistics
        )
        moments = batch_moments(values)
        vector, moments = average_over_devices(packing.pack(gradient), moments, config.num_devices)
        metrics = update_metrics(moments, vector, config.max_grad_norm)
        usable, faults = judge_update(
            state.faults, state.updates, metrics.loss, metrics.grad_norm, config.max_bad_updates
        )
        params, optimizer_state = step_parameters(
            config, state.schedule, state.updates, usable, vector, state.optimizer_state, state.params
        )
        updates = state.updates + 1
        if statistics is not None:
            statistics = select(usable, statistics, state.rewards)
        central_state = state.central
        if central is not None and central_state is not None:
            central_state, central_loss = central.update(
                central_state, state.schedule, state.updates, usable, batch, weights
            )
            metrics = metrics._replace(central_loss=central_loss)
        metrics = select(usable, metrics, jax.tree.map(jnp.zeros_like, metrics))
        state = LearnerState(
            params, state.target_params, optimizer_state, updates, state.schedule, faults, statistics, central_state
        )
        return state, metrics, updated_priorities(values.td_error, usable)

    def copy(state: LearnerState) -> LearnerState:
        if state.target_params is None:
            return state
        usable = state.faults.streak == 0  # not after a skipped update
        target_params = copy_targets(config, state.updates, usable, state.params, state.target_params)
        return replace(state, target_params=target_params)

    return Learner(
        init=init,
        init_memory=lambda num_envs: jnp.zeros((num_envs, spec.num_agents, agents.memory_size)),
        q_values=lambda params, observations, memory: agents.step(params["agents"], views.agents(observations), memory),
        pack=pack,
        prepare=partial(prepare, config, views),
        read_targets=read_targets,
        update=update,
        copy_targets=copy,
        unpack=unpack,
    )


class BatchMoments(NamedTuple):
    """Means over the batch that determine the `UpdateMetrics`."""

    squared_td_error: Array  # float32[]
    absolute_td_error: Array  # float32[]
    td_error: Array  # float32[]
    q_tot: Array  # float32[]
    target_lag: Array  # float32[]


@jax.named_scope("metrics")
def batch_moments(values: BatchValues) -> BatchMoments:
    """Return means over the learned steps of one batch, or of one device's share of it."""

    # One reduction for all: each by itself takes two kernels.
    rows = jnp.stack(
        [jnp.square(values.td_error), jnp.abs(values.td_error), values.td_error, values.q_tot, values.target_lag]
    )
    if values.step_weights is not None:
        rows = values.step_weights[None] * rows
    return BatchMoments(*jnp.mean(rows.reshape(len(rows), -1), axis=1))


def average_over_devices(gradient: Array, moments: BatchMoments, num_devices: int) -> tuple[Array, BatchMoments]:
    """Average the devices' gradients and moments in one collective."""
    size = gradient.shape[0]
    whole = mean_over_devices(jnp.concatenate([gradient, jnp.stack(moments)]), num_devices)
    return whole[:size], BatchMoments(*whole[size:])


@jax.named_scope("metrics")
def update_metrics(moments: BatchMoments, gradient: Array, max_grad_norm: float) -> UpdateMetrics:
    """Compute an update's metrics from the batch moments and the flat gradient before clipping."""
    grad_norm = jnp.linalg.norm(gradient)  # clipping computes it too; XLA merges the two
    variance = moments.squared_td_error - jnp.square(moments.td_error)
    return UpdateMetrics(
        loss=moments.squared_td_error,
        td_error=moments.absolute_td_error,
        q_value=moments.q_tot,
        td_error_std=jnp.sqrt(jnp.maximum(variance, 0.0)),
        target_lag=moments.target_lag,
        grad_norm=grad_norm,
        clipped=(grad_norm > max_grad_norm).astype(jnp.float32),
        central_loss=jnp.zeros((), jnp.float32),
    )


def unmeasured(config: Config) -> tuple[str, ...]:
    """Return the names of `UpdateMetrics` that `config` does not measure; they are 0 and meaningless."""
    measured = {
        "target_lag": config.replay != "none"
        and config.online_chooses
        and ALGORITHMS[config.algorithm].weighting is None,
        "central_loss": config.central_value,
    }
    return tuple(name for name, is_measured in measured.items() if not is_measured)
