"""The contract of environments: reset and step functions, time steps, and a static description.

`TimeStep` and `EnvSpec` are the contract of any environment in this project.
Shapes: N agents, A actions, O numbers per observation, S numbers of global state, F encoded numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
from flax import struct

Array = jax.Array


@struct.dataclass
class TimeStep:
    """What an environment returns after a reset or a step."""

    observations: Array  # float32[N, O], one row per agent, raw values
    state: Array  # float32[S], global state, for centralised training only
    action_mask: Array  # bool[N, A], True where the action may be chosen; an agent with none takes action 0
    rewards: Array  # float32[N], each agent's own reward of this step (0 after a reset)
    terminated: Array  # bool[], the episode ended by itself
    truncated: Array  # bool[], the time limit ended the episode


@dataclass(frozen=True)
class EnvSpec:
    """Static description of an environment: sizes, time limit, and optional functions.

    Every callable but `render` is a pure, jittable function of unbatched arrays; callers vmap. `None` means that there
    is none.
    """

    name: str
    num_agents: int
    num_actions: int
    observation_size: int
    state_size: int
    max_steps: int  # the episode's time limit, in steps
    observation_dtype: Any  # smallest dtype that holds every observation value exactly; replay stores it
    masks_actions: bool = True  # False: every action is always allowed, so masks need no replay memory
    time_limit_is_terminal: bool = False  # True: the limit is part of the task, and the value after it is 0
    encode_observations: Callable[[Array], Array] | None = None  # float32[N, O] -> float32[N, F]
    state_from_observations: Callable[[Array], Array] | None = None  # float32[N, O] -> float32[S], exact
    encode_state: Callable[[Array], Array] | None = None  # float32[S] -> float32[G]
    best_return: Callable[[Any, Array], Array] | None = None  # (environment state, discount) -> float32[]
    baseline_policy: Callable[[Array, Array], Array] | None = None  # (key, float32[N, O]) -> int32[N]
    baseline_name: str = "baseline"  # its name in plots
    episode_metrics: Callable[[Any], dict[str, Array]] | None = None  # final state -> named scalars
    shaped_rewards: Callable[[Any], Array] | None = None  # environment state -> float32[N], of the step that led there
    success: Callable[[Any], Array] | None = None  # final state -> bool[], whether the episode achieved its goal
    agent_positions: Callable[[Any], Array] | None = None  # environment state -> [N, ...], each agent's position
    action_names: tuple[str, ...] | None = None  # A names of actions, for replays
    render: Callable[[Any], Any] | None = None  # state in NumPy arrays -> picture, uint8[H, W, 3]; host code


class Environment(Protocol):
    """The contract: two pure functions and a spec. `step` never resets by itself."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes, time limit and optional functions."""
        ...

    def reset(self, key: Array) -> tuple[Any, TimeStep]:
        """Start an episode."""
        ...

    def step(self, key: Array, state: Any, actions: Array) -> tuple[Any, TimeStep]:
        """Take one step with int32[N] actions."""
        ...
