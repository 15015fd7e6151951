"""GridWorld25 in JAX, a cooperative foraging environment, and the contract of environments. Needs no learner."""

from env_jax.checking import check_environment
from env_jax.contract import ContractError
from env_jax.gridworld import GridWorld25
from env_jax.gridworld.oracle import best_return, best_routes
from env_jax.gridworld.policies import greedy_nearest, random_policy
from env_jax.gridworld.state import State
from env_jax.last_action import LastAction
from env_jax.recording import Recording, record
from env_jax.types import Environment, EnvSpec, TimeStep

__all__ = [
    "ContractError",
    "EnvSpec",
    "Environment",
    "GridWorld25",
    "LastAction",
    "Recording",
    "State",
    "TimeStep",
    "best_return",
    "best_routes",
    "check_environment",
    "greedy_nearest",
    "random_policy",
    "record",
]
