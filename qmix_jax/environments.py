"""The environment that a configuration names. Nothing else in `qmix_jax` knows which world it trains in."""

from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.config import Config


def make_environment(config: Config) -> Environment:
    """The environment of `config`, with its own time limit."""
    world = GridWorld25(mode=config.env_mode, layout_seed=config.layout_seed, max_steps=config.max_steps_per_ep)
    return LastAction(world) if config.last_action else world
