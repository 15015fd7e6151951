"""One run over several devices: the same gradient, the same learner everywhere, and every environment its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, make_single_update, quick_jit, random_batch, randomize, small_config, uniform
from jax.sharding import Mesh, PartitionSpec
from probes import Corridor

from qmix_jax.errors import ConfigError
from qmix_jax.learning.devices import AXIS
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.compilation import compile_programs, repeated_options
from qmix_jax.training.evaluation import evaluation_key
from qmix_jax.training.sharding import check_devices
from qmix_jax.training.trainer import make_trainer

DEVICES, ENVS, STEPS = 2, 8, 30


@pytest.mark.parametrize("num_devices", [2, 4])
def test_the_update_of_a_split_batch_is_that_of_the_whole(num_devices):
    def config(devices):
        parts = {"standardise_rewards": True, "central_value": True, "central_sizes": (8,)}
        return small_config(batch_size=16, n_step=2, max_grad_norm=0.5, num_devices=devices, **parts)

    alone, split = (make_learner(config(devices), SPEC) for devices in (1, num_devices))
    shapes = jax.eval_shape(alone.init, jax.random.key(0))
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state = state.replace(params=randomize(state.params), target_params=randomize(state.target_params, seed=1))
    batch = random_batch(np.random.default_rng(0), 16, 3)
    whole, share = PartitionSpec(), PartitionSpec(AXIS)
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))
    update = jax.shard_map(
        make_single_update(split), mesh=mesh, in_specs=(whole, share), out_specs=(whole, whole, share), check_vma=False
    )

    expected, expected_metrics, _ = jax.jit(make_single_update(alone))(state, uniform(batch))
    found, found_metrics, _ = jax.jit(update)(state, uniform(batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), expected, found)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), expected_metrics, found_metrics)
    assert expected_metrics.clipped == 1


REPLAYS = {
    "uniform": {"buffer_capacity": ENVS * STEPS, "min_buffer_size": 40, "batch_size": 8, "target_update_interval": 5},
    "none": {"replay": "none", "target": "q_lambda", "sequence_length": 4, "batch_size": 4, "agent": "gru"},
}


@pytest.fixture(scope="module", params=REPLAYS.values(), ids=REPLAYS)
def runs(request):
    """The same run on two devices twice: (state, log, evaluation) each."""
    config = small_config(
        **request.param,
        num_devices=DEVICES,
        num_envs=ENVS,
        total_steps=ENVS * STEPS,
        eval_interval=ENVS * STEPS,
        epsilon_end=0.5,
        epsilon_decay_steps=100,
        eval_episodes=4,
    )
    key = jax.random.key(0)
    programs = compile_programs(make_trainer(config, Corridor(max_steps=4)), key, evaluation_key(key))

    def run():
        state, log = programs.train_chunk(programs.init())
        params, updates, _ = programs.snapshot(state.learner)
        assert (
            updates == config.total_updates == ((ENVS * STEPS - 40) // 4 if config.replay == "uniform" else 7 * 4 * 2)
        )
        return state, log, programs.evaluate(params)

    return run(), run()


def test_two_runs_on_the_same_devices_are_the_same(runs):
    first, second = (jax.tree.leaves((state.learner, state.replay, *rest)) for state, *rest in runs)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


def test_each_device_holds_its_share(runs):
    state = runs[0][0]
    for leaf in jax.tree.leaves((state.replay.experience, state.env_state, state.episodes)):
        assert [shard.data.shape[0] for shard in leaf.addressable_shards] == [ENVS // DEVICES] * DEVICES


def test_all_devices_hold_the_same_learner(runs):
    for leaf in jax.tree.leaves(runs[0][0].learner):
        first, second = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        np.testing.assert_array_equal(first, second)


def test_the_devices_explore_independently(runs):
    actions = np.asarray(runs[0][0].replay.experience.actions)
    assert not np.array_equal(actions[: ENVS // DEVICES], actions[ENVS // DEVICES :])


def test_the_log_has_every_environment(runs):
    state, log, _ = runs[0]
    kept, at = np.asarray(state.replay.experience.done).T, int(state.replay.current_index)
    np.testing.assert_array_equal(log.finished[-len(kept) :], np.roll(kept, -at, axis=0))  # oldest first
    assert log.finished.any(axis=0).all()
    assert np.isfinite(log.step_updates.loss[-1])


@pytest.mark.parametrize("num_devices", [2, 4])
def test_an_evaluation_is_the_same_however_many_devices_share_it(num_devices):
    def evaluated(devices):
        trainer = make_trainer(small_config(num_envs=ENVS, num_devices=devices, eval_episodes=8), Corridor(max_steps=9))
        params = randomize(jax.eval_shape(trainer.init, jax.random.key(0)).learner.params)
        return jax.device_get(quick_jit(trainer.evaluate)(params, evaluation_key(jax.random.key(3))))

    alone, shared = evaluated(1), evaluated(num_devices)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), alone, shared)
    assert 1 < alone.mean_length < 9


def test_episodes_that_cannot_be_shared_out_are_played_by_every_device():
    assert small_config(num_devices=4, eval_episodes=8).eval_devices == 4
    assert small_config(num_devices=4, eval_episodes=6).eval_devices == 1


def test_missing_devices_are_refused():
    with pytest.raises(ConfigError, match=r"--num_devices 1000: must be at most \d+, the number of devices"):
        check_devices(1000)


@pytest.mark.parametrize("settings", [{"num_envs": 63}, {"batch_size": 63}])
def test_what_cannot_be_split_is_refused(settings):
    with pytest.raises(ConfigError, match=r"--\w+ 63: must be a multiple of --num_devices 2"):
        small_config(num_devices=2, **settings)


def test_only_runs_over_several_cores_are_compiled_for_them():
    alone = {"xla_cpu_multi_thread_eigen": False, "xla_cpu_use_fusion_emitters": False}
    assert not repeated_options(1).keys() & alone.keys()
    assert repeated_options(2) == repeated_options(1) | alone
