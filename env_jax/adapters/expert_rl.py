"""A drop-in for `expert_rl.GridWorld25v0`: change the import, and scripts written for it see the same trajectories.

Its interface follows that package's documentation and scripts that use it: `reset` and `setup` return (observations
float32[4, 18], info dict), `step` takes four integers for all agents and returns (observations, rewards, terminated,
truncated, info), and `action_space` is one agent's. Neither source says the following, which is assumed:

- `observation_space` is that of all four agents, as `reset` returns it; `rewards` is a list of four floats (as in
  lb-foraging), which `torch.FloatTensor` and `numpy` accept; `info` is empty.
- Another seed, given to `seed` or `reset`, draws another start, in both modes.
- `render` returns the picture in every mode but "human", where it opens a window if matplotlib can.

Unlike the original it writes files only on request: `save_animation` draws the whole episode, rendered or not.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

import gymnasium
import numpy as np

from env_jax.adapters.numpy_world import Cell, Food, NumpyWorld
from env_jax.gif import write_gif
from env_jax.gridworld.constants import GRID_SIZE, NUM_ACTIONS, NUM_AGENTS, NUM_FOODS, OBSERVATION_SIZE
from env_jax.gridworld.layouts import draw_start
from env_jax.gridworld.viewer import draw_state

_FIXED_SIZES = {"num_agents": NUM_AGENTS, "grid_size": GRID_SIZE}

Shown = tuple[np.ndarray, list[float], bool, bool, dict[str, Any]]


class GridWorld25v0(gymnasium.Env):
    """GridWorld25v0 as the PyTorch scripts use it: one environment, stepped from Python.

    `mode_1` draws a new start at every reset, `mode_2` draws one and restores it. `gamma` exists for scripts that read
    it; rewards are not discounted.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 4}  # noqa: RUF012 -- gymnasium's own form

    def __init__(
        self,
        seed: int = 73,
        num_agents: int = NUM_AGENTS,
        grid_size: int = GRID_SIZE,
        max_steps: int = 200,
        gamma: float = 0.95,
        render_mode: str | None = None,
        mode: str = "mode_2",
    ) -> None:
        """Make the environment; `reset` or `setup` starts an episode.

        Raises:
            ValueError: an argument is not supported by this environment.
        """
        for name, value in (("num_agents", num_agents), ("grid_size", grid_size)):
            if value != _FIXED_SIZES[name]:
                raise ValueError(f"{name} must be {_FIXED_SIZES[name]}, the only one of GridWorld25v0, not {value!r}")
        if mode not in ("mode_1", "mode_2"):
            raise ValueError(f"mode must be mode_1 (random starts) or mode_2 (one start), not {mode!r}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None, human or rgb_array, not {render_mode!r}")
        if max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, not {max_steps!r}")
        self.num_agents, self.grid_size, self.max_steps = num_agents, grid_size, max_steps
        self.gamma, self.render_mode, self.mode = gamma, render_mode, mode
        self.action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)
        self.observation_space = gymnasium.spaces.Box(0, GRID_SIZE - 1, (NUM_AGENTS, OBSERVATION_SIZE), np.float32)
        self._environment = NumpyWorld(max_steps)
        self._episode: deque[tuple[list[Cell], list[Food]]] = deque(maxlen=max_steps + 1)
        self._window: Any = None
        self.seed(seed)

    @property
    def agent_positions(self) -> list[Cell]:
        """Cells (x, y) of the four agents; may be set, or changed in place, between steps."""
        return self._environment.agents

    @agent_positions.setter
    def agent_positions(self, cells: Iterable[Sequence[int]]) -> None:
        agents = [(int(x), int(y)) for x, y in cells]
        if len(agents) != NUM_AGENTS or not _on_grid(agents):
            raise ValueError(f"agent_positions must be {NUM_AGENTS} cells (x, y) within 0..24, not {agents}")
        self._environment.agents = agents

    @property
    def food_positions(self) -> list[Food]:
        """Cells and levels (x, y, 1) of the foods that are left; may be set, or changed in place, between steps."""
        return self._environment.foods

    @food_positions.setter
    def food_positions(self, foods: Iterable[Sequence[int]]) -> None:
        placed = [(int(x), int(y), int(level)) for x, y, level in foods]
        if len(placed) > NUM_FOODS or not _on_grid(placed) or any(level != 1 for _, _, level in placed):
            raise ValueError(f"food_positions must be up to {NUM_FOODS} (x, y, 1), x and y within 0..24, not {placed}")
        self._environment.foods = placed

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Reseed the random numbers and discard the start of `mode_2`; None seeds from the system's entropy."""
        self.np_random = np.random.default_rng(seed)
        self._start: list[Cell] | None = None
        return [seed]

    def setup(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode: observations float32[4, 18] and an empty dict."""
        if self._start is None or self.mode == "mode_1":
            self._start = draw_start(self.np_random)
        self._environment.start(self._start)
        self._episode.clear()
        self._record()
        return self._environment.observe(), {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode, after `seed(seed)` if one is given; `options` are ignored."""
        if seed is not None:
            self.seed(seed)
        return self.setup()

    def step(self, actions: Sequence[int]) -> Shown:  # type: ignore[override]  # four agents' actions, not one's
        """Move all agents; actions outside 0..5 stay.

        Returns observations float32[4, 18], a list of each agent's reward, terminated, truncated and an empty dict.

        Raises:
            ValueError: not four actions, or no episode was started.
        """
        environment = self._environment
        if len(actions) != len(environment.agents):
            raise ValueError(f"step needs {NUM_AGENTS} actions, not {len(actions)}, and an episode that reset() began")
        rewards, terminated, truncated = environment.step(map(int, actions))
        self._record()
        return environment.observe(), rewards, terminated, truncated, {}

    def render(self) -> np.ndarray | None:
        """Return a picture of the current state, uint8[525, 525, 3]; "human" shows it instead, if it can."""
        picture = np.array(draw_state(self._environment.agents, self._environment.foods))
        if self.render_mode != "human":
            return picture
        self._show(picture)
        return None

    def save_animation(self, path: str | PathLike[str] = "animation.gif") -> None:
        """Write the episode so far as a GIF.

        Raises:
            ValueError: no episode was started.
            OSError: `path` cannot be written.
        """
        if not self._episode:
            raise ValueError("there is no episode to save before reset() or setup()")
        duration = round(1000 / self.metadata["render_fps"])
        write_gif(path, [draw_state(*state) for state in self._episode], [duration] * len(self._episode))

    def close(self) -> None:
        """Close the window, if one was opened."""
        if self._window is not None:
            from matplotlib import pyplot

            pyplot.close(self._window.figure)
            self._window = None

    def _record(self) -> None:
        self._episode.append((self._environment.agents, self._environment.foods))

    def _show(self, picture: np.ndarray) -> None:
        from matplotlib import pyplot

        if self._window is None:
            axes = pyplot.figure("GridWorld25v0").add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            self._window = axes.imshow(picture)
        self._window.set_data(picture)
        figure = self._window.figure
        figure.show(warn=False)
        figure.canvas.draw()
        figure.canvas.flush_events()


def _on_grid(cells: Sequence[Sequence[int]]) -> bool:
    return all(0 <= coordinate < GRID_SIZE for cell in cells for coordinate in cell[:2])
