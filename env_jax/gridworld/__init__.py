"""GridWorld25v0: cooperative foraging on 25 x 25 cells, with its actions and pictures."""

from env_jax.gridworld.environment import GridWorld25

__all__ = ["GridWorld25"]
