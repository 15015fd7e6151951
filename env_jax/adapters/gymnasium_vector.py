"""GridWorld25 as a gymnasium `VectorEnv`: one controller for the whole team, many environments per compiled call."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from env_jax.gridworld import GridWorld25
from env_jax.gridworld.constants import GRID_SIZE, NUM_ACTIONS, NUM_AGENTS, OBSERVATION_SIZE
from env_jax.gridworld.state import State

Carry = tuple[jax.Array, State, jax.Array]  # every environment's key, state and observation
Tree = TypeVar("Tree")
Shown = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class GridWorldVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` environments: global states float32[72], joint actions of four agents, the team's reward.

    `autoreset_mode` is gymnasium's: NEXT_STEP returns a finished environment's last observation, and its next step is
    the reset; SAME_STEP returns the next episode's first observation, and the last one in `info["final_obs"]`;
    DISABLED leaves it to `reset(options={"reset_mask": mask})`.

    Environment i draws from its own generator, seeded with `seed + i`: it does not depend on `num_envs`.
    """

    def __init__(
        self,
        num_envs: int,
        mode: str = "fixed",
        layout_seed: int = 1,
        max_steps: int = 200,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        """Make the environments; `reset` starts their episodes.

        Raises:
            ValueError: `env_jax.GridWorld25` or gymnasium does not accept an argument.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs!r}")
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode(autoreset_mode), "render_modes": []}
        self.single_observation_space = Box(0, GRID_SIZE - 1, (NUM_AGENTS * OBSERVATION_SIZE,), np.float32)
        self.single_action_space = MultiDiscrete([NUM_ACTIONS] * NUM_AGENTS)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._environment = GridWorld25(mode, layout_seed, max_steps)
        self._carry: Carry | None = None
        self._ended = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start episodes: observations float32[num_envs, 72] and an empty dict.

        `seed` seeds environment i with `seed + i`, or with the i-th of a list (modulo 2**32); None continues the random
        numbers. `options["reset_mask"]`, bool[num_envs], resets only the selected environments.

        Raises:
            ValueError: seeds or mask of another length than `num_envs`, or a mask before the first reset.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        mask, before = (options or {}).get("reset_mask"), self._carry
        if mask is not None and (before is None or np.shape(mask) != (self.num_envs,)):
            raise ValueError(f"reset_mask must be bool[{self.num_envs}], after a first reset without one, not {mask!r}")
        keys = self._new_keys(seed)
        if mask is None or before is None:
            self._carry = _reset(self._environment, keys)
            self._ended = np.zeros(self.num_envs, bool)
        else:
            mask = np.asarray(mask, bool)
            if seed is not None:
                data = np.where(mask[:, None], jax.random.key_data(keys), jax.random.key_data(before[0]))
                keys = jax.random.wrap_key_data(jnp.asarray(data))
            keys, *begun = _reset(self._environment, keys)
            self._carry = (keys, *_merge(mask, tuple(begun), before[1:]))
            self._ended &= ~mask
        return np.array(self._carry[2]), {}

    def step(self, actions: np.ndarray) -> Shown:
        """Step every environment with joint actions int[num_envs, 4]; actions outside 0..5 stay.

        Returns observations float32[num_envs, 72], team rewards float64[num_envs], terminations and truncations
        bool[num_envs], and a dict, which holds the final observations in mode SAME_STEP.

        Raises:
            ValueError: no episode was started, actions have another shape, or with DISABLED an episode has ended.
        """
        actions = np.asarray(actions, np.int32)
        if self._carry is None:
            raise ValueError("there is no episode: call reset() first")
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions must have the shape {self.action_space.shape}, not {actions.shape}")
        mode = self.metadata["autoreset_mode"]
        if mode is AutoresetMode.DISABLED and self._ended.any():
            raise ValueError(
                f"environments {np.flatnonzero(self._ended).tolist()} have ended: reset them by reset_mask"
            )
        self._carry, shown = _step(self._environment, mode, self._carry, self._ended, actions)
        observations, last, rewards, terminated, truncated = map(np.array, jax.device_get((self._carry[2], *shown)))
        self._ended = terminated | truncated
        info: dict[str, Any] = {}
        if mode is AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(self._ended).tolist():
                info = self._add_info(info, {"final_obs": last[i], "final_info": {}}, i)
        return observations, rewards.astype(np.float64), terminated, truncated, info

    def _new_keys(self, seed: int | Sequence[int] | None) -> jax.Array:
        """Return the key of every environment's random numbers, key[num_envs]."""
        if seed is None and self._carry is not None:
            return self._carry[0]
        if seed is None:
            seeds = self.np_random.integers(2**32, size=self.num_envs).tolist()
        else:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be an integer or {self.num_envs} of them, not {len(seeds)}")
        return jax.vmap(jax.random.key)(np.array([number % 2**32 for number in seeds], np.uint32))


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0))
def _reset(environment: GridWorld25, key: jax.Array) -> Carry:
    """Start an episode of every environment."""
    key, reset_key = jax.random.split(key)
    state, time_step = environment.reset(reset_key)
    return key, state, time_step.state


@partial(jax.jit, static_argnums=(0, 1))
@partial(jax.vmap, in_axes=(None, None, 0, 0, 0))
def _step(
    environment: GridWorld25, mode: AutoresetMode, carry: Carry, ended: jax.Array, actions: jax.Array
) -> tuple[Carry, tuple[jax.Array, ...]]:
    """Step every environment. Also returns its last observation, team reward, termination and truncation."""
    key, state, _ = carry
    key, step_key, reset_key = jax.random.split(key, 3)
    state, stepped = environment.step(step_key, state, actions)
    observation = stepped.state
    if mode is not AutoresetMode.DISABLED:
        next_step = mode is AutoresetMode.NEXT_STEP
        over = ended if next_step else stepped.terminated | stepped.truncated
        first_state, first = environment.reset(reset_key)
        state, observation = _select(over, (first_state, first.state), (state, observation))
        if next_step:  # the step of an environment that had ended is its reset
            stepped = _select(over, first, stepped)
    shown = stepped.state, stepped.rewards.sum(), stepped.terminated, stepped.truncated
    return (key, state, observation), shown


def _select(condition: jax.Array, chosen: Tree, other: Tree) -> Tree:
    return jax.tree.map(partial(jnp.where, condition), chosen, other)


_merge = jax.jit(jax.vmap(_select))
