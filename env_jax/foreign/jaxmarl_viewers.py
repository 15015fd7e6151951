"""Pictures of JaxMARL's environments by its own viewers. Host code."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import jax
import numpy as np
from jaxmarl.environments.mpe.simple import SimpleMPE
from jaxmarl.environments.overcooked import Overcooked
from jaxmarl.environments.overcooked_v2 import OvercookedV2
from jaxmarl.environments.smax import SMAX
from jaxmarl.environments.smax.heuristic_enemy_smax_env import EnemySMAX
from matplotlib.figure import Figure

from env_jax.foreign.figures import no_windows, pixels

Viewer = Callable[[Any], Any]  # the library's state -> uint8[H, W, 3]

_INCHES = 5.0  # sides of a picture, at 100 pixels an inch


def viewer(environment: Any) -> Viewer | None:
    """Return the function that draws a state of this environment; None where JaxMARL has none, or only prints."""
    if isinstance(environment, SimpleMPE):
        return _particles(environment)
    if isinstance(environment, SMAX | EnemySMAX):
        return _battle(environment)
    if isinstance(environment, Overcooked):
        return _kitchen(environment)
    return _kitchen_v2() if isinstance(environment, OvercookedV2) else None


def _particles(environment: Any) -> Viewer:
    def draw(state: Any) -> Any:
        from jaxmarl.environments.mpe.mpe_visualizer import MPEVisualizer

        with no_windows(), redirect_stdout(io.StringIO()):  # it prints whether agents communicate
            return pixels(MPEVisualizer(environment, [state]).fig)

    return draw


def _battle(environment: Any) -> Viewer:
    units = environment._env if isinstance(environment, EnemySMAX) else environment

    def draw(state: Any) -> Any:
        state = state.state if isinstance(environment, EnemySMAX) else state
        figure = Figure((_INCHES, _INCHES))
        shots = {agent: state.prev_attack_actions[unit] for unit, agent in enumerate(units.agents)}
        halfway = units.world_steps_per_env_step // 2  # where bullets are drawn
        with jax.disable_jit():  # its lax.cond would compile for every unit of every picture
            units.init_render(figure.add_subplot(), (None, state, shots), halfway, int(state.step))
        return pixels(figure)

    return draw


def _kitchen(environment: Any) -> Viewer:
    from jaxmarl.viz.overcooked_visualizer import OvercookedVisualizer

    padding = environment.agent_view_size - 2

    def draw(state: Any) -> Any:
        grid = np.asarray(state.maze_map)[padding:-padding, padding:-padding]
        return OvercookedVisualizer._render_grid(grid, agent_dir_idx=state.agent_dir_idx, agent_inv=state.agent_inv)

    return draw


def _kitchen_v2() -> Viewer | None:
    try:
        from jaxmarl.viz.overcooked_v2_visualizer import OvercookedV2Visualizer
    except ModuleNotFoundError:  # it needs imageio
        return None
    visualizer = OvercookedV2Visualizer()
    return lambda state: np.asarray(visualizer._render_state(state))
