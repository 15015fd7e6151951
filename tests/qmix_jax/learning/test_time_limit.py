"""Episodes that a time limit cuts: what replay keeps of them, and the values that are learned across the limit."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, joint_values, quick_jit, small_config, train
from probes import Deadline, Probe, ProbeState

from env_jax import GridWorld25, LastAction, TimeStep
from qmix_jax.config import Config
from qmix_jax.learning.time_limit import bootstraps_at_limit, mixer_sees_clock
from qmix_jax.storage.hparams import describe_run
from qmix_jax.training.population import make_population
from qmix_jax.training.replay import make_replay
from qmix_jax.types import Transition

ENVS, LIMIT, ROWS = 3, 4, 12


@dataclass(frozen=True)
class Endless(Probe):
    """Only the limit ends it, and every step pays each of two agents 1: the value is 2 / (1 - gamma).

    With the limit's end taken for terminal, nobody can tell how much is left, and the value is a mean of the sums.
    """

    max_steps: int = 5

    @property
    def spec(self):
        return replace(super().spec, time_limit_is_terminal=False)

    def rewards(self, state, actions):
        return jnp.ones(2)

    def end(self, last):
        return jnp.zeros((), bool), last


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("setting", ["auto", "terminal", "bootstrap"])
def test_the_environment_says_what_follows_the_limit_unless_the_flag_does(setting, terminal):
    config, environment = Config(time_limit=setting), (Deadline() if terminal else Endless())
    spec = environment.spec
    assert spec.time_limit_is_terminal == terminal
    expected = {"auto": not terminal, "terminal": False, "bootstrap": True}[setting]
    assert bootstraps_at_limit(config, spec) == expected
    assert mixer_sees_clock(config, spec) != expected
    described = describe_run(config, environment)
    assert described["derived"]["time_limit"] == ("bootstrap" if expected else "terminal")
    whole = 16 + 2 + 8 + 1 + 2 + 4 + 6 + (4 if expected else 0)  # the number of its final step
    assert described["derived"]["replay_bytes_per_transition"] == whole
    told = [
        notice for notice in described["notices"] if notice.startswith(f"--time_limit {setting}: targets bootstrap")
    ]
    assert len(told) == expected


def test_the_limit_of_the_grid_is_part_of_its_task():
    assert GridWorld25().spec.time_limit_is_terminal
    assert LastAction(GridWorld25()).spec.time_limit_is_terminal
    assert not SPEC.__class__.__dataclass_fields__["time_limit_is_terminal"].default


def _shown(numbers, truncated, terminated):
    """A time step of every environment whose fields all tell its number."""
    numbers = np.asarray(numbers, np.float32)
    return TimeStep(
        observations=jnp.asarray(numbers[:, None, None] + np.zeros((1, 2, 2), np.float32)),
        state=jnp.asarray(numbers[:, None] + np.zeros((1, 3), np.float32)),
        action_mask=jnp.asarray(numbers[:, None, None] % 2 == np.zeros((1, 2, 3))),
        rewards=jnp.zeros((ENVS, 2)),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(truncated),
    )


def _transition(seen, done, elapsed):
    return Transition(
        observations=seen.observations,
        actions=jnp.zeros((ENVS, 2), jnp.int8),
        rewards=seen.rewards,
        done=jnp.asarray(done),
        elapsed=jnp.asarray(elapsed, jnp.uint16),
        state=seen.state,
        action_mask=seen.action_mask,
    )


@pytest.mark.parametrize("kind", ["uniform", "prioritised"])
@pytest.mark.parametrize("limit", [LIMIT, 2])
def test_replay_gives_back_what_truncated_episodes_ended_with(kind, limit):
    """Environment 0 is cut at the limit, 1 terminates there, 2 is cut one step sooner: more often than planned.

    Rows show 1000 e + t in vector step t of environment e; what a step led to shows the same and a half.
    """
    spec = replace(SPEC, max_steps=LIMIT)
    config = small_config(
        num_envs=ENVS,
        buffer_capacity=ENVS * ROWS,
        min_buffer_size=3 * ENVS,
        batch_size=30,
        n_step=2,
        replay=kind,
        time_limit="bootstrap",
    )
    replay_ = make_replay(config, spec)
    add, sample = quick_jit(replay_.add, donate_argnums=0), quick_jit(replay_.sample)
    state, elapsed, total = quick_jit(replay_.init)(), np.zeros(ENVS, int), 29
    lengths, ends = np.array([limit, limit, limit - 1]), {}
    for now in range(total):
        numbers = 1000 * np.arange(ENVS) + now
        done = elapsed + 1 == lengths
        cut = done & (np.arange(ENVS) != 1)
        seen = _shown(numbers, np.zeros(ENVS, bool), np.zeros(ENVS, bool))
        state = add(state, _transition(seen, done, elapsed), _shown(numbers + 0.5, cut, done & ~cut))
        ends.update({int(number): int(steps) + 1 for number, steps in zip(numbers[cut], elapsed[cut], strict=True)})
        elapsed = np.where(done, 0, elapsed + 1)
    found = set()
    for draw in range(4):
        drawn = sample(state, jax.random.bits(jax.random.key(draw), (2, config.batch_size)))
        cuts = jax.tree.map(lambda x: np.asarray(x)[:, 0], drawn.cuts)
        done, rows = np.asarray(drawn.sequences.done), np.asarray(drawn.sequences.state)[:, :, 0].astype(int)
        for row in range(len(done)):
            first = np.flatnonzero(done[row, :2])
            is_cut = len(first) > 0 and rows[row, first[0]] in ends
            assert cuts.here[row] == is_cut
            if not is_cut:
                continue
            assert cuts.steps[row] == first[0]
            last = rows[row, first[0]]
            older = [number for number in ends if number // 1000 == last // 1000 and number > last]
            assert cuts.known[row] == (len(older) < ROWS // LIMIT)
            found.add((last // 1000, bool(cuts.known[row])))
            if cuts.known[row]:
                assert (cuts.observations[row] == last + 0.5).all()
                assert (cuts.state[row] == last + 0.5).all()
                assert cuts.action_mask[row].all() == ((last + 0.5) % 2 == 0)
                assert cuts.elapsed[row] == ends[last]
    assert (0, True) in found
    assert ((0, False) in found) == (limit < LIMIT)  # of episodes as long as the limit nothing is ever lost
    assert (2, False) in found


def _config(vector_steps=2400, **settings):
    defaults = {
        "num_envs": 8,
        "total_steps": 8 * vector_steps,
        "eval_interval": 8 * vector_steps,
        "buffer_capacity": 4000,
        "min_buffer_size": 64,
        "batch_size": 32,
        "train_frequency": 8,
        "lr": 1e-3,
        "gamma": 0.9,
        "n_step": 1,
        "target_update_interval": 10,
        "epsilon_end": 1.0,
    }
    return small_config(**{**defaults, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "vdn"},
        {"n_step": 3},
        # As published: with the sum, the maximum over three noisy values of an action adds 1 to 3 % here.
        {"target": "q_lambda", "sequence_length": 4, "agent": "gru", "mixer_skip": False},
        {"target": "td_lambda", "sequence_length": 3, "replay": "prioritised"},
    ],
    ids=str,
)
def test_values_go_on_beyond_a_limit_that_only_cuts(settings):
    config, env = _config(**settings), Endless()
    trained = train(env, config, seed=1)
    state = ProbeState(jnp.int32(0), jnp.float32(1), jnp.int32(0))
    np.testing.assert_allclose(joint_values(config, env, trained, state), 20.0, rtol=0.02)


def test_a_limit_taken_for_terminal_is_an_end():
    config, env = _config(algorithm="vdn", time_limit="terminal"), Endless()
    trained = train(env, config)
    state = ProbeState(jnp.int32(0), jnp.float32(1), jnp.int32(0))
    values = joint_values(config, env, trained, state)
    # A fifth of the steps each has 1 to 5 steps left, and a step that does not end is worth 2 + 0.9 of the mean value.
    np.testing.assert_allclose(values, 2 / (1 - 0.9 * 4 / 5), atol=1.5)


def test_a_deadline_is_learned_as_an_end_because_the_environment_says_so():
    spec = Deadline().spec
    assert spec.time_limit_is_terminal
    assert mixer_sees_clock(Config(), spec)


def test_two_devices_keep_the_final_steps_of_their_own_environments():
    config, env = _config(algorithm="vdn", num_devices=2), Endless()
    trained = train(env, config)
    state = ProbeState(jnp.int32(0), jnp.float32(1), jnp.int32(0))
    np.testing.assert_allclose(joint_values(config, env, trained, state), 20.0, rtol=0.02)
    numbers = np.asarray(trained.replay.buffer.experience.final_step)
    environments = np.broadcast_to(np.arange(8)[:, None], numbers.shape)
    np.testing.assert_array_equal(numbers[numbers >= 0] % 8, environments[numbers >= 0])


def test_vmapped_runs_share_where_their_replay_is_written():
    members = make_population(_config(), Endless(), ())
    state = jax.eval_shape(members.init, {}, jax.random.split(jax.random.key(0), 3))
    assert state.replay.buffer.current_index.shape == ()
    assert state.replay.final_steps.count.shape == (3, 8)
