"""Bootstrapping at time limits (Pardo et al. 2018, "Time Limits in RL", section 3).

If the time limit is not part of the task, targets bootstrap from the final step of a truncated episode. The buffer's
next row belongs to another episode, so final steps are stored separately, once per truncated episode.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec, TimeStep
from qmix_jax.config import Config
from qmix_jax.learning.devices import first_environment
from qmix_jax.types import Array, Cuts, FinalSteps, Transition


def bootstraps_at_limit(config: Config, spec: EnvSpec) -> bool:
    """Whether targets bootstrap at the time limit: `--time_limit`, or the environment's default."""
    if config.time_limit == "auto":
        return not spec.time_limit_is_terminal
    return config.time_limit == "bootstrap"


def mixer_sees_clock(config: Config, spec: EnvSpec) -> bool:
    """Whether the mixer's state contains the elapsed fraction of the episode.

    Not if targets bootstrap at the limit: no learned step is that late, so the value of a final step would be an
    extrapolation in the clock, and targets built on it diverge.
    """
    return config.state_clock and not bootstraps_at_limit(config, spec)


def empty_final_steps(config: Config, spec: EnvSpec, num_envs: int) -> FinalSteps:
    """Allocate the final steps of as many episodes of `spec.max_steps` steps as fit in replay."""
    slots = -(-config.replay_capacity // config.num_envs // spec.max_steps)

    def empty(shape: tuple[int, ...], dtype: Any) -> Array:
        return jnp.zeros((num_envs, slots, *shape), dtype)

    return FinalSteps(
        observations=empty((spec.num_agents, spec.observation_size), spec.observation_dtype),
        state=None if spec.state_from_observations else empty((spec.state_size,), jnp.float32),
        action_mask=empty((spec.num_agents, spec.num_actions), jnp.bool_) if spec.masks_actions else None,
        count=jnp.zeros(num_envs, jnp.int32),
    )


def add_final_steps(config: Config, final_steps: FinalSteps, stepped: TimeStep) -> tuple[FinalSteps, Array]:
    """Store the final steps of episodes that were truncated in a vector step.

    If the environment truncates episodes before `spec.max_steps`, an entry may be overwritten while replay still holds
    its transitions; those targets are excluded (`Cuts.known`).

    Args:
        config: of the run.
        final_steps: of E environments.
        stepped: the time steps after the actions, [E, ...].

    Returns:
        The final steps, and `Transition.final_step` of each environment, int32[E]: -1 without a truncation.
    """
    num_envs, slots = final_steps.observations.shape[:2]
    truncated = stepped.truncated & ~stepped.terminated
    environments = jnp.arange(num_envs)
    slot = jnp.where(truncated, final_steps.count % slots, slots)  # out of range: dropped

    def keep(kept: Any, shown: Array) -> Any:
        return None if kept is None else kept.at[environments, slot].set(shown.astype(kept.dtype), mode="drop")

    number = final_steps.count * config.num_envs + environments + first_environment(num_envs, config.num_devices)
    final_steps = FinalSteps(
        observations=keep(final_steps.observations, stepped.observations),
        state=keep(final_steps.state, stepped.state),
        action_mask=keep(final_steps.action_mask, stepped.action_mask),
        count=final_steps.count + truncated.astype(jnp.int32),
    )
    return final_steps, jnp.where(truncated, number, -1)


def find_cuts(config: Config, final_steps: FinalSteps, sequences: Transition) -> Cuts:
    """Find truncations in the target windows of sequences [B, T, ...], and read their final steps."""
    assert sequences.final_step is not None
    num_envs, slots = final_steps.observations.shape[:2]
    learned, window = config.learned_steps, config.bootstrap_distance
    starts = jnp.arange(learned.start, learned.stop)[:, None] + jnp.arange(window)[None, :]
    done = sequences.done[:, starts]  # [B, K, n]
    steps = jnp.argmax(done, axis=-1).astype(jnp.int32)  # to the first end; 0 without one

    def at_end(rows: Array) -> Array:
        return jnp.take_along_axis(rows[:, starts], steps[..., None], axis=-1)[..., 0]

    numbers = at_end(sequences.final_step)
    here = (numbers >= 0) & jnp.any(done, axis=-1)
    environments = numbers % config.num_envs - first_environment(num_envs, config.num_devices)
    count = numbers // config.num_envs
    environments, slot = (jnp.where(here, index, 0) for index in (environments, count % slots))

    oldest = final_steps.count[environments] - slots  # oldest stored count

    def read(kept: Any) -> Any:
        return None if kept is None else kept[environments, slot]

    return Cuts(
        here=here,
        known=_depend_on_known(config, sequences.done[:, learned], ~here | (count >= oldest)),
        steps=steps,
        observations=read(final_steps.observations),
        state=read(final_steps.state),
        action_mask=read(final_steps.action_mask),
        elapsed=at_end(sequences.elapsed) + jnp.uint16(1),
    )


def _depend_on_known(config: Config, done: Array, known: Array) -> Array:
    """Whether each target depends on known values only, from whether its own window does: bool[B, K].

    A lambda return depends on all later steps of its episode.
    """
    if config.target == "n_step":
        return known

    def back(following: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        done_t, known_t = step
        depends = known_t & (done_t | following)
        return depends, depends

    _, depends = jax.lax.scan(back, jnp.ones_like(known[:, 0]), (done.T, known.T), reverse=True)
    return depends.T


def bootstrap_from_cuts(later: Transition, cuts: Cuts | None) -> Transition:
    """Return the steps to bootstrap from, [B, K, ...]: n steps later, or the final step of an earlier truncation."""
    if cuts is None:
        return later

    fields = ("observations", "state", "action_mask", "elapsed")
    final, others = ([getattr(steps, name) for name in fields] for steps in (cuts, later))
    chosen = jax.tree.map(
        lambda final, other: jnp.where(jnp.expand_dims(cuts.here, tuple(range(2, other.ndim))), final, other),
        final,
        others,
    )
    return replace(later, **dict(zip(fields, chosen, strict=True)))
