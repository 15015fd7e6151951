"""The loss of a batch of sequences: every learnt step's TD error, for any mixer and target."""

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
    mix_steps,
    sequence_values,
    take_steps,
    unroll_sequences,
)
from qmix_jax.learning.rewards import learnt_rewards, standardise
from qmix_jax.learning.targets import batch_targets
from qmix_jax.learning.time_limit import bootstrap_from_cuts
from qmix_jax.types import Array, Cuts, Params, RewardStatistics, Transition


class BatchValues(NamedTuple):
    """What the loss computes for each of the B sequences' K learnt steps, and each of the V mixed values."""

    q_tot: Array  # float32[B, K, V], value of the actions taken
    td_error: Array  # float32[B, K, V], q_tot minus its target
    target_lag: Array  # float32[B, K, V], see `make_loss`


# (params, target_params, sequences, weights float32[B] or None, statistics or None, cuts or None) -> loss, values
Loss = Callable[
    [Params, Params, Transition, Array | None, RewardStatistics | None, Cuts | None], tuple[Array, BatchValues]
]


def make_loss(config: Config, networks: Networks) -> Loss:
    """Mean squared TD error of q_tot (Rashid et al. 2018, eq. 6), summed over mixed values, weighted by sequence.

    With statistics of the rewards they are standardised before targets are made of them.

    The target lag is |q_tot(online agents) - q_tot(target agents)| of the bootstrap's actions, both by the target
    mixer: how much of each target is due to the copy's age, in units of return. Double Q-learning has both agents'
    values anyway, and the mixer's weights serve twice. The mixer's own lag would need another pass, and so would
    the agents' where the online agents choose nothing, or another network gives the targets: it is 0 there.

    With cuts, targets bootstrap where a truncation cut an episode; TD(lambda) from the greedy actions of the final
    step, at which none was taken. Learned steps whose final step is no longer stored are left out.
    """
    learnt, following = config.learnt_steps, config.bootstrap_steps
    algorithm, central = ALGORITHMS[config.algorithm], central_networks(networks)
    critic = networks if central is None else central  # whose target network gives the targets

    def loss(
        params: Params,
        target_params: Params,
        batch: Transition,
        weights: Array | None = None,
        statistics: RewardStatistics | None = None,
        cuts: Cuts | None = None,
    ) -> tuple[Array, BatchValues]:
        chex.assert_shape(batch.done, (None, config.sample_length))
        first, later = take_steps(batch, learnt), bootstrap_from_cuts(take_steps(batch, following), cuts)
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

        rewards = learnt_rewards(config, batch, algorithm.rewards)
        if statistics is not None:
            rewards = standardise(rewards, statistics)
        target = batch_targets(config, rewards, batch, bootstrap_values)
        td_error = q_tot - jax.lax.stop_gradient(target)
        if cuts is not None:
            td_error = jnp.where(cuts.known[..., None], td_error, 0.0)
        squares = jnp.square(td_error)
        if central is not None and algorithm.weighting is not None:
            q_star = sequence_values(central, params["central"], batch, learnt)
            greedy = greedy_actions(online, first)
            best = mix_steps(central, params["central"], q_star, first, greedy)
            is_best = jnp.all(greedy == first.actions, axis=-1, keepdims=True)
            fit = algorithm.weighting(q_tot, target, best, is_best, config.alpha)
            q_star_error = mix_steps(central, params["central"], q_star, first, first.actions) - target
            squares = jax.lax.stop_gradient(fit) * squares + jnp.square(q_star_error)
        if weights is not None:
            squares = weights[:, None, None] * squares
        return jnp.mean(jnp.sum(squares, axis=-1)), BatchValues(q_tot, td_error, target_lag)

    return loss


def online_values(
    config: Config, networks: Networks, params: Params, batch: Transition, later: Transition, cuts: Cuts | None
) -> tuple[Array, Array | None]:
    """The online agents' values at the learnt steps, and without a gradient at the steps that targets bootstrap from.

    Both are float32[N, B * K, A]. The second is None where nothing reads it. One pass serves both where it saves work:
    where the two kinds of steps overlap, and where agents with a hidden state come by the first on their way to the
    second.
    """
    learnt, following = config.learnt_steps, config.bootstrap_steps
    if not config.online_chooses:
        return sequence_values(networks, params, batch, learnt), None
    apart = following.start >= learnt.stop or cuts is not None  # a cut's final step is none of the sequence's
    if apart and not networks.agents.memory_size:
        values = bootstrap_step_values(config, networks, params, batch, later, cuts)
        return sequence_values(networks, params, batch, learnt), jax.lax.stop_gradient(values)
    values, memories = unroll_sequences(networks, params, batch, slice(learnt.start, following.stop))
    first = values[:, :, : config.sequence_length]
    second = bootstrap_values_of(config, networks, params, values, memories, later, cuts)
    return first.reshape(first.shape[0], -1, first.shape[-1]), jax.lax.stop_gradient(second)


def bootstrap_step_values(
    config: Config, networks: Networks, params: Params, batch: Transition, later: Transition, cuts: Cuts | None
) -> Array:
    """The agents' values at the steps that targets bootstrap from, `later`. float32[N, B * K, A]."""
    if not networks.agents.memory_size:
        return sequence_values(networks, params, later, slice(0, None))
    start = config.bootstrap_steps.start if cuts is None else config.burn_in
    values, memories = unroll_sequences(networks, params, batch, slice(start, config.bootstrap_steps.stop))
    return bootstrap_values_of(config, networks, params, values, memories, later, cuts)


def bootstrap_values_of(
    config: Config,
    networks: Networks,
    params: Params,
    values: Array,
    memories: Array,
    later: Transition,
    cuts: Cuts | None,
) -> Array:
    """Of values float32[N, B, T, A] that end with the batch's last step, those to bootstrap from. float32[N, B * K, A].

    Where a truncation cut the window, agents with a hidden state go on from that of the truncated step; with cuts
    `memories`, float32[N, B, T, H], begin with the first learnt step.
    """
    values = values[:, :, -config.sequence_length :]
    values = values.reshape(values.shape[0], -1, values.shape[-1])
    if cuts is None:
        return values
    indices = jnp.arange(config.sequence_length)[None, :] + cuts.steps
    memory = jnp.take_along_axis(memories, indices[None, :, :, None], axis=2)
    memory = jnp.moveaxis(memory.reshape(memory.shape[0], -1, memory.shape[-1]), 0, 1)
    final, _ = networks.agents.step(params["agents"], networks.views.agents(flat(later.observations)), memory)
    return jnp.where(cuts.here.reshape(1, -1, 1), final, values)
