"""The loss of a batch of sequences, for any mixer and target."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.learning.algorithms import ALGORITHMS
from qmix_jax.learning.batch import Batch
from qmix_jax.learning.model import (
    Networks,
    central_networks,
    greedy_actions,
    learned_values,
    mix_steps,
    read_states,
    step_values,
    unroll_sequences,
)
from qmix_jax.learning.rewards import scaled_rewards, standardise
from qmix_jax.learning.targets import batch_targets
from qmix_jax.types import Array, Params, RewardStatistics


class BatchValues(NamedTuple):
    """Values at the K learned steps of B sequences, for each of V mixed values."""

    q_tot: Array  # float32[B, K, V], value of the actions taken
    td_error: Array  # float32[B, K, V], q_tot minus its target
    target_lag: Array  # float32[B, K, V], see `make_loss`
    step_weights: Array | None  # float32[B, K, 1], see `learned_step_weights`


class TargetValues(NamedTuple):
    """What the target network makes of a batch: constant until its next copy. Without one, what the online one does."""

    q_values: Array  # float32[N, B * K, A], the agents' at the bootstrap steps; those of Q* if it provides the targets
    reading: Any  # what the mixer reads of the states there
    plain: Array | None  # with Q*, the plain agents' values there, which choose the actions
    central: tuple[Array, Any] | None  # with Q*, its agents' values and mixer's reading at the learned steps


# (params, target_params, batch, target values, weights float32[B] or None, statistics or None)
# -> loss float32[], values
Loss = Callable[
    [Params, Params | None, Batch, TargetValues | None, Array | None, RewardStatistics | None],
    tuple[Array, BatchValues],
]


def make_target_values(config: Config, networks: Networks) -> Callable[[Params, Batch], TargetValues]:
    """Build the function of (target_params, batch) that evaluates the target network."""
    central = central_networks(networks)

    def target_values(target_params: Params, batch: Batch) -> TargetValues:
        if central is None:
            values = bootstrap_step_values(config, networks, target_params, batch)
            return TargetValues(values, read_states(networks, target_params, batch.later), plain=None, central=None)
        central_params = target_params["central"]
        return TargetValues(
            q_values=bootstrap_step_values(config, central, central_params, batch),
            reading=read_states(central, central_params, batch.later),
            plain=bootstrap_step_values(config, networks, target_params, batch),
            central=(
                learned_values(config, central, central_params, batch),
                read_states(central, central_params, batch.first),
            ),
        )

    return target_values


def make_loss(config: Config, networks: Networks) -> Loss:
    """Build the loss: mean squared TD error of q_tot (Rashid et al. 2018, eq. 6), summed over mixed values.

    Without replay there are no target parameters, nor values of theirs: targets take the online network's values, of
    this update and without a gradient (Gallici et al. 2025, algorithm 1).

    With reward statistics, rewards are standardised before targets are computed. Weights apply per sequence.

    The target lag is |q_tot(online agents) - q_tot(target agents)| at the bootstrap actions, both with the target
    mixer: the effect of the target network's age on each target, in units of return. Double Q-learning computes both
    agents' values anyway. Without it, or if Q* provides the targets, the lag would need another pass and is 0; the
    mixer's own lag is not measured.

    With cuts, targets bootstrap at truncations; TD(lambda) uses the greedy actions of the final step, where no action
    was taken.

    Weighted QMIX compares targets with the target network's Q* of the greedy joint action, as its authors' code does
    (oxwhirl/wqmix, 350e989).
    """
    algorithm, central = ALGORITHMS[config.algorithm], central_networks(networks)
    critic = networks if central is None else central  # its target network provides the targets

    def loss(
        params: Params,
        target_params: Params | None,
        batch: Batch,
        target_values: TargetValues | None,
        weights: Array | None = None,
        statistics: RewardStatistics | None = None,
    ) -> tuple[Array, BatchValues]:
        chex.assert_shape(batch.done, (None, config.sample_length))
        first, later = batch.first, batch.later
        online, selector = online_values(config, networks, params, batch)
        reading = read_states(networks, params, first)
        q_tot = mix_steps(networks, params, online, first, first.actions, reading)
        lagging = selector if central is None and target_params is not None else None
        if target_params is None or target_values is None:
            assert selector is not None, "see Config.online_chooses"
            target_params = jax.lax.stop_gradient(params)
            target_values = TargetValues(selector, read_states(networks, target_params, later), None, None)

        if config.target == "td_lambda":
            actions = later.actions
            if batch.cuts is not None:
                actions = jnp.where(batch.cuts.here[..., None], greedy_actions(target_values.q_values, later), actions)
        elif selector is not None:
            actions = greedy_actions(selector, later)
        else:
            values = target_values.q_values if target_values.plain is None else target_values.plain
            actions = greedy_actions(values, later)
        critic_params = target_params if central is None else target_params["central"]

        def mix_later(q_values: Array) -> Array:
            return mix_steps(critic, critic_params, q_values, later, actions, target_values.reading)

        bootstrap_values, target_lag = mix_later(target_values.q_values), jnp.zeros_like(q_tot)
        if lagging is not None:
            target_lag = jnp.abs(mix_later(lagging) - bootstrap_values)

        rewards = scaled_rewards(config, batch.rewards, algorithm.rewards)
        if statistics is not None:
            rewards = standardise(rewards, statistics, config.centre_rewards)
        target = batch_targets(config, rewards, batch, bootstrap_values)
        td_error = q_tot - jax.lax.stop_gradient(target)
        squares = jnp.square(td_error)
        if central is not None and algorithm.weighting is not None:
            assert target_values.central is not None
            q_star = learned_values(config, central, params["central"], batch)
            greedy = greedy_actions(online, first)
            best = mix_steps(central, critic_params, target_values.central[0], first, greedy, target_values.central[1])
            is_best = jnp.all(greedy == first.actions, axis=-1, keepdims=True)
            fit = algorithm.weighting(q_tot, target, best, is_best, config.alpha)
            reading = read_states(central, params["central"], first)
            q_star_error = mix_steps(central, params["central"], q_star, first, first.actions, reading) - target
            squares = jax.lax.stop_gradient(fit) * squares + jnp.square(q_star_error)
        if weights is not None:
            squares = weights[:, None, None] * squares
        if batch.step_weights is not None:
            td_error, squares = (jnp.where(batch.step_weights > 0.0, x, 0.0) for x in (td_error, squares))
            squares = batch.step_weights * squares
        return jnp.mean(jnp.sum(squares, axis=-1)), BatchValues(q_tot, td_error, target_lag, batch.step_weights)

    return loss


def online_values(config: Config, networks: Networks, params: Params, batch: Batch) -> tuple[Array, Array | None]:
    """Return the online agents' values at the learned steps, and without a gradient at the bootstrap steps.

    Both are float32[N, B * K, A]; the second is None if unused. A single pass computes both if it saves work: if the
    steps overlap, or if recurrent agents are unrolled through the learned steps anyway.
    """
    learned, following = config.learned_steps, config.bootstrap_steps
    if not config.online_chooses:
        return learned_values(config, networks, params, batch), None
    separate = following.start >= learned.stop or batch.cuts is not None  # a final step is not in the sequence
    if separate and not networks.agents.memory_size:
        values = step_values(networks, params, batch.later)
        return step_values(networks, params, batch.first), jax.lax.stop_gradient(values)
    values, hidden_states = unroll_sequences(networks, params, batch, slice(learned.start, following.stop))
    first = values[:, :, : config.sequence_length]
    second = bootstrap_values_of(config, networks, params, batch, values, hidden_states)
    return first.reshape(first.shape[0], -1, first.shape[-1]), jax.lax.stop_gradient(second)


def bootstrap_step_values(config: Config, networks: Networks, params: Params, batch: Batch) -> Array:
    """Return the agents' values at the steps that targets bootstrap from. float32[N, B * K, A]."""
    if not networks.agents.memory_size:
        return step_values(networks, params, batch.later)
    start = config.bootstrap_steps.start if batch.cuts is None else config.burn_in
    values, hidden_states = unroll_sequences(networks, params, batch, slice(start, config.bootstrap_steps.stop))
    return bootstrap_values_of(config, networks, params, batch, values, hidden_states)


def bootstrap_values_of(
    config: Config, networks: Networks, params: Params, batch: Batch, values: Array, hidden_states: Array
) -> Array:
    """Select the bootstrap values from float32[N, B, T, A], which end at the batch's last step. float32[N, B * K, A].

    At truncations, recurrent agents continue from the truncated step's hidden state; with cuts, the hidden states
    `hidden_states`, float32[N, B, T, H], start at the first learned step.
    """
    values, cuts = values[:, :, -config.sequence_length :], batch.cuts
    values = values.reshape(values.shape[0], -1, values.shape[-1])
    if cuts is None:
        return values
    indices = jnp.arange(config.sequence_length)[None, :] + cuts.steps
    memory = jnp.take_along_axis(hidden_states, indices[None, :, :, None], axis=2)
    memory = jnp.moveaxis(memory.reshape(memory.shape[0], -1, memory.shape[-1]), 0, 1)
    final, _ = networks.agents.step(params["agents"], batch.later.features, memory)
    return jnp.where(cuts.here.reshape(1, -1, 1), final, values)
