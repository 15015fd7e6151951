"""The environment's own baseline, from the starts that a policy is evaluated on."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from env_jax import GridWorld25
from qmix_jax.evaluation import evaluate, evaluate_baseline, extra_names

ENVIRONMENT = GridWorld25("random", max_steps=60)


def without_baseline():
    spec = replace(ENVIRONMENT.spec, baseline_policy=None, episode_metrics=None)
    return SimpleNamespace(spec=spec, reset=ENVIRONMENT.reset, step=ENVIRONMENT.step)


def test_the_baseline_plays_the_same_starts():
    baseline = jax.jit(lambda key: evaluate_baseline(ENVIRONMENT, key, 16))(jax.random.key(3))
    idle = jax.jit(lambda key: evaluate(ENVIRONMENT, lambda *_: (jnp.zeros((16, 4), jnp.int32), ()), key, 16))(
        jax.random.key(3)
    )
    np.testing.assert_allclose(baseline.best_return, idle.best_return)
    np.testing.assert_allclose(baseline.optimality, baseline.mean_return / baseline.best_return)
    assert baseline.solved > 0.7
    assert idle.solved == 0.0


def test_an_environment_without_a_baseline_is_refused():
    with pytest.raises(ValueError, match="GridWorld25v0 has no baseline policy"):
        evaluate_baseline(without_baseline(), jax.random.key(0), 2)


def test_names_of_the_environments_own_figures():
    assert extra_names(ENVIRONMENT) == ("foods_collected",)
    assert extra_names(without_baseline()) == ()
