"""Random episodes whose values are checked against the contract, beyond shapes and dtypes."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.contract import ContractError, located
from env_jax.types import Array, Environment, TimeStep


class RandomEpisodes(NamedTuple):
    """K episodes of random actions, played in parallel, each to its end."""

    actions: list[np.ndarray]  # int32[K, N] each, by step
    keys: Array  # key[K] of the resets; folded with the step number, of the steps
    starts: Any  # the environment's states after the resets, batched over K
    time_steps: list[TimeStep]  # unconverted NumPy values, [K, ...] each, after the reset and every step
    lengths: np.ndarray  # int[K], steps made
    ended: np.ndarray  # bool[K], whether the episode ended within the time


def play_and_check(
    environment: Environment, num_episodes: int, seconds: float, seed: int = 0, keep: bool = False
) -> RandomEpisodes:
    """Play and check episodes of random allowed actions until all have ended or `seconds` have passed.

    May be called while JAX traces: it computes eagerly. `keep` keeps all time steps, not just the last.

    Raises:
        ContractError: naming the first field that breaks the contract.
    """
    with jax.ensure_compile_time_eval():
        return _play(environment, num_episodes, time.monotonic() + seconds, seed, keep)


def step_keys(keys: Array, step: int) -> Array:
    """Return the keys of a step (from 1) of every episode, key[K]; step 0 is the reset."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(jax.random.clone(keys), step)


def _play(environment: Environment, num_episodes: int, deadline: float, seed: int, keep: bool) -> RandomEpisodes:
    spec = environment.spec
    generator = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), num_episodes)
    shown = partial(_shown, environment)
    call = partial(_call, environment)
    reset, step = jax.jit(jax.vmap(shown(environment.reset))), jax.jit(jax.vmap(shown(environment.step)))
    state, time_step, derived = call("reset", reset, step_keys(keys, 0))
    starts, playing = state, np.ones(num_episodes, bool)
    check(environment, 0, time_step, derived, playing)
    kept, actions, lengths = [time_step], [], np.zeros(num_episodes, int)
    for number in range(1, spec.max_steps + 1):
        actions.append(random_actions(generator, time_step.action_mask))
        state, time_step, derived = call("step", step, step_keys(keys, number), state, jnp.asarray(actions[-1]))
        check(environment, number, time_step, derived, playing)
        kept = [*kept, time_step] if keep else [time_step]
        lengths += playing
        playing = playing & ~(time_step.terminated.astype(bool) | time_step.truncated.astype(bool))
        if not playing.any() or time.monotonic() > deadline:
            break
    return RandomEpisodes(actions, keys, starts, kept, lengths, ~playing)


def random_actions(generator: np.random.Generator, action_mask: np.ndarray) -> np.ndarray:
    """Draw an allowed action for every agent, int32[K, N], from masks [K, N, A]; 0 where none is allowed."""
    draws = generator.random(action_mask.shape) * (action_mask != 0)
    return np.argmax(draws, axis=-1).astype(np.int32)


def check(environment: Environment, step: int, shown: TimeStep, derived: Any, playing: np.ndarray) -> None:
    """Check the values after `step` steps (0: the reset) of running episodes against the contract.

    Args:
        environment: the environment.
        step: number of steps made.
        shown: unconverted NumPy values, [K, ...].
        derived: float[K, S], `spec.state_from_observations` of the observations; None without it.
        playing: bool[K], which episodes are running.

    Raises:
        ContractError: naming the first field that breaks the contract.
    """
    spec = environment.spec
    when = "after reset" if step == 0 else f"after {step} step{'s' * (step > 1)}"

    def refuse(name: str, wrong: np.ndarray, values: np.ndarray, wanted: str) -> None:
        if wrong[playing].any():
            first = values[playing][wrong[playing]].flat[0]
            raise ContractError(environment, f"{name}: {first} {when}, must {wanted}")

    observations = np.asarray(shown.observations, np.float64)
    refuse("observations", ~np.isfinite(observations), observations, "be finite")
    dtype = np.dtype(spec.observation_dtype)
    wanted = f"be held exactly by spec.observation_dtype, {dtype}{_range(dtype)}"
    refuse("observations", ~holds(dtype, observations), observations, wanted)
    states = np.asarray(shown.state, np.float64)
    refuse("state", ~np.isfinite(states), states, "be finite")
    if derived is not None:
        differs = ~np.isclose(states, derived, rtol=1e-6, atol=1e-6)
        refuse("state", differs, states, "equal spec.state_from_observations of the observations")
    masks = np.asarray(shown.action_mask, np.float64)
    refuse("action_mask", (masks != 0) & (masks != 1), masks, "be true or false")
    if not spec.masks_actions:
        refuse("action_mask", masks == 0, masks != 0, "be true for every action where spec.masks_actions is False")
    if step > 0:
        rewards = np.asarray(shown.rewards, np.float64)
        refuse("rewards", ~np.isfinite(rewards), rewards, "be finite")
    flags = {name: np.asarray(getattr(shown, name), np.float64) for name in ("terminated", "truncated")}
    for name, values in flags.items():
        refuse(name, (values != 0) & (values != 1), values, "be true or false")
        if step == 0:
            refuse(name, values == 1, values == 1, "be false")
    both = (flags["terminated"] == 1) & (flags["truncated"] == 1)
    refuse("truncated", both, both, "be false where terminated is true: an episode ends once")
    if step == spec.max_steps:
        goes_on = (flags["terminated"] == 0) & (flags["truncated"] == 0)
        refuse("truncated", goes_on, ~goes_on, f"be true unless terminated is: spec.max_steps is {step}")


def holds(dtype: np.dtype, values: np.ndarray) -> np.ndarray:
    """Return where `dtype` represents float64 `values` exactly."""
    if dtype == np.bool_:
        return (values == 0) | (values == 1)
    if jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        return (values == np.round(values)) & (limits.min <= values) & (values <= limits.max)
    with np.errstate(all="ignore"):
        return values.astype(np.float32).astype(dtype).astype(np.float64) == values


def _range(dtype: np.dtype) -> str:
    if not jnp.issubdtype(dtype, jnp.integer):
        return ""
    limits = jnp.iinfo(dtype)
    return f", whole numbers from {limits.min:,} to {limits.max:,}"


def _shown(environment: Environment, function: Callable[..., tuple[Any, TimeStep]]) -> Callable[..., Any]:
    """Return `function` that also returns `spec.state_from_observations` of its observations, if there is one."""
    derive = environment.spec.state_from_observations

    def called(*arguments: Any) -> tuple[Any, TimeStep, Any]:
        state, time_step = function(*arguments)
        derived = None if derive is None else derive(jnp.asarray(time_step.observations, jnp.float32))
        return state, time_step, derived

    return called


def _call(environment: Environment, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the state on the device, time step and derived state as NumPy arrays."""
    try:
        state, *rest = function(*arguments)
        return (state, *jax.device_get(rest))
    except Exception as error:  # whatever a third-party environment may raise
        raise ContractError(environment, f"{name}: cannot be run: {located(error)}") from error
