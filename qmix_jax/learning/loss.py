"""The loss of a batch of sequences, for any mixer and target."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.learning.algorithms import ALGORITHMS
from qmix_jax.learning.model import (
    Networks,
    central_networks,
    flat,
    greedy_actions,
    learned_step_weights,
    mix_steps,
    sequence_values,
    take_steps,
    unroll_sequences,
)
from qmix_jax.learning.rewards import scaled_rewards, standardise
from qmix_jax.learning.targets import batch_targets
from qmix_jax.learning.time_limit import bootstrap_from_cuts
from qmix_jax.types import Array, Cuts, Params, RewardStatistics, Transition


class BatchValues(NamedTuple):
    """Values at the K learned steps of B sequences, for each of V mixed values."""

    q_tot: Array  # float32[B, K, V], value of the actions taken
    td_error: Array  # float32[B, K, V], q_tot minus its target
    target_lag: Array  # float32[B, K, V], see `make_loss`
    step_weights: Array | None  # float32[B, K, 1], see `learned_step_weights`


# (params, target_params, sequences, weights float32[B] or None, statistics or None, cuts or None) -> loss, values
Loss = Callable[
    [Params, Params, Transition, Array | None, RewardStatistics | None, Cuts | None], tuple[Array, BatchValues]
]


def make_loss(config: Config, networks: Networks) -> Loss:
    """Build the loss: mean squared TD error of q_tot (Rashid et al. 2018, eq. 6), summed over mixed values.

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
    learned, following = config.learned_steps, config.bootstrap_steps
    algorithm, central = ALGORITHMS[config.algorithm], central_networks(networks)
    critic = networks if central is None else central  # its target network provides the targets

    def loss(
        params: Params,
        target_params: Params,
        batch: Transition,
        weights: Array | None = None,
        statistics: RewardStatistics | None = None,
        cuts: Cuts | None = None,
    ) -> tuple[Array, BatchValues]:
        chex.assert_shape(batch.done, (None, config.sample_length))
        first, later = take_steps(batch, learned), bootstrap_from_cuts(take_steps(batch, following), cuts)
        online, selector = online_values(config, networks, params, batch, later, cuts)
        q_tot = mix_steps(networks, params, online, first, first.actions)

        critic_params = target_params if central is None else target_params["central"]
        target_values = bootstrap_step_values(config, critic, critic_params, batch, later, cuts)
        if config.target == "td_lambda":
            actions = later.actions
            if cuts is not None:
                actions = jnp.where(cuts.here[..., None], greedy_actions(target_values, later), actions)
        elif selector is not None:
            actions = greedy_actions(selector, later)
        elif central is None:
            actions = greedy_actions(target_values, later)
        else:
            plain_values = bootstrap_step_values(config, networks, target_params, batch, later, cuts)
            actions = greedy_actions(plain_values, later)
        bootstrap_values = mix_steps(critic, critic_params, target_values, later, actions)
        target_lag = jnp.zeros_like(q_tot)
        if selector is not None and central is None:
            target_lag = jnp.abs(mix_steps(networks, target_params, selector, later, actions) - bootstrap_values)

        rewards = scaled_rewards(config, batch, algorithm.rewards)
        if statistics is not None:
            rewards = standardise(rewards, statistics, config.centre_rewards)
        target = batch_targets(config, rewards, batch, bootstrap_values)
        td_error = q_tot - jax.lax.stop_gradient(target)
        squares = jnp.square(td_error)
        if central is not None and algorithm.weighting is not None:
            q_star = sequence_values(central, params["central"], batch, learned)
            greedy = greedy_actions(online, first)
            target_q_star = sequence_values(central, target_params["central"], batch, learned)
            best = mix_steps(central, target_params["central"], target_q_star, first, greedy)
            is_best = jnp.all(greedy == first.actions, axis=-1, keepdims=True)
            fit = algorithm.weighting(q_tot, target, best, is_best, config.alpha)
            q_star_error = mix_steps(central, params["central"], q_star, first, first.actions) - target
            squares = jax.lax.stop_gradient(fit) * squares + jnp.square(q_star_error)
        if weights is not None:
            squares = weights[:, None, None] * squares
        step_weights = learned_step_weights(config, batch, cuts)
        if step_weights is not None:
            td_error, squares = (jnp.where(step_weights > 0.0, x, 0.0) for x in (td_error, squares))
            squares = step_weights * squares
        return jnp.mean(jnp.sum(squares, axis=-1)), BatchValues(q_tot, td_error, target_lag, step_weights)

    return loss


def online_values(
    config: Config, networks: Networks, params: Params, batch: Transition, later: Transition, cuts: Cuts | None
) -> tuple[Array, Array | None]:
    """Return the online agents' values at the learned steps, and without a gradient at the bootstrap steps.

    Both are float32[N, B * K, A]; the second is None if unused. A single pass computes both if it saves work: if the
    steps overlap, or if recurrent agents are unrolled through the learned steps anyway.
    """
    learned, following = config.learned_steps, config.bootstrap_steps
    if not config.online_chooses:
        return sequence_values(networks, params, batch, learned), None
    separate = following.start >= learned.stop or cuts is not None  # a cut's final step is not in the sequence
    if separate and not networks.agents.memory_size:
        values = bootstrap_step_values(config, networks, params, batch, later, cuts)
        return sequence_values(networks, params, batch, learned), jax.lax.stop_gradient(values)
    values, hidden_states = unroll_sequences(networks, params, batch, slice(learned.start, following.stop))
    first = values[:, :, : config.sequence_length]
    second = bootstrap_values_of(config, networks, params, values, hidden_states, later, cuts)
    return first.reshape(first.shape[0], -1, first.shape[-1]), jax.lax.stop_gradient(second)


def bootstrap_step_values(
    config: Config, networks: Networks, params: Params, batch: Transition, later: Transition, cuts: Cuts | None
) -> Array:
    """Return the agents' values at the steps that targets bootstrap from, `later`. float32[N, B * K, A]."""
    if not networks.agents.memory_size:
        return sequence_values(networks, params, later, slice(0, None))
    start = config.bootstrap_steps.start if cuts is None else config.burn_in
    values, hidden_states = unroll_sequences(networks, params, batch, slice(start, config.bootstrap_steps.stop))
    return bootstrap_values_of(config, networks, params, values, hidden_states, later, cuts)


def bootstrap_values_of(
    config: Config,
    networks: Networks,
    params: Params,
    values: Array,
    hidden_states: Array,
    later: Transition,
    cuts: Cuts | None,
) -> Array:
    """Select the bootstrap values from float32[N, B, T, A], which end at the batch's last step. float32[N, B * K, A].

    At truncations, recurrent agents continue from the truncated step's hidden state; with cuts, the hidden states
    `hidden_states`, float32[N, B, T, H], start at the first learned step.
    """
    values = values[:, :, -config.sequence_length :]
    values = values.reshape(values.shape[0], -1, values.shape[-1])
    if cuts is None:
        return values
    indices = jnp.arange(config.sequence_length)[None, :] + cuts.steps
    memory = jnp.take_along_axis(hidden_states, indices[None, :, :, None], axis=2)
    memory = jnp.moveaxis(memory.reshape(memory.shape[0], -1, memory.shape[-1]), 0, 1)
    final, _ = networks.agents.step(params["agents"], networks.views.agents(flat(later.observations)), memory)
    return jnp.where(cuts.here.reshape(1, -1, 1), final, values)
