"""Checks whether an environment keeps the contract of `types`: briefly before a run, at length for its author."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.contract import ContractError, check_shapes, described, expected_time_step, located, one_line
from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.picture import draw_state
from env_jax.rollout import RandomEpisodes, play_and_check, step_keys
from env_jax.types import Environment, TimeStep

_BRIEF_EPISODES, _BRIEF_SECONDS = 8, 2.0
_UNCOMPILED_STEPS = 3  # each is slower than a compiled episode


def check_briefly(environment: Environment) -> None:
    """Check spec, shapes, dtypes, and the values of random episodes for at most about 2 s after compilation.

    GridWorld25 is known to keep the contract and is not checked.

    Raises:
        ContractError: naming the field that breaks the contract.
    """
    inner = environment.environment if isinstance(environment, LastAction) else environment
    if type(inner) is not GridWorld25:
        check_shapes(inner)
        play_and_check(inner, _BRIEF_EPISODES, _BRIEF_SECONDS)


def check_environment(
    environment: Environment, num_episodes: int = 16, seconds: float = 30.0, seed: int = 0
) -> list[str]:
    """Check that an environment keeps the contract, like the checkers of gymnasium and PettingZoo.

    Checked are the spec's values, and shapes and dtypes by tracing. In episodes of random allowed actions: numbers are
    finite and fit the spec's dtype, masks and flags are consistent, episodes end in time; the same keys and actions
    give the same episodes bit for bit when traced again; `reset` and `step` give the same results without `jax.jit` and
    `jax.vmap`; the spec's baseline plays allowed actions, no random episode beats `best_return`, and `render` draws.

    Args:
        environment: the environment.
        num_episodes: episodes, played in parallel.
        seconds: time after which episodes are cut short.
        seed: of actions and keys.

    Returns:
        Notes on what is allowed but may be unintended, a line each.

    Raises:
        ContractError: naming the first field that breaks the contract, its value and what it must be.
    """
    shown = check_shapes(environment)
    episodes = play_and_check(environment, num_episodes, seconds, seed, keep=True)
    with jax.ensure_compile_time_eval():
        _check_again(environment, play_and_check(environment, num_episodes, seconds, seed, keep=True), episodes)
        _check_uncompiled(environment, episodes)
        _check_baseline(environment, episodes)
        _check_best_return(environment, episodes)
        _check_render(environment)
        return [
            *_dtype_notes(environment, shown),
            *_episode_notes(environment, episodes),
            *_key_notes(environment, episodes),
        ]


def _check_again(environment: Environment, again: RandomEpisodes, before: RandomEpisodes) -> None:
    """Refuse an environment whose episodes differ under equal keys."""
    for number, (one, other) in enumerate(zip(before.time_steps, again.time_steps, strict=False)):
        for name, (a, b) in _by_field(one, other).items():
            if not np.array_equal(a, b):
                message = f"{name}: differs between two runs of the same keys and actions, after {number} steps"
                raise ContractError(environment, f"{message}; must depend on nothing but key, state and actions")


def _check_uncompiled(environment: Environment, episodes: RandomEpisodes) -> None:
    """Refuse an environment whose first episode, uncompiled and unbatched, differs by more than rounding."""
    actions = episodes.actions[: min(_UNCOMPILED_STEPS, int(episodes.lengths[0]))]
    name = "reset"
    try:
        state, time_step = environment.reset(step_keys(episodes.keys, 0)[0])
        found = [time_step]
        name = "step"
        for number, joint in enumerate(actions, start=1):
            key = step_keys(episodes.keys, number)[0]
            state, time_step = environment.step(key, state, jnp.asarray(joint[0]))
            found.append(time_step)
    except Exception as error:  # whatever a third-party environment may raise
        raise ContractError(environment, f"{name}: cannot be run without jax.jit: {located(error)}") from error
    for number, (alone, compiled) in enumerate(zip(found, episodes.time_steps, strict=False)):
        for name, (a, b) in _by_field(alone, jax.tree.map(lambda x: x[0], compiled)).items():
            if not np.allclose(a, b, rtol=1e-4, atol=1e-5):
                raise ContractError(
                    environment, f"{name}: differs with and without jax.jit and jax.vmap, after {number} steps"
                )


def _check_baseline(environment: Environment, episodes: RandomEpisodes) -> None:
    spec, first = environment.spec, episodes.time_steps[0]
    if spec.baseline_policy is None:
        return
    observations = jnp.asarray(first.observations, jnp.float32)
    actions = np.asarray(jax.jit(jax.vmap(spec.baseline_policy))(step_keys(episodes.keys, 0), observations))
    if ((actions < 0) | (actions >= spec.num_actions)).any():
        wanted = f"an action from 0 to {spec.num_actions - 1}"
        raise ContractError(environment, f"spec.baseline_policy: {actions.min()} to {actions.max()}, must be {wanted}")


def _check_render(environment: Environment) -> None:
    if environment.spec.render is not None:
        draw_state(environment, environment.reset(jax.random.key(0))[0])


def _check_best_return(environment: Environment, episodes: RandomEpisodes) -> None:
    best_return = environment.spec.best_return
    if best_return is None:
        return
    discount = 0.95
    best = np.asarray(jax.jit(jax.vmap(best_return, in_axes=(0, None)))(episodes.starts, jnp.float32(discount)))
    steps = np.arange(len(episodes.actions))[:, None]
    rewards = np.stack([np.sum(step.rewards, axis=-1, dtype=np.float64) for step in episodes.time_steps[1:]])
    returns = np.sum(np.where(steps < episodes.lengths, discount**steps * rewards, 0.0), axis=0)
    beaten = episodes.ended & ~(returns <= best + 1e-4 * (1.0 + np.abs(best)))
    if beaten.any():
        wanted = f"at least {returns[beaten][0]:.4g}, what random actions got from the same start"
        raise ContractError(environment, f"spec.best_return: {best[beaten][0]:.4g}, must be {wanted}")


def _dtype_notes(environment: Environment, shown: tuple[TimeStep, TimeStep]) -> list[str]:
    wanted = expected_time_step(environment.spec)
    notes = []
    for name, (one, other) in _by_field(*shown, convert=lambda leaf: leaf).items():
        got = next((leaf for leaf in (one, other) if leaf.dtype != getattr(wanted, name).dtype), None)
        if got is not None:
            notes.append(f"{name}: {described(got)}, which training converts to {getattr(wanted, name).dtype}")
    return notes


def _episode_notes(environment: Environment, episodes: RandomEpisodes) -> list[str]:
    spec, first, later = environment.spec, episodes.time_steps[0], episodes.time_steps[1:]
    chosen_in = np.arange(len(later))[:, None] < episodes.lengths  # [T, K], masks of running episodes
    masks = np.stack([step.action_mask for step in episodes.time_steps[:-1]]).astype(bool)[chosen_in]
    starts = [x.reshape(len(x), -1) for x in (first.observations, first.state)]
    notes = []
    if len(episodes.lengths) > 1 and all((x == x[0]).all() for x in starts):
        notes.append("reset: every episode starts in the same state, whatever the key")
    if not episodes.ended.all():
        notes.append(
            f"truncated: {int((~episodes.ended).sum())} episodes were not played to their end: allow more seconds"
        )
    if np.any(first.rewards != 0):
        notes.append("rewards: not 0 after reset, where they are ignored")
    if not any(np.any(step.rewards != 0) for step in later):
        notes.append("rewards: always 0 under random actions")
    if spec.masks_actions and masks.all():
        notes.append("action_mask: no action was masked; with spec.masks_actions False replay need not store masks")
    if not masks.any(axis=-1).all():
        notes.append("action_mask: some agents had no allowed action; they take action 0")
    return notes


def _key_notes(environment: Environment, episodes: RandomEpisodes) -> list[str]:
    """Note where `reset` or `step` use a key twice, as far as JAX can tell."""
    state, actions = jax.tree.map(lambda x: x[0], episodes.starts), jnp.asarray(episodes.actions[0][0])
    calls: dict[str, Callable[[Any], Any]] = {
        "reset": lambda key: environment.reset(key),
        "step": lambda key: environment.step(key, state, actions),
    }
    notes = []
    for name, call in calls.items():
        try:
            with jax.debug_key_reuse(True):
                jax.jit(call)(jax.random.key(1))
        except jax.errors.KeyReuseError as error:
            notes.append(f"{name}: uses a key twice: {one_line(error)}")
    return notes


def _by_field(one: TimeStep, other: TimeStep, convert: Callable[[Any], Any] = np.asarray) -> dict[str, tuple[Any, Any]]:
    return {name: (convert(getattr(one, name)), convert(getattr(other, name))) for name in one.__dataclass_fields__}
