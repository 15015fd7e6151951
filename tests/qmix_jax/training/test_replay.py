"""What replay gives back is what it was given: consecutive steps of one environment, in few bytes."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, quick_jit
from scipy.stats import chisquare

from env_jax import GridWorld25
from env_jax.types import TimeStep
from qmix_jax.errors import ConfigError
from qmix_jax.learning.priorities import importance_weights, sequence_priorities, updated_priorities
from qmix_jax.training.replay import action_dtype, empty_transition, make_replay, make_transition, transition_bytes
from qmix_jax.types import Sample, Transition

ENVS, BATCH = 3, 400


def _replay(rows, length, batch=BATCH, spec=SPEC, envs=ENVS, replay="uniform", exponent=0.5, start="any"):
    """Return the replay of `rows` steps of every environment; batches may be larger than a run's may."""
    config = SimpleNamespace(
        num_envs=envs,
        replay_capacity=rows * envs,
        batch_size=batch,
        sample_length=length,
        replay=replay,
        priority_exponent=exponent,
        stored_memory_size=0,
        time_limit="auto",
        sequence_start=start,
        buffer_capacity=rows * envs,
    )
    return make_replay(config, spec)


KINDS = pytest.mark.parametrize("kind", ["uniform", "prioritised"])


def _number(envs, times):
    """A number for each environment and time that every field is derived from."""
    return 100 * times + envs


def _numbers(seed, batch=BATCH):
    """Random numbers for one batch, as the trainer draws them."""
    return jax.random.bits(jax.random.key(seed), (2, batch))


def _transition(number):
    """Return a transition whose every field tells its number; leading axes as in `number`."""
    number = np.asarray(number)
    per_agent = number[..., None] + np.array([0.0, 0.25])
    return Transition(
        observations=jnp.asarray(per_agent[..., None] + np.array([0.0, 0.5]), jnp.float32),
        actions=jnp.asarray((per_agent * 4 % 3).astype(np.int8)),
        rewards=jnp.asarray(-per_agent, jnp.float32),
        done=jnp.asarray(number % 7 == 0),
        elapsed=jnp.asarray(number.astype(np.uint16)),
        state=jnp.asarray(number[..., None] * np.array([1.0, 2.0, 3.0]), jnp.float32),
        action_mask=jnp.asarray((number[..., None, None] + np.arange(6).reshape(2, 3)) % 2 == 0),
    )


@KINDS
@pytest.mark.parametrize(("rows", "length"), [(4, 4), (7, 3), (5, 2)])
def test_sequences_are_consecutive_steps_of_one_environment(kind, rows, length):
    """Sampled after every step of three turns of the ring: never across the write head, and no valid start left out."""
    replay = _replay(rows, length, replay=kind)
    state = jax.jit(replay.init)()
    add, sample = quick_jit(replay.add, donate_argnums=0), quick_jit(replay.sample)
    for now in range(3 * rows):
        state = add(state, _transition(_number(np.arange(ENVS), now)), None)
        if now + 1 < length:
            continue
        batch = sample(state, _numbers(now)).sequences
        number = np.asarray(batch.elapsed, np.int32)
        envs, times = number % 100, number // 100
        assert (envs == envs[:, :1]).all()
        assert (np.diff(times, axis=1) == 1).all()
        starts = range(max(0, now + 1 - rows), now + 2 - length)
        seen = set(zip(envs[:, 0].tolist(), times[:, 0].tolist(), strict=True))
        assert seen == {(env, start) for env in range(ENVS) for start in starts}
        jax.tree.map(np.testing.assert_array_equal, batch, _transition(number))


@KINDS
def test_every_start_is_as_likely_at_first(kind):
    replay = _replay(8, 3, batch=6000, replay=kind)
    state = jax.jit(replay.init)()
    add = jax.jit(replay.add)
    for now in range(11):
        state = add(state, _transition(_number(np.arange(ENVS), now)), None)
    drawn = jax.jit(replay.sample)(state, _numbers(0, 6000))
    _, counts = np.unique(drawn.sequences.elapsed[:, 0], return_counts=True)
    assert len(counts) == ENVS * (8 - 3 + 1)
    assert chisquare(counts).pvalue > 1e-3


LIMIT = 5


def _episodes_of(env, now):
    """Steps into its episode of an environment at a time; environment e's episodes are of e + 3 steps."""
    return now % (env + 3)


@pytest.mark.parametrize("rows", [16, 23])
def test_sequences_of_whole_episodes_begin_at_every_stored_one_alike(rows):
    """Through two turns of the ring: only first steps of episodes whose whole window is stored, each as likely."""
    length = 4
    spec = replace(SPEC, max_steps=LIMIT)
    replay = _replay(rows, length, batch=3000, start="episode", spec=spec)
    state = jax.jit(replay.init)()
    add, sample = quick_jit(replay.add), quick_jit(replay.sample)
    envs = np.arange(ENVS)
    for now in range(2 * rows):
        steps = np.array([_episodes_of(env, now) for env in envs])
        transition = _transition(_number(envs, now)).replace(elapsed=jnp.asarray(steps, jnp.uint16))
        state = add(state, transition, None)
        if now + 1 < length or now % 5:
            continue
        batch = sample(state, _numbers(now, 3000)).sequences
        number = np.round(np.asarray(batch.observations)[:, :, 0, 0]).astype(int)
        times, found = number // 100, number % 100
        assert (found == found[:, :1]).all()
        assert (np.diff(times, axis=1) == 1).all()
        starts = range(max(0, now + 1 - rows), now + 2 - length)
        whole = {(env, start) for env in range(ENVS) for start in starts if _episodes_of(env, start) == 0}
        drawn, counts = np.unique(np.stack([found[:, 0], times[:, 0]], axis=1), axis=0, return_counts=True)
        assert set(map(tuple, drawn.tolist())) == whole
        assert chisquare(counts).pvalue > 1e-4
        np.testing.assert_array_equal(batch.elapsed[:, 0], 0)


def test_without_a_whole_episode_no_sequence_begins_one():
    """As in the first steps after a resume whose replay was not saved: they train on nothing."""
    replay = _replay(16, 4, start="episode", spec=replace(SPEC, max_steps=LIMIT))
    state = jax.jit(replay.init)()
    for now in range(6):
        transition = _transition(_number(np.arange(ENVS), now)).replace(elapsed=jnp.full(ENVS, 7 + now, jnp.uint16))
        state = quick_jit(replay.add)(state, transition, None)
    assert (np.asarray(quick_jit(replay.sample)(state, _numbers(0)).sequences.elapsed[:, 0]) > 0).all()


def test_a_replay_without_room_for_an_episode_and_a_sequence_is_refused():
    with pytest.raises(ConfigError, match=r"^--buffer_capacity 24: must be at least 27 with --sequence_start episode"):
        _replay(8, 4, start="episode", spec=replace(SPEC, max_steps=LIMIT))


def test_sequences_are_drawn_by_the_power_of_their_priority_and_weights_undo_it():
    """Against the formula (Schaul et al. 2016, eq. 1 and section 3.4), with a priority of its own for every start."""
    replay = _replay(8, 3, batch=20_000, replay="prioritised", exponent=0.5)
    state = jax.jit(replay.init)()
    add = jax.jit(replay.add)
    for now in range(8):
        state = add(state, _transition(_number(np.arange(ENVS), now)), None)
    sample, reprioritise = jax.jit(replay.sample), jax.jit(replay.reprioritise)
    first = sample(state, _numbers(0, 20000))
    numbers = np.asarray(first.sequences.elapsed[:, 0], np.int32)
    np.testing.assert_allclose(first.probabilities, 1 / 18, rtol=1e-5)  # 3 environments, 6 starts each
    state = reprioritise(state, first, 1.0 + jnp.asarray(numbers, jnp.float32))
    again = sample(state, _numbers(1, 20000))
    numbers = np.asarray(again.sequences.elapsed[:, 0], np.int32)
    starts, counts = np.unique(numbers, return_counts=True)
    chances = (1.0 + starts) ** 0.5 / ((1.0 + starts) ** 0.5).sum()
    assert len(starts) == 18
    assert chisquare(counts, chances * counts.sum()).pvalue > 1e-3
    expected = chances[np.searchsorted(starts, numbers)]
    np.testing.assert_allclose(again.probabilities, expected, rtol=1e-4)
    weights = importance_weights(again.probabilities, jnp.float32(0.7))
    slow = (len(starts) * expected) ** -0.7
    np.testing.assert_allclose(weights, slow / slow.max(), rtol=1e-4)
    # At exponent 1 a weighted mean over the draw is one over all starts, up to the weights' common factor.
    undone = importance_weights(again.probabilities, jnp.float32(1.0))
    assert np.average(numbers, weights=undone) == pytest.approx(starts.mean(), rel=0.02)


def test_what_is_not_stored_has_neither_weight_nor_priority():
    """Rounded sums of priorities lead a draw there once in some ten thousand batches: its probability is 0."""
    np.testing.assert_allclose(importance_weights(jnp.array([0.4, 0.0, 0.1]), jnp.float32(0.5)), [0.5, 0.0, 1.0])
    replay = _replay(8, 3, batch=2, replay="prioritised")
    drawn = Sample(None, indices=jnp.array([0, 6]), probabilities=jnp.array([0.1, 0.0]))
    state = quick_jit(replay.reprioritise)(quick_jit(replay.init)(), drawn, jnp.full(2, 4.0))
    np.testing.assert_allclose(state.sum_tree_state.nodes[-32:], 2.0 * np.eye(32)[0])
    replay = _replay(8, 3, batch=2, replay="prioritised", exponent=0.0)  # draws alike what is stored, and nothing else
    state = quick_jit(replay.reprioritise)(quick_jit(replay.init)(), drawn, jnp.full(2, 4.0))
    np.testing.assert_allclose(state.sum_tree_state.nodes[-32:], np.eye(32)[0])


@pytest.mark.parametrize("largest", [5.0, 2.62, 1.5])
def test_new_steps_have_the_largest_priority(largest):
    replay = _replay(8, 3, batch=100, replay="prioritised", exponent=1.0)
    state = jax.jit(replay.init)()
    add = jax.jit(replay.add)
    for now in range(4):
        state = add(state, _transition(_number(np.arange(ENVS), now)), None)
    drawn = replay.sample(state, _numbers(0, 100))
    state = replay.reprioritise(state, drawn, jnp.full(100, largest).at[0].set(0.5))
    state = add(state, _transition(_number(np.arange(ENVS), 4)), None)
    drawn = replay.sample(state, _numbers(1, 100))
    newest = np.asarray(drawn.sequences.elapsed[:, 0], np.int32) // 100 == 2
    assert newest.any()
    np.testing.assert_allclose(drawn.probabilities[newest], np.max(drawn.probabilities), rtol=1e-5)


def test_priorities_of_sequences():
    errors = jnp.array([[[1.0, -4.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(sequence_priorities(errors), [0.9 * 4 + 0.1 * 2 + 1e-6, 1e-6], rtol=1e-5)
    np.testing.assert_allclose(sequence_priorities(jnp.array([[[-2.0]]])), [2 + 1e-6], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])  # the last one's square is not finite
def test_of_an_update_that_was_skipped_only_the_sequences_at_fault_are_put_off(bad):
    errors = jnp.array([[[2.0]], [[bad]], [[-1.0]]])
    np.testing.assert_allclose(updated_priorities(errors, jnp.array(False)), [2, 1e-6, 1], rtol=1e-5)
    finite = errors.at[1].set(3.0)
    np.testing.assert_allclose(updated_priorities(finite, jnp.array(True)), [2, 3, 1], rtol=1e-5)
    np.testing.assert_allclose(updated_priorities(finite, jnp.array(False)), [1e-6] * 3)  # the gradient was at fault


def test_stored_types_are_those_promised():
    replay = _replay(4, 2)
    stored = jax.eval_shape(replay.sample, jax.eval_shape(replay.init), _numbers(0)).sequences
    promised = jax.eval_shape(lambda: empty_transition(SPEC))
    for leaf, single in zip(jax.tree.leaves(stored), jax.tree.leaves(promised), strict=True):
        assert (leaf.dtype, leaf.shape) == (single.dtype, (BATCH, 2, *single.shape))


def _buffer_bytes(spec, envs, capacity):
    state = jax.eval_shape(_replay(capacity // envs, 4, 8, spec, envs).init)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.experience))


def test_bytes_per_transition():
    # 2 agents: observations 2 x 2 x 4, actions 2, rewards 2 x 4, done 1, elapsed 2, state 3 x 4, masks 2 x 3
    assert transition_bytes(SPEC) == 16 + 2 + 8 + 1 + 2 + 12 + 6
    assert transition_bytes(replace(SPEC, masks_actions=False)) == 41
    for spec in (SPEC, GridWorld25().spec):
        assert _buffer_bytes(spec, 64, 6400) == 6400 * transition_bytes(spec)


def test_gridworld_needs_at_most_100_bytes():
    assert transition_bytes(GridWorld25().spec) <= 100


@pytest.mark.parametrize("num_actions", [2, 6, 127, 128, 1000])
def test_actions_fit_their_dtype(num_actions):
    dtype = jnp.dtype(action_dtype(num_actions))
    assert dtype.itemsize == (1 if num_actions <= 127 else 4)
    assert num_actions - 1 <= jnp.iinfo(dtype).max


def _time_step(value, terminated=False, truncated=False):
    return TimeStep(
        observations=jnp.full((2, 2), value),
        state=jnp.full(3, value),
        action_mask=jnp.array([[True, False, value > 1], [True, True, True]]),
        rewards=jnp.array([value, -value]),
        terminated=jnp.array(terminated),
        truncated=jnp.array(truncated),
    )


@pytest.mark.parametrize(
    ("terminated", "truncated", "done"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_a_transition_is_what_was_seen_done_and_got(terminated, truncated, done):
    before, after = _time_step(1.0, terminated=not done), _time_step(2.0, terminated, truncated)
    transition = make_transition(SPEC, before, jnp.array([2, 1]), after, jnp.int32(7))
    np.testing.assert_array_equal(transition.observations, before.observations)
    np.testing.assert_array_equal(transition.state, before.state)
    np.testing.assert_array_equal(transition.action_mask, before.action_mask)
    np.testing.assert_array_equal(transition.actions, [2, 1])
    np.testing.assert_array_equal(transition.rewards, [2.0, -2.0])
    assert transition.done == done
    assert transition.elapsed == 7
    jax.tree.map(lambda x, y: np.testing.assert_equal(x.dtype, y.dtype), transition, empty_transition(SPEC))


def test_what_the_observations_hold_is_not_stored_twice():
    spec = replace(SPEC, state_from_observations=lambda observations: observations.reshape(-1)[:3], masks_actions=False)
    transition = make_transition(spec, _time_step(1.0), jnp.array([2, 1]), _time_step(2.0), jnp.int32(7))
    assert transition.state is None
    assert transition.action_mask is None


def test_integers_are_stored_as_bytes_without_loss():
    spec = replace(SPEC, observation_dtype=jnp.uint8)
    transition = make_transition(spec, _time_step(24.0), jnp.array([0, 0]), _time_step(24.0), jnp.int32(65_535))
    assert transition.observations.dtype == jnp.uint8
    assert (transition.observations == 24).all()
    assert transition.elapsed == 65_535
