"""What an update reads of its sample: all that does not depend on parameters.

Where replay is uniform, the trainer prepares the batches of many updates at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.learning.time_limit import bootstrap_from_cuts
from qmix_jax.networks.views import Views
from qmix_jax.types import Array, Cuts, Sample, Transition


class Steps(NamedTuple):
    """K steps of each of B sequences, in R = B * K rows."""

    features: Array  # float32[N, R, F], of the agents
    states: Array  # float32[R, G], of the mixer
    actions: Array  # int[B, K, N]
    action_mask: Array | None  # bool[R, N, A]


class Batch(NamedTuple):
    """B sequences of T steps, prepared for an update."""

    first: Steps  # the learned steps
    later: Steps  # the steps that their targets bootstrap from
    features: Array  # float32[N, B, T, F], of all steps
    memory: Array | None  # float32[B, N, H], the agents' hidden state before the first of them; None for zeros
    done: Array  # bool[B, T]
    rewards: Array  # float32[B, S, N], each agent's own, at the S steps that targets read
    cut: Array | None  # bool[B, S], which of these are truncations to bootstrap from; None for none
    cuts: Cuts | None
    step_weights: Array | None  # float32[B, K, 1], see `learned_step_weights`
    indices: Array | None  # int32[B], as in `Sample`
    probabilities: Array | None  # float32[B], as in `Sample`


def prepare(config: Config, views: Views, sample: Sample) -> Batch:
    """Encode a sample's observations and states, and find what its targets read."""
    sequences, cuts = sample.sequences, sample.cuts
    rewarded = slice(config.learned_steps.start, -1)

    def encode(steps: Transition) -> Steps:
        rows: Transition = jax.tree.map(flat, steps)
        features = views.agents(rows.observations)
        states = views.mixer(rows.observations, rows.state, rows.elapsed)
        return Steps(features, states, steps.actions, rows.action_mask)

    features = views.agents(flat(sequences.observations))
    return Batch(
        first=encode(take_steps(sequences, config.learned_steps)),
        later=encode(bootstrap_from_cuts(take_steps(sequences, config.bootstrap_steps), cuts)),
        features=features.reshape(-1, *sequences.done.shape, views.num_features),
        memory=None if sequences.memory is None else sequences.memory[:, 0],
        done=sequences.done,
        rewards=sequences.rewards[:, rewarded],
        cut=None if sequences.final_step is None else sequences.final_step[:, rewarded] >= 0,
        cuts=cuts,
        step_weights=learned_step_weights(config, sequences, cuts),
        indices=sample.indices,
        probabilities=sample.probabilities,
    )


def take_steps(sequences: Transition, steps: slice) -> Transition:
    """Slice the time axis of all sequences: [B, T, ...] -> [B, K, ...]."""
    return jax.tree.map(lambda x: x[:, steps], sequences)


def flat(x: Array) -> Array:
    """Merge the sequence and time axes: [B, K, ...] -> [B * K, ...]."""
    return x.reshape(-1, *x.shape[2:])


def learned_step_weights(config: Config, sequences: Transition, cuts: Cuts | None) -> Array | None:
    """Weights that restrict means over all learned steps to those trained on, float32[B, K, 1]; None: all are.

    Excluded are steps whose final step is no longer stored, and in sequences that begin with an episode
    (`--sequence_start episode`) the steps after its end. The others weigh alike and have mean 1 over all devices'
    batches.
    """
    included = None if cuts is None else cuts.known
    if config.sequence_start == "episode":
        done = sequences.done[:, config.learned_steps]
        ended = jnp.cumsum(done, axis=1) - done.astype(jnp.int32) > 0
        # Before a whole episode is stored, replay gives sequences that do not begin with one.
        within = ~ended & (sequences.elapsed[:, :1] == 0)
        included = within if included is None else included & within
    if included is None:
        return None
    flags = included.astype(jnp.float32)[..., None]
    return flags / jnp.maximum(mean_over_devices(jnp.mean(flags), config.num_devices), 1e-6)
