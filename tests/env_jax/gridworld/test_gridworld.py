"""GridWorld25 as a component: arguments, contract, batching, compilation."""

from functools import partial
from itertools import product

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit

from env_jax import GridWorld25, State, TimeStep
from env_jax.gridworld.constants import COLLECT, DOWN, LEFT, RIGHT, STAY, UP
from env_jax.recording import record

MODES = ("fixed", "random")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "mode_1"}, "mode must be one of fixed, random, not 'mode_1'"),
        ({"layout_seed": -1}, "layout_seed must be an integer >= 0, not -1"),
        ({"layout_seed": 1.0}, "layout_seed must be an integer >= 0, not 1.0"),
        ({"layout_seed": True}, "layout_seed must be an integer >= 0, not True"),
        ({"max_steps": 0}, "max_steps must be an integer >= 1, not 0"),
        ({"max_steps": "200"}, "max_steps must be an integer >= 1, not '200'"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, message):
    with pytest.raises(ValueError) as caught:
        GridWorld25(**arguments)
    assert str(caught.value) == message


def test_equal_environments_are_one_static_argument():
    assert GridWorld25() == GridWorld25("fixed", 1, 200)
    assert hash(GridWorld25()) == hash(GridWorld25("fixed", 1, 200))
    assert len({GridWorld25(), GridWorld25(layout_seed=2), GridWorld25(max_steps=9), GridWorld25("random")}) == 4
    assert GridWorld25().spec == GridWorld25().spec
    assert repr(GridWorld25()) == "GridWorld25(mode='fixed', layout_seed=1, max_steps=200)"

    chex.clear_trace_counter()

    @partial(jax.jit, static_argnums=0)
    @chex.assert_max_traces(n=1)
    def reset(env, key):
        return env.reset(key)

    for _ in range(3):
        reset(GridWorld25("random"), jax.random.key(0))


@pytest.mark.parametrize("mode", MODES)
def test_reset_and_step_keep_the_contract(mode):
    env = GridWorld25(mode)
    spec = env.spec
    state, time_step = jax.eval_shape(env.reset, jax.random.key(0))
    struct = jax.ShapeDtypeStruct
    assert state == State(
        agent_positions=struct((4, 2), jnp.int32),
        food_positions=struct((4, 2), jnp.int32),
        food_present=struct((4,), jnp.bool_),
        step_count=struct((), jnp.int32),
    )
    assert time_step == TimeStep(
        observations=struct((spec.num_agents, spec.observation_size), jnp.float32),
        state=struct((spec.state_size,), jnp.float32),
        action_mask=struct((spec.num_agents, spec.num_actions), jnp.bool_),
        rewards=struct((spec.num_agents,), jnp.float32),
        terminated=struct((), jnp.bool_),
        truncated=struct((), jnp.bool_),
    )
    # Weak types included: a scan over steps and a select between step and reset need equal avals.
    assert jax.eval_shape(env.step, jax.random.key(0), state, jnp.zeros(4, jnp.int32)) == (state, time_step)


@pytest.mark.parametrize("mode", MODES)
def test_step_is_traced_once(mode):
    env = GridWorld25(mode)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(env.step, n=1))
    state, _ = jax.jit(env.reset)(jax.random.key(0))
    for action in range(6):
        state, _ = step(jax.random.key(1), state, jnp.full(4, action, jnp.int32))


def test_a_new_episode_starts_clean():
    for mode in MODES:
        state, time_step = GridWorld25(mode).reset(jax.random.key(3))
        assert state.step_count == 0
        assert state.food_present.all()
        assert time_step.action_mask.all()
        assert not time_step.rewards.any()
        assert not time_step.terminated
        assert not time_step.truncated


def test_fixed_mode_ignores_the_key_and_random_mode_does_not():
    keys = jax.random.split(jax.random.key(0), 2)
    for mode, same in zip(MODES, (True, False), strict=True):
        state, _ = jax.jit(jax.vmap(GridWorld25(mode).reset))(keys)
        assert (state.agent_positions[0] == state.agent_positions[1]).all() == same


def test_the_layout_seed_chooses_the_fixed_start():
    state, _ = GridWorld25(layout_seed=1).reset(jax.random.key(0))
    other, _ = GridWorld25(layout_seed=2).reset(jax.random.key(0))
    assert state.agent_positions.tolist() == [[11, 12], [18, 23], [0, 3], [20, 23]]
    assert other.agent_positions.tolist() != state.agent_positions.tolist()


def test_a_batch_is_what_its_members_are():
    env = GridWorld25("random")
    keys = jax.random.split(jax.random.key(0), 8)
    actions = jax.random.randint(jax.random.key(1), (5, 8, 4), 0, 6)
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    batch, batch_view = jax.jit(jax.vmap(env.reset))(keys)
    single = [reset(key) for key in keys]
    step_batch = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
    for joint_actions in actions:
        batch, batch_view = step_batch(jax.random.key(2), batch, joint_actions)
        single = [step(jax.random.key(2), state, a) for (state, _), a in zip(single, joint_actions, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *single)
    chex.assert_trees_all_equal((batch, batch_view), stacked)


def test_episode_metrics_count_collected_foods():
    env = GridWorld25()
    state, _ = env.reset(jax.random.key(0))
    metrics = env.spec.episode_metrics(state.replace(food_present=jnp.asarray([True, False, False, True])))
    assert metrics == {"foods_collected": 2.0}
    assert metrics["foods_collected"].dtype == jnp.float32


@pytest.mark.parametrize(("left", "expected"), [([], True), ([2], False), ([0, 1, 2, 3], False)])
def test_an_episode_succeeds_with_all_foods_collected(left, expected):
    env = GridWorld25()
    state, _ = env.reset(jax.random.key(0))
    assert (
        bool(env.spec.success(state.replace(food_present=jnp.zeros(4, bool).at[jnp.array(left, int)].set(True))))
        is expected
    )


def test_observations_fit_the_specs_storage_type():
    env = GridWorld25("random")
    _, time_step = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 500))
    stored = time_step.observations.astype(env.spec.observation_dtype)
    np.testing.assert_array_equal(stored.astype(jnp.float32), time_step.observations)
    np.testing.assert_array_equal(jax.vmap(env.spec.state_from_observations)(time_step.observations), time_step.state)


def test_the_rules_respect_the_eight_symmetries_of_the_grid_exactly():
    env = GridWorld25("random", max_steps=40)
    play = quick_jit(
        jax.vmap(lambda cells, actions: record(env, *env.start_at(cells[:4], cells[4:]), actions)),
    )
    # Objects within 5 x 5 cells in a corner: agents block each other and meet walls and foods all the time.
    random = np.random.default_rng(0)
    drawn = np.stack([random.permutation(25)[:8] for _ in range(256)])
    cells, actions = np.stack([drawn % 5, drawn // 5], axis=-1), random.integers(0, 6, (256, 40, 4))
    played = play(cells, actions)
    assert (played.time_steps.rewards > 0).any()
    assert played.time_steps.truncated.any()

    for mirrors_x, mirrors_y, exchanges in product((False, True), repeat=3):

        def turn(positions, mirrored=(mirrors_x, mirrors_y), exchanges=exchanges):
            positions = np.where(mirrored, 24 - np.asarray(positions), positions)
            return positions[..., ::-1] if exchanges else positions

        of_action = np.arange(6)
        if mirrors_x:
            of_action[[LEFT, RIGHT]] = RIGHT, LEFT
        if mirrors_y:
            of_action[[UP, DOWN]] = DOWN, UP
        if exchanges:
            of_action = np.array([STAY, LEFT, RIGHT, UP, DOWN, COLLECT])[of_action]
        turned = play(turn(cells), of_action[actions])
        for name in ("rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(turned.time_steps, name), getattr(played.time_steps, name))
        np.testing.assert_array_equal(turned.states.agent_positions, turn(played.states.agent_positions))
