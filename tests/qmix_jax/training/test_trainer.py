"""The fused program: reproducible, compiled once, the same in any chunks and under vmap, with one replay buffer."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_stubs, quick_jit, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import ConstantReward, Corridor

from env_jax import GridWorld25
from qmix_jax.config import Config
from qmix_jax.learning.learner import make_learner
from qmix_jax.training.replay import transition_bytes
from qmix_jax.training.trainer import make_trainer, updates_due, vector_step
from qmix_jax.types import UpdateMetrics

ENVS, STEPS = 4, 30


def _config(chunk=STEPS, **settings):
    defaults = {"num_envs": ENVS, "total_steps": ENVS * STEPS, "eval_interval": ENVS * chunk, "buffer_capacity": 80}
    learning = {"min_buffer_size": 20, "train_frequency": 3, "batch_size": 8, "n_step": 2, "target_update_interval": 5}
    exploring = {"epsilon_end": 0.5, "epsilon_decay_steps": 60, "greedy_envs": 0.0}
    return small_config(**{**defaults, **learning, **exploring, **settings})


class Run:
    """A trainer with its two functions compiled, and the number of times they were traced."""

    def __init__(self, config, environment, init=None):
        self.config = config
        trainer = make_trainer(config, environment)
        chex.clear_trace_counter()
        self.init = init or quick_jit(trainer.init)
        self.train_chunk = quick_jit(chex.assert_max_traces(trainer.train_chunk, n=1), donate_argnums=0)

    def __call__(self, seed):
        """Train to the end; assert on the way that each chunk is the same program."""
        state = self.init(jax.random.key(seed))
        for _ in range(self.config.num_chunks):
            state, _ = self.train_chunk(state)
        return state


def _numbers(tree):
    """Leaves as NumPy arrays, keys as their numbers."""
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


def _assert_equal(first, second):
    for x, y in zip(_numbers(first), _numbers(second), strict=True):
        np.testing.assert_array_equal(x, y)


def test_every_update_draws_its_own_batch():
    """With a replay that gives back its first random number, and a learner that writes down what it is given."""
    config, env = _config(train_frequency=1, min_buffer_size=0, n_step=1), Corridor()

    def init(key):
        state = make_trainer(config, env).init(key)
        return state.replace(
            learner=state.learner.replace(params=(), target_params=jnp.zeros(config.total_updates), optimizer_state=())
        )

    def update(state, number):
        records = state.target_params.at[state.updates].set(number.astype(jnp.float32))
        metrics = UpdateMetrics(*jnp.ones(len(UpdateMetrics._fields)))
        return state.replace(target_params=records, updates=state.updates + 1), metrics, jnp.ones(8)

    learner, replay = make_stubs(init, update, lambda numbers: numbers[0, 0], ENVS)

    def run(key):
        return jax.lax.scan(lambda s, _: vector_step(config, env, learner, replay, s), init(key), length=STEPS)

    state, _ = quick_jit(run)(jax.random.key(0))
    assert state.learner.updates == config.total_updates > 2 * STEPS
    assert len(np.unique(state.learner.target_params)) == config.total_updates


@pytest.fixture(scope="module")
def in_four_chunks():
    return Run(_config(chunk=9), Corridor())


@pytest.fixture(scope="module")
def in_one_chunk(in_four_chunks):
    return Run(_config(), Corridor(), in_four_chunks.init)


def test_the_same_seed_gives_the_same_bits_without_a_retrace(in_four_chunks):
    assert (in_four_chunks.config.chunk_length, in_four_chunks.config.num_chunks) == (8, 4)  # the last makes 6 steps
    first, second = in_four_chunks(0), in_four_chunks(0)
    _assert_equal(first, second)
    assert first.vector_step == STEPS
    assert first.learner.updates == in_four_chunks.config.total_updates == (120 - 20) // 3


def test_chunks_do_not_change_the_result(in_four_chunks, in_one_chunk):
    assert in_one_chunk.config.chunk_length == STEPS
    _assert_equal(in_four_chunks(0), in_one_chunk(0))


def test_steps_beyond_the_end_leave_no_trace(in_four_chunks):
    state = in_four_chunks(0)
    expected = _numbers(state)
    state, log = in_four_chunks.train_chunk(state)
    for before, after in zip(expected, _numbers(state), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not log.finished.any()
    assert not log.num_step_updates.any()
    assert log.epsilon.tolist() == [0.5] * 8


def test_another_seed_is_another_run(in_one_chunk):
    inits = [in_one_chunk.init(jax.random.key(seed)) for seed in (0, 1)]
    runs = [in_one_chunk(seed) for seed in (0, 1)]
    for first, second in (inits, runs):
        kernels = [state.learner.params["agents"]["params"]["Dense_0"]["kernel"] for state in (first, second)]
        assert not np.allclose(*kernels, atol=0.05)
        mixers = [state.learner.params["mixer"]["params"]["weights_1"]["kernel"] for state in (first, second)]
        assert not np.allclose(*mixers, atol=1e-3)
    assert not np.array_equal(*(state.replay.experience.actions for state in runs))


def test_the_steps_of_a_run_draw_from_different_keys(in_one_chunk):
    """Actions at epsilon near 1 do not repeat from one step to the next."""
    actions = np.asarray(in_one_chunk(0).replay.experience.actions)  # [E, rows, N]
    assert (actions[:, 1:] != actions[:, :-1]).mean() > 0.3
    assert (actions[:, :, 0] != actions[:, :, 1]).mean() > 0.3
    assert (actions[1:] != actions[:-1]).mean() > 0.3


def test_vmap_over_seeds_is_the_single_runs(in_one_chunk):
    trainer = make_trainer(in_one_chunk.config, Corridor())

    def run(key):
        return trainer.train_chunk(trainer.init(key))[0]

    with jax.debug_key_reuse(False):  # it mistakes a vmapped scan over split keys for a reuse
        together = quick_jit(jax.vmap(run))(jnp.stack([jax.random.key(seed) for seed in range(2)]))
    for seed in range(2):
        mine = jax.tree.map(lambda x, seed=seed: x[seed], together)
        for x, y in zip(_numbers(mine), _numbers(in_one_chunk(seed)), strict=True):
            if np.issubdtype(x.dtype, np.floating):
                np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)
            else:
                np.testing.assert_array_equal(x, y)


def test_counters_are_shared_by_vmapped_seeds():
    """A batched loop count would compute, and then discard, updates of the seeds that are done."""
    trainer = make_trainer(_config(), Corridor())

    def counters(key):
        state, _ = trainer.train_chunk(trainer.init(key))
        return state.vector_step, state.learner.updates, state.replay.current_index, state.replay.is_full

    keys = jnp.stack([jax.random.key(seed) for seed in range(2)])
    with jax.debug_key_reuse(False):
        shapes = jax.eval_shape(jax.vmap(counters, out_axes=None), keys)  # refuses an output that is batched
    assert all(leaf.shape == () for leaf in shapes)


def test_many_environments():
    """Four vector steps, the last two with updates, at the default capacity. One environment: see test_probes."""
    num_envs = 4096
    config = small_config(
        num_envs=num_envs,
        total_steps=4 * num_envs,
        eval_interval=4 * num_envs,
        min_buffer_size=2 * num_envs,
        train_frequency=num_envs,
        n_step=1,
        batch_size=4,
    )
    trainer = make_trainer(config, ConstantReward())
    state, log = quick_jit(lambda key: trainer.train_chunk(trainer.init(key)))(jax.random.key(0))
    assert state.learner.updates == 2
    assert log.finished.shape == (4, num_envs)
    assert log.finished.all()
    np.testing.assert_array_equal(log.episode_return, np.ones((4, num_envs)))
    np.testing.assert_array_equal(log.num_updates, [[0] * num_envs] * 2 + [[1] * num_envs] * 2)


def test_one_replay_buffer_and_no_copy():
    """Of a compiled chunk with 100,000 transitions; nothing is run."""
    env = GridWorld25()
    config = small_config(num_envs=64, eval_interval=64 * 20)
    trainer = make_trainer(config, env)
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    memory = jax.jit(trainer.train_chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    buffer = config.replay_capacity * transition_bytes(env.spec)
    assert buffer > 9e6
    assert memory.temp_size_in_bytes < buffer / 2
    # Donated: all of the new state is where the old one was.
    assert memory.alias_size_in_bytes == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


VECTOR_STEPS = 60


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 5), st.integers(1, 3), st.sampled_from((1, 2, 8)))
def test_without_replay_every_step_is_learned_from_once_an_epoch(length, n_step, epochs, batches):
    config = Config(
        replay="none",
        num_envs=16,
        batch_size=16 // batches,
        total_steps=16 * VECTOR_STEPS,
        sequence_length=length,
        n_step=n_step,
        epochs=epochs,
    )
    due = np.asarray(updates_due(config, jnp.arange(VECTOR_STEPS), jnp.int32(0)))
    assert due.sum() == config.total_updates
    assert set(due.tolist()) <= {0, epochs * batches}
    # A rollout ends when its last target can be computed, and the next one begins with the step after its last.
    assert (np.flatnonzero(due) + 1).tolist() == list(range(length + n_step, VECTOR_STEPS + 1, length))
    # After a resume without the rollout, the first one that is whole again.
    resumed = np.asarray(updates_due(config, jnp.arange(VECTOR_STEPS), jnp.int32(7)))
    assert np.flatnonzero(resumed).tolist() == [t for t in np.flatnonzero(due) if t + 1 - 7 >= length + n_step]


def test_without_replay_an_epoch_reads_every_rollout_once():
    """With a learner that writes down the environments it is given."""
    config, env = small_config(**{**ON_POLICY, "agent": "mlp"}), Corridor()

    def init(key):
        state = make_trainer(config, env).init(key)
        empty = jnp.zeros((config.total_updates, config.batch_size), jnp.int32)
        return state.replace(learner=state.learner.replace(params=(), target_params=empty, optimizer_state=()))

    def update(state, environments):
        records = state.target_params.at[state.updates].set(environments)
        metrics = UpdateMetrics(*jnp.ones(len(UpdateMetrics._fields)))
        return state.replace(target_params=records, updates=state.updates + 1), metrics, jnp.ones(8)

    learner, replay = make_stubs(init, update, lambda environments: environments, ENVS)

    def run(key):
        return jax.lax.scan(lambda s, _: vector_step(config, env, learner, replay, s), init(key), length=STEPS)

    state, _ = quick_jit(run)(jax.random.key(0))
    assert state.learner.updates == config.total_updates == 2 * 2 * 7
    epochs = np.asarray(state.learner.target_params).reshape(-1, ENVS)
    assert (np.sort(epochs, axis=1) == np.arange(ENVS)).all()
    assert len(np.unique(epochs, axis=0)) > 5  # in an order of its own


def test_without_replay_a_rollout_is_what_was_just_done(rollouts):
    """Rows end with the last step, and each holds the hidden state that its action was chosen from."""
    state = rollouts(0)
    oldest = int(state.replay.current_index)
    kept = jax.tree.map(lambda x: np.roll(np.asarray(x), -oldest, axis=1), state.replay.experience)
    assert kept.elapsed.shape == (ENVS, 5)
    assert state.learner.target_params is None
    np.testing.assert_array_equal(kept.memory[kept.elapsed == 0], 0.0)
    learner = make_learner(rollouts.config, Corridor().spec)
    # The last step was taken after the last update, with the parameters that are left.
    _, memory = learner.q_values(
        state.learner.params, jnp.asarray(kept.observations[:, -1]), jnp.asarray(kept.memory[:, -1])
    )
    going_on = ~kept.done[:, -1]
    assert going_on.any()
    np.testing.assert_allclose(state.memory[going_on], memory[going_on], rtol=1e-4, atol=1e-5)


def test_without_replay_chunks_and_seeds_do_not_change_the_result(rollouts):
    whole = Run(small_config(**{**ON_POLICY, "eval_interval": ENVS * STEPS}), Corridor(), rollouts.init)
    first, second = rollouts(0), whole(0)
    _assert_equal(first, second)
    assert first.learner.updates == rollouts.config.total_updates
    assert not np.array_equal(*(np.asarray(run.memory) for run in (first, rollouts(1))))


ON_POLICY = {
    "replay": "none",
    "num_envs": ENVS,
    "total_steps": ENVS * STEPS,
    "eval_interval": ENVS * 9,
    "sequence_length": 4,
    "batch_size": 2,
    "epochs": 2,
    "target": "q_lambda",
    "agent": "gru",
    "epsilon_end": 0.5,
    "epsilon_decay_steps": 60,
}


@pytest.fixture(scope="module")
def rollouts():
    return Run(small_config(**ON_POLICY), Corridor())


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(st.sampled_from((1, 3, 64, 512, 4096)), st.integers(1, 5000)),
    st.one_of(st.sampled_from((1, 4, 1000)), st.integers(1, 10_000)),
    st.integers(0, 100_000),
    st.integers(1, 5),
)
def test_updates_keep_the_replay_ratio(num_envs, train_frequency, min_buffer_size, n_step):
    config = Config(
        num_envs=num_envs,
        total_steps=num_envs * VECTOR_STEPS,
        train_frequency=train_frequency,
        min_buffer_size=min_buffer_size,
        buffer_capacity=200_000,
        n_step=n_step,
    )
    due = np.asarray(updates_due(config, jnp.arange(VECTOR_STEPS), jnp.int32(0)))
    collected = num_envs * np.arange(1, VECTOR_STEPS + 1)
    assert (due >= 0).all()
    assert due.sum() == config.total_updates
    # One sequence of every environment, and min_buffer_size transitions, before the first update.
    assert (due[collected < min_buffer_size] == 0).all()
    assert (due[:n_step] == 0).all()
    # At any time: the replay ratio, to less than one update.
    owed = np.maximum(collected - config.first_update_step, 0) / train_frequency
    assert (np.abs(np.cumsum(due) - owed) < 1).all()
