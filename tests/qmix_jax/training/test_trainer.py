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
