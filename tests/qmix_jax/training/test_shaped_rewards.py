"""--shaped_reward_steps: what is trained on, and that nothing else sees it."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit, small_config
from probes import Corridor

from qmix_jax import Config, ConfigError, make_train
from qmix_jax.training.environments import choose_environment
from qmix_jax.training.trainer import make_trainer, shaped_rewards

ENVS, STEPS = 4, 12


@dataclass(frozen=True)
class Shaped(Corridor):
    """Each step's shaped rewards are 10 and 20, whatever is done."""

    @property
    def spec(self):
        return replace(super().spec, shaped_rewards=lambda state: jnp.array([10, 20]) + 0 * state.step)


CONFIG = small_config(
    algorithm="vdn", num_envs=ENVS, total_steps=ENVS * STEPS, buffer_capacity=400, min_buffer_size=16, batch_size=4
)
SHAPING = replace(CONFIG, shaped_reward_steps=24)


@pytest.mark.parametrize(("step", "weight"), [(0, 1.0), (3, 0.5), (6, 0.0), (100, 0.0)])
def test_the_weight_falls_linearly_to_zero(step, weight):
    states, _ = jax.vmap(Shaped().reset)(jax.random.split(jax.random.key(0), 5))
    rewards = shaped_rewards(SHAPING, Shaped().spec, jnp.int32(step), jnp.ones((5, 2)), states)
    np.testing.assert_allclose(rewards, np.tile([1 + 10 * weight, 1 + 20 * weight], (5, 1)))


def chunk(config, environment):
    trainer = make_trainer(config, environment)
    return quick_jit(trainer.train_chunk)(quick_jit(trainer.init)(jax.random.key(0)))


def test_replay_holds_them_and_logs_do_not():
    random = replace(SHAPING, epsilon_end=1.0, eval_interval=ENVS * STEPS)  # no learned action makes the runs differ
    (shaped, shaped_log), (plain, plain_log) = (
        chunk(config, Shaped(max_steps=3)) for config in (random, replace(random, shaped_reward_steps=None))
    )
    found, own = (state.replay.experience.rewards[:, :STEPS] for state in (shaped, plain))
    weights = np.maximum(0.0, 1.0 - ENVS * np.arange(STEPS) / 24)
    np.testing.assert_allclose(found - own, np.tile(weights[:, None] * [10, 20], (ENVS, 1, 1)), atol=1e-4)
    np.testing.assert_array_equal(shaped_log.episode_return, plain_log.episode_return)
    assert plain_log.finished.any()


def test_they_can_be_traced():
    """A sweep tries values of it in one program."""
    state = jax.eval_shape(
        lambda steps: make_trainer(SHAPING.traced({"shaped_reward_steps": steps}), Shaped()).init(jax.random.key(0)),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    assert state.replay is not None
    traced = SHAPING.traced({"shaped_reward_steps": jnp.float32(24)})
    states, _ = jax.vmap(Shaped().reset)(jax.random.split(jax.random.key(0), 1))
    rewards = shaped_rewards(traced, Shaped().spec, jnp.int32(3), jnp.zeros((1, 2)), states)
    np.testing.assert_allclose(rewards, [[5.0, 10.0]])


def test_no_value_is_bounded_by_the_best_return_then():
    for config, is_known in ((CONFIG, True), (SHAPING, False)):
        evaluation = jax.eval_shape(
            make_trainer(config, Bounded()).evaluate,
            jax.eval_shape(make_trainer(config, Bounded()).init, jax.random.key(0)).learner.params,
            jax.random.key(0),
        )
        assert (evaluation.q_bound is not None) is is_known


@dataclass(frozen=True)
class Bounded(Shaped):
    @property
    def spec(self):
        return replace(super().spec, best_return=lambda state, discount: discount)


@dataclass(frozen=True)
class OneForAll(Corridor):
    @property
    def spec(self):
        return replace(super().spec, shaped_rewards=lambda state: jnp.float32(1))


def test_an_environment_without_them_is_refused():
    with pytest.raises(ConfigError, match=r"^--shaped_reward_steps 24: Corridor has no shaped rewards$"):
        choose_environment(SHAPING, Corridor())
    with pytest.raises(ConfigError, match=r"spec\.shaped_rewards: gives float32\[\], must be float32\[2\]"):
        make_train(Config(), OneForAll())
    assert choose_environment(replace(SHAPING, last_action=True), Shaped()).spec.shaped_rewards is not None
