"""The JaxMARL environment alone and under JaxMARL's wrappers, beside `env_jax` stepped directly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl.environments.spaces import Discrete
from jaxmarl.wrappers.baselines import CTRolloutManager, LogWrapper
from side_by_side import make_step, quick_jit

from env_jax import GridWorld25
from env_jax.adapters.jaxmarl import JaxMARLGridWorld

NUM_ENVS, MAX_STEPS, LENGTH = 3, 5, 12
ENV = JaxMARLGridWorld("random", max_steps=MAX_STEPS)
AGENTS = [f"agent_{i}" for i in range(4)]
DIRECT = GridWorld25("random", max_steps=MAX_STEPS)


def play(reset, step):
    """Return the first observations and state, and [observations, state, rewards, dones, info] and actions of steps."""
    reset_key, *keys = jax.random.split(jax.random.key(0), 1 + LENGTH)
    first = reset(reset_key)
    state, trace = first[1], []
    actions = np.random.default_rng(0).integers(0, 6, (LENGTH, 4, NUM_ENVS)).astype(np.int32)
    for key, joint_actions in zip(keys, actions, strict=True):
        shown = step(key, state, dict(zip(AGENTS, joint_actions, strict=True)))
        state = shown[1]
        trace.append(shown)
    return first, trace, actions


def over_environments(function):
    """Vmap over environments and jit; a key is split into one for each environment."""
    vmapped = jax.vmap(function)
    return quick_jit(lambda key, *rest: vmapped(jax.random.split(key, NUM_ENVS), *rest))


def of(tree, env):
    return jax.tree.map(lambda numbers: numbers[env], tree)


@pytest.fixture(scope="module")
def played():
    return play(over_environments(ENV.reset), over_environments(ENV.step))


def test_plays_like_env_jax_and_resets_by_itself(played):
    (observations, states), trace, actions = played
    for env in range(NUM_ENVS):
        state = of(states, env)
        for t, (shown, next_states, rewards, dones, info) in enumerate(trace):
            state, time_step = make_step(MAX_STEPS)(state, actions[t, :, env])
            assert [float(rewards[agent][env]) for agent in AGENTS] == time_step.rewards.tolist()
            done = (t + 1) % MAX_STEPS == 0
            assert {name: bool(value[env]) for name, value in dones.items()} == dict.fromkeys(
                [*AGENTS, "__all__"], done
            )
            assert info == {}
            if done:
                assert (of(next_states, env).agent_positions != state.agent_positions).any()
                state = of(next_states, env)
                assert (state.step_count, state.food_present.all()) == (0, True)
            else:
                np.testing.assert_array_equal(shown["world_state"][env], time_step.state)
            for leaf, other in zip(jax.tree.leaves(of(next_states, env)), jax.tree.leaves(state), strict=True):
                np.testing.assert_array_equal(leaf, other)
    assert observations.keys() == {*AGENTS, "world_state"}


def test_observations_are_parts_of_the_world_state(played):
    for shown in (played[0][0], *(step[0] for step in played[1])):
        joined = np.concatenate([shown[agent] for agent in AGENTS], axis=1)
        np.testing.assert_array_equal(shown["world_state"], joined)


def test_resets_to_the_state_that_is_asked_for():
    there = DIRECT.reset(jax.random.key(5))[0]
    state = DIRECT.reset(jax.random.key(6))[0].replace(step_count=jnp.int32(MAX_STEPS - 1))
    stay = dict.fromkeys(AGENTS, jnp.int32(0))
    shown, state, _, dones, _ = quick_jit(ENV.step)(jax.random.key(0), state, stay, there)
    assert dones["__all__"]
    np.testing.assert_array_equal(state.food_positions, there.food_positions)
    np.testing.assert_array_equal(shown["world_state"], ENV.get_obs(there)["world_state"])


def test_tells_what_jaxmarl_asks():
    assert (ENV.name, ENV.num_agents, ENV.agents) == ("GridWorld25v0", 4, AGENTS)
    assert ENV.agent_classes == {"agents": AGENTS}
    observations, state = ENV.reset(jax.random.key(0))
    for agent in AGENTS:
        assert ENV.observation_space(agent).contains(observations[agent])
        assert isinstance(ENV.action_space(agent), Discrete)
        np.testing.assert_array_equal(ENV.get_avail_actions(state)[agent], np.ones(6, bool))


# JaxMARL's wrappers multiply floats by booleans and leave keys unused, which our tests' strictness forbids.
@pytest.fixture
def lenient():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.debug_key_reuse(False):
        yield


def test_plays_under_jaxmarls_wrappers(played, lenient):
    """As its value-based trainers stack them: sums of episodes, global state, team reward, agents' numbers."""
    env = CTRolloutManager(LogWrapper(ENV), NUM_ENVS)
    assert (env.max_obs_length, env.max_action_space) == (18, 6)
    _, trace, _ = play(quick_jit(env.batch_reset), quick_jit(env.batch_step))
    returns = np.zeros((NUM_ENVS, 4))
    for (observations, _, rewards, dones, info), (shown, _, own_rewards, _, _) in zip(trace, played[1], strict=True):
        np.testing.assert_array_equal(observations["__all__"], shown["world_state"])
        np.testing.assert_array_equal(rewards["__all__"], sum(own_rewards[agent] for agent in AGENTS))
        for i, agent in enumerate(AGENTS):
            expected = np.concatenate([shown[agent], np.tile(np.eye(4)[i], (NUM_ENVS, 1))], axis=1)
            np.testing.assert_array_equal(observations[agent], np.where(dones[agent][:, None], 0, expected))
        returns += np.stack([own_rewards[agent] for agent in AGENTS], axis=1)
        assert (info["returned_episode"] == dones["__all__"][:, None]).all()
        if dones["__all__"].all():
            np.testing.assert_array_equal(info["returned_episode_returns"], returns)
            assert (np.asarray(info["returned_episode_lengths"]) == MAX_STEPS).all()
            returns[:] = 0
    assert dones["__all__"].sum() == 0  # two episodes ended, the third goes on
