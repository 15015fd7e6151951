"""What the replay page shows of GridWorld25: positions, what each agent sees, the planner's routes.

Small numbers are strings, a base-36 digit each.
"""

from functools import cached_property
from typing import Any

import jax
import numpy as np

from env_jax.gridworld import GridWorld25
from env_jax.gridworld.constants import GRID_SIZE, NUM_FOODS, OBSERVATION_SIZE
from env_jax.gridworld.observations import SHOWN
from env_jax.gridworld.oracle import NO_FOOD, best_routes
from env_jax.gridworld.viewer import COMMUNICATION_PAIRS
from env_jax.last_action import LastAction
from env_jax.recording import Recording
from env_jax.types import Environment
from qmix_jax.training.evaluation import SCORE_DISCOUNT

_DIGITS = np.array(list("0123456789abcdefghijklmnopqrstuvwxyz"))


def is_gridworld(environment: Environment) -> bool:
    """Return whether this is GridWorld25, with or without last actions."""
    return isinstance(environment.environment if isinstance(environment, LastAction) else environment, GridWorld25)


class GridBoard:
    """The grid with agents and foods."""

    most_frames = 1_000_000  # a frame is a few digits

    def __init__(self, environment: Environment) -> None:
        self._size = environment.spec.observation_size

    def data(self) -> dict[str, Any]:
        """Return what all episodes share."""
        return {
            "kind": "grid",
            "size": GRID_SIZE,
            "foods": NUM_FOODS,
            "pairs": COMMUNICATION_PAIRS,
            "observation": {
                "size": self._size,
                "shown": SHOWN,
                "last_action": OBSERVATION_SIZE if self._size > OBSERVATION_SIZE else None,
            },
        }

    def episode(self, recording: Recording) -> dict[str, Any]:
        """Return positions, observations, the planner's routes and the outcome of an episode."""
        states, steps, _ = recording
        routes = self._routes(jax.tree.map(lambda x: x[0], states)).tolist()
        left = int(states.food_present[-1].sum())
        return {
            "outcome": f"time limit, {left} left" if left else "solved",
            "agents": _digits(states.agent_positions),
            "foods": _digits(states.food_positions[0]),
            "present": _digits(states.food_present),
            "seen": _digits(steps.observations),
            "routes": [[food for food in route if food != NO_FOOD] for route in routes],
        }

    @cached_property
    def _routes(self) -> Any:
        return jax.jit(lambda start: best_routes(start, SCORE_DISCOUNT))


def _digits(numbers: Any) -> str:
    return "".join(_DIGITS[np.asarray(numbers).astype(int).reshape(-1)])
