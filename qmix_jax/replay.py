"""Uniform replay of short sequences: flashbax's trajectory buffer behind three verbs, init, add and sample."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp
import numpy as np

from env_jax.types import EnvSpec, TimeStep
from qmix_jax.types import Array, Transition


class Replay(NamedTuple):
    """A replay buffer as three pure functions."""

    init: Callable[[], Any]  # () -> buffer state, empty
    add: Callable[[Any, Transition], Any]  # one vector step: Transition batched over E
    sample: Callable[[Any, Array], Transition]  # (buffer state, key) -> Transition batched [B, T]


def make_replay(spec: EnvSpec, num_envs: int, capacity: int, batch_size: int, sequence_length: int) -> Replay:
    """Replay of `capacity` transitions; a sample is `batch_size` sequences of consecutive steps of one environment.

    `capacity` must be a multiple of `num_envs`.
    """
    with warnings.catch_warnings():
        # Overlapping sequences and a minimum length equal to the sequence's are what we want.
        warnings.simplefilter("ignore")
        buffer = flashbax.make_trajectory_buffer(
            add_batch_size=num_envs,
            sample_batch_size=batch_size,
            sample_sequence_length=sequence_length,
            period=1,
            min_length_time_axis=sequence_length,
            max_length_time_axis=capacity // num_envs,
        )

    def add(state: Any, transition: Transition) -> Any:
        return buffer.add(state, jax.tree.map(lambda x: x[:, None], transition))

    def sample(state: Any, key: Array) -> Transition:
        with jax.numpy_rank_promotion("allow"):  # flashbax broadcasts; our own tests forbid it
            return buffer.sample(state, key).experience

    return Replay(
        init=lambda: buffer.init(empty_transition(spec)),
        add=add,
        sample=sample,
    )


def action_dtype(num_actions: int) -> Any:
    """Smallest dtype replay stores actions in."""
    return jnp.int8 if num_actions <= 127 else jnp.int32


def empty_transition(spec: EnvSpec) -> Transition:
    """One unbatched transition of zeros: shapes and dtypes of what replay stores."""
    return Transition(
        observations=jnp.zeros((spec.num_agents, spec.observation_size), spec.observation_dtype),
        actions=jnp.zeros(spec.num_agents, action_dtype(spec.num_actions)),
        rewards=jnp.zeros(spec.num_agents, jnp.float32),
        done=jnp.zeros((), jnp.bool_),
        elapsed=jnp.zeros((), jnp.uint16),
        state=None if spec.state_from_observations else jnp.zeros(spec.state_size, jnp.float32),
        action_mask=jnp.ones((spec.num_agents, spec.num_actions), jnp.bool_) if spec.masks_actions else None,
    )


def make_transition(
    spec: EnvSpec, time_step: TimeStep, actions: Array, next_time_step: TimeStep, elapsed: Array
) -> Transition:
    """What replay keeps of one step of one environment."""
    return Transition(
        observations=time_step.observations.astype(spec.observation_dtype),
        actions=actions.astype(action_dtype(spec.num_actions)),
        rewards=next_time_step.rewards,
        done=next_time_step.terminated | next_time_step.truncated,
        elapsed=elapsed.astype(jnp.uint16),
        state=None if spec.state_from_observations else time_step.state,
        action_mask=time_step.action_mask if spec.masks_actions else None,
    )


def transition_bytes(spec: EnvSpec) -> int:
    """Bytes of replay that one transition takes."""
    leaves = jax.tree.leaves(jax.eval_shape(lambda: empty_transition(spec)))
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)
