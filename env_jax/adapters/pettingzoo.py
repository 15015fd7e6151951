"""GridWorld25 as a PettingZoo parallel environment: dictionaries by agent, stepped without JAX."""

from typing import Any

import gymnasium
import numpy as np
import pettingzoo

from env_jax.adapters.numpy_world import NumpyWorld
from env_jax.gridworld.constants import GRID_SIZE, NUM_ACTIONS, NUM_AGENTS, OBSERVATION_SIZE
from env_jax.gridworld.environment import MODES
from env_jax.gridworld.layouts import draw_start
from env_jax.gridworld.viewer import draw_state

Agent = str
Shown = tuple[
    dict[Agent, np.ndarray], dict[Agent, float], dict[Agent, bool], dict[Agent, bool], dict[Agent, dict[str, Any]]
]


def parallel_env(
    mode: str = "fixed", layout_seed: int = 1, max_steps: int = 200, render_mode: str | None = None
) -> "ParallelGridWorld":
    """Make the environment as PettingZoo does; for the arguments see `ParallelGridWorld`."""
    return ParallelGridWorld(mode, layout_seed, max_steps, render_mode)


class ParallelGridWorld(pettingzoo.ParallelEnv[Agent, np.ndarray, int]):
    """Four agents "agent_0" .. "agent_3", each with its own view float32[18], six actions and its own reward.

    `mode` "fixed" starts every episode from the start of `layout_seed`, "random" from a new one. All agents leave
    together: when the last food is collected (terminated), or after `max_steps` steps (truncated).
    """

    metadata = {"name": "GridWorld25v0", "render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, mode: str, layout_seed: int, max_steps: int, render_mode: str | None) -> None:
        """Make the environment; `reset` starts an episode.

        Raises:
            ValueError: an argument is not supported by this environment.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, not {max_steps!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, not {render_mode!r}")
        self.render_mode = render_mode
        self.possible_agents = [f"agent_{i}" for i in range(NUM_AGENTS)]
        self.agents: list[Agent] = []
        highest = GRID_SIZE - 1
        self.observation_spaces = {
            agent: gymnasium.spaces.Box(0, highest, (OBSERVATION_SIZE,), np.float32) for agent in self.possible_agents
        }
        self.action_spaces: dict[Agent, gymnasium.spaces.Discrete] = {
            agent: gymnasium.spaces.Discrete(NUM_ACTIONS) for agent in self.possible_agents
        }
        self.state_space = gymnasium.spaces.Box(0, highest, (NUM_AGENTS * OBSERVATION_SIZE,), np.float32)
        self._start = draw_start(np.random.default_rng(layout_seed)) if mode == "fixed" else None
        self._random = np.random.default_rng()
        self._environment = NumpyWorld(max_steps)

    def observation_space(self, agent: Agent) -> gymnasium.spaces.Box:
        """Return the space of an agent's view."""
        return self.observation_spaces[agent]

    def action_space(self, agent: Agent) -> gymnasium.spaces.Discrete:
        """Return the space of an agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Agent, np.ndarray], dict[Agent, dict[str, Any]]]:
        """Start an episode; `seed` reseeds the random starts; `options` are ignored."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._environment.start(self._start or draw_start(self._random))
        self.agents = list(self.possible_agents)
        return dict(zip(self.agents, self._environment.observe(), strict=True)), {agent: {} for agent in self.agents}

    def step(self, actions: dict[Agent, int]) -> Shown:
        """Move all agents: their observations, rewards, terminations, truncations and empty dicts.

        Raises:
            ValueError: no episode is running, or an agent has no action.
        """
        agents = self.agents
        if not agents:
            raise ValueError("there is no episode: call reset() first")
        if actions.keys() != self.action_spaces.keys():
            raise ValueError(f"actions must be given for {', '.join(agents)}, not for {', '.join(actions) or 'none'}")
        rewards, terminated, truncated = self._environment.step([int(actions[agent]) for agent in agents])
        if terminated or truncated:
            self.agents = []
        return (
            dict(zip(agents, self._environment.observe(), strict=True)),
            dict(zip(agents, rewards, strict=True)),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: {} for agent in agents},
        )

    def state(self) -> np.ndarray:
        """Return the global state, float32[72]: the four observations, one after another."""
        return self._environment.observe().reshape(-1)

    def render(self) -> np.ndarray | None:
        """Return a picture of the current state, uint8[525, 525, 3], in mode "rgb_array"; else nothing."""
        if self.render_mode is None:
            return None
        return np.array(draw_state(self._environment.agents, self._environment.foods))
