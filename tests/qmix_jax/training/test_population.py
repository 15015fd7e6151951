"""Many runs as one program: each is the run that it would be alone, on one device or spread over several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit, small_config
from probes import Corridor

from qmix_jax.config import TRACEABLE
from qmix_jax.errors import ConfigError
from qmix_jax.training.population import is_shared, make_population, stack_states
from qmix_jax.training.trainer import make_trainer

SIZES = {
    "num_envs": 4,
    "total_steps": 120,
    "eval_interval": 60,
    "buffer_capacity": 120,
    "batch_size": 8,
    "min_buffer_size": 40,
    "target_update_interval": 3,
    "eval_episodes": 2,
    "greedy_envs": 0.0,
}
CONFIG = small_config(**SIZES, target_tau=0.5, epsilon_decay_steps=100)
WORLD = Corridor(max_steps=4)
# Settings that may be traced, each member with values of its own; others are of other replays, targets and algorithms.
VALUES = {
    name: [0.5 * getattr(CONFIG, name), getattr(CONFIG, name), 0.7 * getattr(CONFIG, name)]
    for name in TRACEABLE
    if name
    not in ("weight_decay", "importance_exponent", "priority_exponent", "td_lambda", "alpha", "shaped_reward_steps")
} | {"weight_decay": [0.0, 0.1, 0.01]}
SETTINGS = {name: jnp.array(values, jnp.float32) for name, values in VALUES.items()}


def keys_of(seeds):
    return jnp.stack([jax.random.key(seed) for seed in seeds])


def last(logs):
    return jax.tree.map(lambda x: x[-1], logs)


def run(config, settings, seeds, num_devices=1):
    """Return state, log of the last chunk and evaluation after two chunks."""
    members = make_population(config, WORLD, tuple(settings), num_devices)

    def train(settings, keys, eval_keys):
        state, logs = jax.lax.scan(
            lambda state, _: members.train_chunk(settings, state),
            members.init(settings, keys),
            length=config.num_chunks,
        )
        return state, last(logs), members.evaluate(settings, state.learner.params, eval_keys)

    # Key-reuse checks take vmap over a scanned split for a reuse (a false positive of JAX's).
    with jax.debug_key_reuse(False):
        return quick_jit(train)(settings, keys_of(seeds), keys_of([9] * len(seeds)))


@pytest.fixture(scope="module")
def together():
    return run(CONFIG, SETTINGS, range(3))


def test_a_member_of_many_is_that_run_alone(together):
    member = 2
    own = {name: values[member] for name, values in VALUES.items()}
    alone = small_config(**{**SIZES, **own, "epsilon_decay_steps": int(own["epsilon_decay_steps"])})
    trainer = make_trainer(alone, WORLD)

    def train(key):
        state, logs = jax.lax.scan(
            lambda state, _: trainer.train_chunk(state), trainer.init(key), length=alone.num_chunks
        )
        return state, last(logs)

    state, log = quick_jit(train)(jax.random.key(member))
    many, many_log, _ = together
    assert many.learner.updates == state.learner.updates == CONFIG.total_updates > 10
    np.testing.assert_array_equal(many.replay.experience.actions[member], state.replay.experience.actions)
    np.testing.assert_allclose(many_log.epsilon[member], log.epsilon, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[member], b, atol=1e-4), many.learner.params, state.learner.params
    )


def test_members_differ(together):
    _, log, evaluation = together
    assert len(np.unique(log.epsilon[:, -1])) == 3
    assert evaluation.mean_return.shape == (3,)


def test_members_spread_over_devices_are_the_same(together):
    settings = {name: jnp.append(values, values[-1:]) for name, values in SETTINGS.items()}
    state, log, _ = run(CONFIG, settings, [0, 1, 2, 2], num_devices=2)
    np.testing.assert_array_equal(state.replay.experience.actions[:3], together[0].replay.experience.actions)
    np.testing.assert_array_equal(log.finished[:3], together[1].finished)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[:3], b, atol=1e-4),
        state.learner.params,
        together[0].learner.params,
    )


def test_counters_are_shared(together):
    state = together[0]
    assert state.vector_step.shape == state.learner.updates.shape == state.replay.current_index.shape == ()
    assert is_shared("replay/current_index")
    assert not is_shared("replay/experience/actions")


def test_states_of_single_runs_stack_to_that_of_many(together):
    state = jax.device_get(together[0].replace(key=jax.random.key_data(jax.random.clone(together[0].key))))

    def row(member):
        def leaf_of(path, leaf):
            return leaf if is_shared(jax.tree_util.keystr(path, simple=True, separator="/")) else leaf[member]

        return jax.tree_util.tree_map_with_path(leaf_of, state)

    jax.tree.map(np.testing.assert_array_equal, stack_states([row(member) for member in range(3)]), state)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"replay": "prioritised"}, "priority_exponent"),
        ({"target": "q_lambda", "sequence_length": 3}, "td_lambda"),
        ({"target": "q_lambda", "sequence_length": 3, "replay": "none", "batch_size": 2}, "td_lambda"),
    ],
)
def test_settings_of_other_replays_and_targets_may_be_traced(settings, name):
    """Equal values give equal members, another one another."""
    sizes = SIZES
    if settings.get("replay") == "none":
        sizes = {name: SIZES[name] for name in ("num_envs", "total_steps", "eval_interval", "eval_episodes")}
    config = small_config(**{**sizes, **settings})
    state, _, _ = run(config, {name: jnp.array([0.2, 0.9, 0.9], jnp.float32)}, [0, 0, 0])
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.learner.params)]
    assert all(np.array_equal(leaf[1], leaf[2]) for leaf in leaves)
    assert not all(np.array_equal(leaf[0], leaf[1]) for leaf in leaves)


def test_what_shapes_the_program_cannot_be_traced():
    with pytest.raises(ConfigError, match="--n_step: cannot be traced; must be one of"):
        CONFIG.traced({"n_step": jnp.float32(3)})
