"""Replay of short sequences, uniform or prioritised, on top of flashbax.

Four functions: init, add, sample, and reprioritise, which does nothing but for a prioritised buffer. `--replay none`
has the same with a buffer of one rollout: what every environment did since the last one was learned from.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp
import numpy as np
from flashbax.buffers import sum_tree

from env_jax.types import EnvSpec, TimeStep
from qmix_jax.config import Config
from qmix_jax.learning.batch import Batch
from qmix_jax.learning.time_limit import add_final_steps, bootstraps_at_limit, empty_final_steps, find_cuts
from qmix_jax.settings import ConfigError
from qmix_jax.types import Array, CutReplay, Sample, Transition


class Replay(NamedTuple):
    """A replay buffer as pure functions."""

    init: Callable[[], Any]  # () -> empty buffer state
    # (buffer state, one vector step's transitions, the time steps after them; both batched over E) -> buffer state
    add: Callable[[Any, Transition, TimeStep], Any]
    # (buffer state, random numbers uint32[2, B]; without replay the environments int32[B]) -> B sequences
    sample: Callable[[Any, Array], Sample]
    reprioritise: Callable[[Any, Batch, Array], Any]  # (buffer state, batch, priorities float32[B]) -> buffer state


def make_replay(config: Config, spec: EnvSpec, num_devices: int = 1) -> Replay:
    """Build the replay of `config`, or the share of one of `num_devices` devices."""
    num_envs = config.num_envs // num_devices
    _check_episodes(config, spec)
    sizes = {
        "add_batch_size": num_envs,
        "sample_batch_size": config.batch_size // num_devices,
        "sample_sequence_length": config.sample_length,
        "period": 1,
        "min_length_time_axis": config.sample_length,
        "max_length_time_axis": config.replay_capacity // config.num_envs,
    }
    with warnings.catch_warnings():
        # flashbax warns about overlapping sequences and this minimum length; both are intended.
        warnings.simplefilter("ignore")
        if config.replay == "prioritised":
            device = jax.default_backend()
            # flashbax needs a static exponent; ours may be traced, so `reprioritise` applies it.
            buffer: Any = flashbax.make_prioritised_trajectory_buffer(**sizes, priority_exponent=1.0, device=device)
        else:
            buffer = flashbax.make_trajectory_buffer(**sizes)

    def add(state: Any, transition: Transition, stepped: TimeStep) -> Any:
        with _flashbax_style():
            state = buffer.add(state, jax.tree.map(lambda x: x[:, None], transition))
            if config.replay == "prioritised":
                indices, priorities = _newest_priorities(state, config.sample_length)
                state = buffer.set_priorities(state, indices, priorities)
            return state

    def sample(state: Any, numbers: Array) -> Sample:
        if config.replay == "none":
            oldest, _ = _stored_rows(state)
            rollouts = read_sequences(state, numbers, jnp.broadcast_to(oldest, numbers.shape), config.sample_length)
            return Sample(rollouts, indices=None, probabilities=None)
        if config.sequence_start == "episode":
            sequences = sample_episodes(state, numbers[0], config.sample_length)
            return Sample(sequences, indices=None, probabilities=None)
        if config.replay == "uniform":
            return Sample(sample_sequences(state, numbers, config.sample_length), indices=None, probabilities=None)
        indices, probabilities = sample_by_priority(state.sum_tree_state, numbers[0])
        num_rows = state.experience.elapsed.shape[1]
        sequences = read_sequences(state, indices // num_rows, indices % num_rows, config.sample_length)
        return Sample(sequences, indices, probabilities)

    def reprioritise(state: Any, batch: Batch, priorities: Array) -> Any:
        if config.replay != "prioritised":
            return state
        assert batch.probabilities is not None
        # Empty slots keep priority 0: with exponent 0, 0 ** 0 would be 1.
        priorities = jnp.where(batch.probabilities > 0.0, priorities**config.priority_exponent, 0.0)
        with _flashbax_style():
            return buffer.set_priorities(state, batch.indices, priorities)

    if not bootstraps_at_limit(config, spec):
        return Replay(lambda: buffer.init(empty_transition(spec, config.stored_memory_size)), add, sample, reprioritise)

    def init_cut() -> CutReplay:
        transition = empty_transition(spec, config.stored_memory_size, bootstraps=True)
        return CutReplay(buffer.init(transition), empty_final_steps(config, spec, num_envs))

    def add_cut(state: CutReplay, transition: Transition, stepped: TimeStep) -> CutReplay:
        final_steps, numbers = add_final_steps(config, state.final_steps, stepped)
        return CutReplay(add(state.buffer, replace(transition, final_step=numbers), stepped), final_steps)

    def sample_cut(state: CutReplay, numbers: Array) -> Sample:
        drawn = sample(state.buffer, numbers)
        return drawn._replace(cuts=find_cuts(config, state.final_steps, drawn.sequences))

    def reprioritise_cut(state: CutReplay, batch: Batch, priorities: Array) -> CutReplay:
        return state._replace(buffer=reprioritise(state.buffer, batch, priorities))

    return Replay(init_cut, add_cut, sample_cut, reprioritise_cut)


def sample_sequences(state: Any, numbers: Array, length: int) -> Transition:
    """Sample sequences of T stored steps uniformly, from random numbers uint32[2, B]. [B, T, ...]

    The remainders of 32-bit numbers are uniform up to one part in 2^32 over the number of choices. Unlike
    flashbax's own sampling, this leaves it to the caller to draw the numbers of many updates at once.
    """
    num_envs, num_rows = state.experience.elapsed.shape
    oldest, stored = _stored_rows(state)
    environments, ages = numbers % jnp.stack([jnp.uint32(num_envs), (stored - length + 1).astype(jnp.uint32)])[:, None]
    starts = (oldest + ages.astype(jnp.int32)) % num_rows
    return read_sequences(state, environments.astype(jnp.int32), starts, length)


def shuffled_environments(key: Array, num_envs: int, batch_size: int) -> Array:
    """Draw one epoch's batches: all environments in a random order, int32[E // B, B]."""
    return jax.random.permutation(key, jnp.arange(num_envs, dtype=jnp.int32)).reshape(-1, batch_size)


def sample_episodes(state: Any, numbers: Array, length: int) -> Transition:
    """Sample sequences from the first steps of episodes, uniformly over all whose T steps are stored. [B, T, ...]

    `numbers` are random, uint32[B]. An episode shorter than T is followed by the next one's steps. Where no sequence
    qualifies, `elapsed` is 1 at the first step.
    """
    elapsed = state.experience.elapsed
    num_rows = elapsed.shape[1]
    oldest, stored = _stored_rows(state)
    age = (jnp.arange(num_rows) - oldest) % num_rows
    starts = (elapsed == 0) & (age + length <= stored)[None]
    count = jnp.cumsum(starts.reshape(-1), dtype=jnp.int32)
    found = count[-1] > 0
    ranks = (numbers % jnp.maximum(count[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
    index = jnp.minimum(jnp.searchsorted(count, ranks, side="right"), count.size - 1)
    sequences = read_sequences(state, index // num_rows, index % num_rows, length)
    return replace(sequences, elapsed=jnp.where(found, sequences.elapsed, jnp.uint16(1)))


def sample_by_priority(tree: Any, numbers: Array) -> tuple[Array, Array]:
    """Draw indices int32[B] with their probabilities float32[B], one from each of B equal shares of the sum of
    priorities (Schaul et al. 2016, appendix B.2.1), from random numbers uint32[B].
    """
    batch_size = numbers.shape[0]
    within = (numbers >> 8).astype(jnp.float32) * 2.0**-24  # all bits that a float32 below 1 holds
    points = (jnp.arange(batch_size, dtype=jnp.float32) + within) / batch_size
    with _flashbax_style():
        indices = jax.vmap(sum_tree.sample, in_axes=(None, None, 0))(tree, None, points)
        return indices, sum_tree.get_probability(tree, indices)


def read_sequences(state: Any, environments: Array, starts: Array, length: int) -> Transition:
    """Read the sequences of T steps that begin at rows int32[B] of environments int32[B]. [B, T, ...]"""
    rows = (starts[:, None] + jnp.arange(length)[None]) % state.experience.elapsed.shape[1]
    return jax.tree.map(lambda x: x[environments[:, None], rows], state.experience)


def _stored_rows(state: Any) -> tuple[Array, Array]:
    """Return the row of the oldest step, int32[], and how many rows are stored, int32[]."""
    num_rows = state.experience.elapsed.shape[1]
    oldest = jnp.where(state.is_full, state.current_index, 0)
    return oldest, jnp.where(state.is_full, num_rows, state.current_index)


def _newest_priorities(state: Any, sample_length: int) -> tuple[Array, Array]:
    """Return indices int32[E] and priorities float32[E] of the sequences that the last vector step completed.

    New sequences get the largest priority so far, to be drawn soon. flashbax 0.1.3 truncates it to an integer.
    """
    num_envs, length = jax.tree.leaves(state.experience)[0].shape[:2]
    start = state.running_index - sample_length  # negative until the first sequence is complete
    indices = jnp.arange(num_envs) * length + start % length
    largest = state.sum_tree_state.max_recorded_priority
    return indices, jnp.full(num_envs, jnp.where(start >= 0, largest, 0.0))


def _check_episodes(config: Config, spec: EnvSpec) -> None:
    """Refuse a replay in which no sequence would begin with an episode, if that is what is sampled.

    Raises:
        ConfigError: naming the capacity that is needed.
    """
    needed = (spec.max_steps + config.sample_length) * config.num_envs
    if config.sequence_start == "episode" and config.replay_capacity < needed:
        raise ConfigError(
            f"--buffer_capacity {config.buffer_capacity}: must be at least {needed} with --sequence_start episode: "
            f"--num_envs {config.num_envs} times an episode's {spec.max_steps} steps and a sequence's "
            f"{config.sample_length}"
        )


@contextmanager
def _flashbax_style() -> Iterator[None]:
    """Allow flashbax's rank and dtype promotion, which our tests forbid."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def action_dtype(num_actions: int) -> Any:
    """Return the smallest dtype that holds the actions."""
    return jnp.int8 if num_actions <= 127 else jnp.int32


def empty_transition(spec: EnvSpec, memory_size: int = 0, bootstraps: bool = False) -> Transition:
    """Return an unbatched transition of zeros, with the shapes and dtypes that replay stores.

    `memory_size`: width of the hidden state that is stored too, 0 for none. `bootstraps`: whether targets bootstrap at
    time limits, so that transitions refer to their final steps.
    """
    return Transition(
        observations=jnp.zeros((spec.num_agents, spec.observation_size), spec.observation_dtype),
        actions=jnp.zeros(spec.num_agents, action_dtype(spec.num_actions)),
        rewards=jnp.zeros(spec.num_agents, jnp.float32),
        done=jnp.zeros((), jnp.bool_),
        elapsed=jnp.zeros((), jnp.uint16),
        state=None if spec.state_from_observations else jnp.zeros(spec.state_size, jnp.float32),
        action_mask=jnp.ones((spec.num_agents, spec.num_actions), jnp.bool_) if spec.masks_actions else None,
        final_step=jnp.full((), -1, jnp.int32) if bootstraps else None,
        memory=jnp.zeros((spec.num_agents, memory_size), jnp.float32) if memory_size else None,
    )


def make_transition(
    spec: EnvSpec, time_step: TimeStep, actions: Array, next_time_step: TimeStep, elapsed: Array
) -> Transition:
    """Build the transition of one step of one environment."""
    return Transition(
        observations=time_step.observations.astype(spec.observation_dtype),
        actions=actions.astype(action_dtype(spec.num_actions)),
        rewards=next_time_step.rewards,
        done=next_time_step.terminated | next_time_step.truncated,
        elapsed=elapsed.astype(jnp.uint16),
        state=None if spec.state_from_observations else time_step.state,
        action_mask=time_step.action_mask if spec.masks_actions else None,
    )


def transition_bytes(spec: EnvSpec, memory_size: int = 0, bootstraps: bool = False) -> int:
    """Return the size of one stored transition in bytes; the rest as for `empty_transition`."""
    return _bytes(lambda: empty_transition(spec, memory_size, bootstraps))


def replay_bytes(config: Config, spec: EnvSpec) -> int:
    """Return the size of the replay in bytes, with the priority tree if any, without its few counters."""
    return _bytes(lambda: [leaf for leaf in jax.tree.leaves(make_replay(config, spec).init()) if leaf.ndim > 0])


def _bytes(make: Callable[[], Any]) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(make)))
