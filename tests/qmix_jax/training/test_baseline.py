"""The environment's own baseline, from the starts that a policy is evaluated on."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit
from probes import Probe

from env_jax import GridWorld25
from qmix_jax.training.evaluation import baseline_name, baseline_policy, baseline_returns, evaluate, extra_names

ENVIRONMENT = GridWorld25("random", max_steps=60)


def without_baseline():
    spec = replace(ENVIRONMENT.spec, baseline_policy=None, episode_metrics=None)
    return SimpleNamespace(spec=spec, reset=ENVIRONMENT.reset, step=ENVIRONMENT.step)


def test_the_baseline_plays_the_same_starts():
    baseline = jax.jit(lambda key: evaluate(ENVIRONMENT, baseline_policy(ENVIRONMENT), key, 16))(jax.random.key(3))
    idle = jax.jit(lambda key: evaluate(ENVIRONMENT, lambda *_: (jnp.zeros((16, 4), jnp.int32), ()), key, 16))(
        jax.random.key(3)
    )
    np.testing.assert_allclose(baseline.best_return, idle.best_return)
    np.testing.assert_allclose(baseline.optimality, baseline.mean_return / baseline.best_return)
    assert baseline.solved > 0.7
    assert idle.solved == 0.0


@dataclass(frozen=True)
class Lever(Probe):
    """One step; agent 0 is paid 1 for action 0 of the allowed 0 and 1, agent 1 for action 2 of all three."""

    def action_mask(self, state):
        return jnp.array([[True, True, False], [True, True, True]])

    def rewards(self, state, actions):
        return (actions == jnp.array([0, 2])).astype(jnp.float32)


def test_an_environment_without_a_baseline_is_measured_against_random_allowed_actions():
    play = quick_jit(lambda key: evaluate(Lever(), baseline_policy(Lever()), key, 20_000))
    assert play(jax.random.key(0)).mean_return == pytest.approx(1 / 2 + 1 / 3, abs=0.02)  # its deviation is 0.005


def test_returns_of_all_baselines_from_the_same_starts():
    found = jax.jit(lambda key: baseline_returns(ENVIRONMENT, key, 16))(jax.random.key(3))
    assert found.own > 10 * found.random
    own, random = quick_jit(lambda key: baseline_returns(Lever(), key, 20_000))(jax.random.key(0))
    assert own == random == pytest.approx(1 / 2 + 1 / 3, abs=0.02)


def test_what_plots_call_the_baseline():
    assert baseline_name(ENVIRONMENT.spec) == "greedy-nearest"
    assert baseline_name(without_baseline().spec) == "random actions"


def test_names_of_the_environments_own_figures():
    assert extra_names(ENVIRONMENT) == ("foods_collected",)
    assert extra_names(without_baseline()) == ()
