"""GridWorld25v0: cooperative foraging on 25 x 25 cells, its actions, and pictures of its episodes."""

from env_jax.gridworld.constants import ACTION_NAMES, COLLECT, DOWN, LEFT, RIGHT, STAY, UP
from env_jax.gridworld.environment import GridWorld25
from env_jax.gridworld.viewer import draw_frames, save_gif

__all__ = [
    "ACTION_NAMES",
    "COLLECT",
    "DOWN",
    "LEFT",
    "RIGHT",
    "STAY",
    "UP",
    "GridWorld25",
    "draw_frames",
    "save_gif",
]
