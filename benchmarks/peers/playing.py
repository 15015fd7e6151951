"""Plays both sides' greedy policies: the same evaluator, environment, time limit and random numbers."""

from typing import Any

import jax
import numpy as np
from peers.tasks import Task

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.training.environments import make_environment
from qmix_jax.training.evaluation import Policy, play_episodes

_SEED = 20_000  # of the episodes, far from the seeds that are trained with


def task_environment(task: Task) -> Environment:
    """Return the task's environment as our library's adapter makes it."""
    arguments = {**task.env_args, **({task.map_argument: task.map_name} if task.map_name else {})}
    words = tuple(f"{name}={str(value).lower()}" for name, value in arguments.items()) or None
    return make_environment(Config(env=task.env, env_args=words, max_steps_per_ep=task.max_steps))


def in_unit(task: Task, environment: Environment, team_return: float) -> float:
    """Turn a sum over agents into the task's unit."""
    return team_return if task.unit == "team" else team_return / environment.spec.num_agents


def final_figures(task: Task, environment: Environment, policy: Policy, memory: Any) -> dict[str, float | None]:
    """Play the final greedy policy.

    Args:
        task: the task.
        environment: its environment, which may show last actions.
        policy: the greedy policy.
        memory: its initial hidden state, for `task.episodes` episodes.
    """
    episodes = task.episodes
    play = jax.jit(lambda key, memory: play_episodes(environment, policy, key, episodes, memory))
    played = jax.device_get(play(jax.random.key(_SEED), memory))
    returns = played.extra["undiscounted_return"]
    return {
        "episodes": episodes,
        "return": in_unit(task, environment, float(np.mean(returns))),
        "return_error": in_unit(task, environment, float(np.std(returns) / np.sqrt(episodes))),
        "win_rate": None if played.solved is None else float(np.mean(played.solved)),
        "mean_length": float(np.mean(played.lengths)),
    }
