"""Returns of untrained policies from a run's evaluation starts."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.runs.compilation import run_once_options
from qmix_jax.storage.logs import logged
from qmix_jax.training.environments import make_environment
from qmix_jax.training.evaluation import BaselineReturns, baseline_returns, evaluation_key, random_return
from qmix_jax.training.pinning import pinned, seed_key


@cache
def _once(play: Callable[..., Any]) -> Any:
    """Compile `play(environment, key, num_episodes)` for few executions."""
    return jax.jit(play, static_argnums=(0, 2), compiler_options=run_once_options())


@pinned()
def play_baselines(config: Config, environment: Environment) -> BaselineReturns:
    """Play the environment's baseline and random actions from the run's evaluation starts. NumPy scalars."""
    return jax.device_get(
        _once(baseline_returns)(environment, evaluation_key(seed_key(config.seed)), config.eval_episodes)
    )


def play_random(config: Config) -> float:
    """Return the mean return of random actions from the run's evaluation starts, rounded as in logs and cached."""
    environment: Any = make_environment(config)
    return _random_return(environment, config.seed, config.eval_episodes)


@cache
@pinned()
def _random_return(environment: Environment, seed: int, num_episodes: int) -> float:
    return logged(float(_once(random_return)(environment, evaluation_key(seed_key(seed)), num_episodes)))
