"""What targets bootstrap from where a time limit cuts an episode (Pardo et al. 2018, "Time Limits in RL", section 3).

A limit that is no part of the task ends an episode but not the returns that values stand for: their targets read the
value of the final step, which replay's rows do not hold, since the next row begins another episode. Replay holds it
here, once for every truncated episode and not for every transition.
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
    """Whether targets read a value beyond the time limit: `--time_limit`, or what the environment says."""
    if config.time_limit == "auto":
        return not spec.time_limit_is_terminal
    return config.time_limit == "bootstrap"


def mixer_sees_clock(config: Config, spec: EnvSpec) -> bool:
    """Whether the mixer's state has the elapsed share of the episode.

    Not where targets bootstrap at the limit: no learned step is that late, so that the value of a final step would be
    an extrapolation, on which the next targets rest, and these grow without end.
    """
    return config.state_clock and not bootstraps_at_limit(config, spec)


def empty_final_steps(config: Config, spec: EnvSpec, num_envs: int) -> FinalSteps:
    """Room for the final steps of all episodes of `spec.max_steps` steps that replay holds."""
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
    """Keep what episodes showed that were truncated in a vector step.

    Of an environment that cuts episodes before `spec.max_steps`, entries may be overwritten whose transitions replay
    still holds; such targets are left out (`Cuts.known`).

    Args:
        config: of the run.
        final_steps: of E environments.
        stepped: what their actions led to, [E, ...].

    Returns:
        The final steps, and each environment's number for `Transition.final_step`, int32[E]: -1 where nothing was cut.
    """
    num_envs, slots = final_steps.observations.shape[:2]
    truncated = stepped.truncated & ~stepped.terminated
    environments = jnp.arange(num_envs)
    slot = jnp.where(truncated, final_steps.count % slots, slots)  # beyond the last one: dropped

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
    """Where the windows of sequences [B, T, ...] are cut by a truncation, with the final steps read back."""
    assert sequences.final_step is not None
    num_envs, slots = final_steps.observations.shape[:2]
    learned, window = config.learnt_steps, config.bootstrap_distance
    starts = jnp.arange(learned.start, learned.stop)[:, None] + jnp.arange(window)[None, :]
    done = sequences.done[:, starts]  # [B, K, n]
    steps = jnp.argmax(done, axis=-1).astype(jnp.int32)  # to the first end; 0 where there is none

    def at_end(rows: Array) -> Array:
        return jnp.take_along_axis(rows[:, starts], steps[..., None], axis=-1)[..., 0]

    numbers = at_end(sequences.final_step)
    here = (numbers >= 0) & jnp.any(done, axis=-1)
    environments = numbers % config.num_envs - first_environment(num_envs, config.num_devices)
    count = numbers // config.num_envs
    environments, slot = (jnp.where(here, index, 0) for index in (environments, count % slots))

    oldest = final_steps.count[environments] - slots  # that is still stored

    def read(kept: Any) -> Any:
        return None if kept is None else kept[environments, slot]

    return Cuts(
        here=here,
        known=_rest_on_known(config, sequences.done[:, learned], ~here | (count >= oldest)),
        steps=steps,
        observations=read(final_steps.observations),
        state=read(final_steps.state),
        action_mask=read(final_steps.action_mask),
        elapsed=at_end(sequences.elapsed) + jnp.uint16(1),
    )


def _rest_on_known(config: Config, done: Array, known: Array) -> Array:
    """Whether targets rest on known values alone, from whether their own windows do: bool[B, K], by learned step.

    A lambda return rests on all steps after its own until the episode's end.
    """
    if config.target == "n_step":
        return known

    def back(following: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        done_t, known_t = step
        rests = known_t & (done_t | following)
        return rests, rests

    _, rests = jax.lax.scan(back, jnp.ones_like(known[:, 0]), (done.T, known.T), reverse=True)
    return rests.T


def bootstrap_from_cuts(later: Transition, cuts: Cuts | None) -> Transition:
    """The steps that targets bootstrap from, [B, K, ...]: n steps on, or where a truncation came first, its final."""
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
