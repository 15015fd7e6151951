"""An environment that draws its states, and whose steps are random."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from probes import Probe

from qmix_jax.config import Config
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.policy import TrainedPolicy

SIDE = 20  # pixels


def draw(state):
    """Draw a bar as long as the episode, on a ground that shows the cue."""
    picture = np.full((SIDE, SIDE, 3), 255 if state.cue > 0 else 127, np.uint8)
    picture[: int(state.step)] = 0
    return picture


@dataclass(frozen=True)
class Drawn(Probe):
    """Rewards are random numbers of the step's key. The last action is never allowed."""

    max_steps: int = 6

    @property
    def spec(self):
        return replace(super().spec, render=draw, action_names=("wait", "one", "two"))

    def step(self, key, state, actions):
        state, time_step = super().step(key, state, actions)
        return state, replace(time_step, rewards=jax.random.normal(jax.random.clone(key), (2,)))

    def rewards(self, state, actions):
        return jnp.zeros(2)

    def show(self, *parts):
        time_step = super().show(*parts)
        return replace(time_step, action_mask=time_step.action_mask.at[:, -1].set(False))


def untrained(environment):
    """Return a policy of initial parameters, of a run with standardised rewards."""
    config = Config(hidden_sizes=(4,), mixing_size=4, hypernet_size=4, standardise_rewards=True)
    learner = make_learner(config, environment.spec)
    return TrainedPolicy(config, environment, learner.init(jax.random.key(0)).params, learner)
