"""A policy that was loaded does what the run's networks say, in every shape in which it may be called."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, numpy_q_values, quick_jit, randomize, small_config
from saved_run import CONFIG, EPISODES, save_run, saved

import qmix_jax
from env_jax import GridWorld25
from env_jax.gridworld.encoding import encode_observations
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.storage.checkpoint import BEST, FINAL, Checkpoints, checkpoint_name
from qmix_jax.storage.directory import create_run_directory
from qmix_jax.storage.hparams import describe_run, write_hparams


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def random_views():
    generator = np.random.default_rng(0)
    views = generator.integers(0, 25, (2, 3, 4, 18)).astype(np.float32)
    views[..., [2, 5, 8, 11, 14]] = 1.0
    return views


@pytest.mark.parametrize(("which", "episodes"), [(FINAL, EPISODES[-1]), (BEST, 4), (checkpoint_name(0), 0)])
def test_it_chooses_what_the_saved_networks_value_most(run, random_views, which, episodes):
    views, params = random_views[0], saved(episodes).state.learner.params
    actions = quick_jit(qmix_jax.load_policy(run, which))(jax.random.key(0), views)
    assert actions.dtype == jnp.int32
    features = np.asarray(jax.vmap(encode_observations)(views))
    for batch, agent in np.ndindex(3, 4):
        network = jax.tree.map(lambda x, agent=agent: x[agent], params["agents"])
        q_values = numpy_q_values(network, features[batch, agent])
        # Networks of zeros and ones: some actions are as good as others.
        assert q_values[actions[batch, agent]] == pytest.approx(np.max(q_values), abs=1e-5)
        assert np.ptp(q_values) > 0.1


def test_batches_may_have_any_leading_dimensions(run, random_views):
    policy = qmix_jax.load_policy(str(run))
    whole = quick_jit(policy)(jax.random.key(0), random_views)
    one = quick_jit(policy)(jax.random.key(0), random_views[1, 2])
    rows = quick_jit(jax.vmap(policy, in_axes=(None, 0)))(jax.random.key(0), random_views[1])
    assert whole.shape == (2, 3, 4)
    np.testing.assert_array_equal(whole[1, 2], one)
    np.testing.assert_array_equal(whole[1], rows)


def test_it_knows_its_environment_and_does_only_what_is_allowed(run, random_views):
    policy = qmix_jax.load_policy(run)
    assert policy.config == CONFIG
    assert policy.environment == GridWorld25(max_steps=5)
    mask = np.zeros((3, 4, 6), bool)
    mask[..., 3] = True
    assert quick_jit(policy)(jax.random.key(0), random_views[0], mask).tolist() == [[3] * 4] * 3


def test_agents_with_a_memory_act_step_by_step():
    config = small_config(agent="gru", hidden_sizes=(8, 8))
    learner = make_learner(config, SPEC)
    params = randomize(jax.eval_shape(learner.init, jax.random.key(0)).params)
    policy = TrainedPolicy(config, SimpleNamespace(spec=SPEC), params, learner)
    seen = np.random.default_rng(1).normal(size=(2, 5, 2, 2)).astype(np.float32)
    with pytest.raises(ValueError, match="memory"):
        policy(jax.random.key(0), seen[0])

    step, memory, wanted_memory = quick_jit(policy.step), policy.init_memory(5), jnp.zeros((5, 2, 8))
    assert policy.init_memory().shape == (2, 8)
    for observations in seen:
        actions, memory = step(jax.random.key(0), observations, memory)
        q_values, wanted_memory = quick_jit(learner.q_values)(params, observations, wanted_memory)
        np.testing.assert_array_equal(actions, np.argmax(q_values, axis=-1).T)
        np.testing.assert_allclose(memory, wanted_memory, rtol=1e-6)
    assert np.abs(memory).min() > 0


@pytest.mark.parametrize("algorithm", ["vdn", "cw_qmix"])
def test_other_algorithms_are_read_back(tmp_path, algorithm):
    """VDN's mixer has no parameters, weighted QMIX's networks more."""
    config = small_config(algorithm=algorithm)
    spec = GridWorld25().spec
    directory = create_run_directory(str(tmp_path))
    write_hparams(directory.hparams, describe_run(config, GridWorld25()))
    shapes = jax.eval_shape(make_learner(config, spec).init, jax.random.key(0)).params
    params = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    with Checkpoints(directory.models, keep_resumable=1) as checkpoints:
        checkpoints.save(FINAL, params)
    loaded = qmix_jax.load_policy(directory.path).params
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize("changes", [{"hidden_sizes": [8]}, {"hidden_sizes": [4, 4]}, {"mixing_size": 5}])
def test_networks_that_are_not_those_of_the_settings_are_refused(tmp_path, changes):
    run = save_run(tmp_path)
    path = run / "configs" / "hparams.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DamagedError, match=r"parameters .* must be .* by hparams.json"):
        qmix_jax.load_policy(run)


def test_no_run_and_no_model(run, tmp_path):
    with pytest.raises(ConfigError, match="must be the folder of a run"):
        qmix_jax.load_policy(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint_ep5"):
        qmix_jax.load_policy(run, "checkpoint_ep5")
