"""The drop-in gives scripts written for the reference what the reference gave them."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_reset_options, check_reset_return_type, check_reset_seed_determinism
from PIL import Image
from side_by_side import crowded_start, make_step, state_of

from env_jax.adapters.expert_rl import GridWorld25v0

DATA = Path(__file__).resolve().parents[2] / "data"
EPISODES = dict(np.load(DATA / "episodes.npz"))
RANDOM, FIXED = 0, 1  # kinds of recorded episodes; the others start where no reset does
MAX_STEPS = 40


@pytest.mark.parametrize("index", range(len(EPISODES["episodes"])))
def test_replays_a_recorded_episode_exactly(index):
    first, end, seed, max_steps, kind = EPISODES["episodes"][index].tolist()
    rows = {name: array[first:end] for name, array in EPISODES.items() if name != "episodes"}
    env = GridWorld25v0(seed=seed, max_steps=max_steps, mode="mode_1" if kind == RANDOM else "mode_2")
    observations, _ = env.reset()
    if kind in (RANDOM, FIXED):
        np.testing.assert_array_equal(observations, rows["observations"][0])
    else:
        env.agent_positions = rows["agent_positions"][0]
        env.food_positions = [(x, y, 1) for x, y in rows["food_positions"][0]]
    for row in range(1, end - first):
        observations, rewards, terminated, truncated, _ = env.step(rows["actions"][row].tolist())
        np.testing.assert_array_equal(observations, rows["observations"][row])
        assert rewards == rows["rewards"][row].tolist()
        assert (terminated, truncated) == (rows["terminated"][row], rows["truncated"][row])
        assert env.agent_positions == list(map(tuple, rows["agent_positions"][row].tolist()))
        foods = rows["food_positions"][row][rows["food_present"][row]].tolist()
        assert env.food_positions == [(x, y, 1) for x, y in foods]


def test_layouts_are_the_references_seed_for_seed():
    layouts = np.load(DATA / "layouts.npz")
    for seed, cells in zip(layouts["seeds"].tolist(), layouts["cells"].tolist(), strict=True):
        env = GridWorld25v0(seed=seed)
        env.setup()
        assert [*env.agent_positions, *(food[:2] for food in env.food_positions)] == list(map(tuple, cells))


@pytest.mark.parametrize("seed", range(3))
def test_plays_like_env_jax(seed):
    generator, step = np.random.default_rng(seed), make_step(MAX_STEPS)
    env = GridWorld25v0(max_steps=MAX_STEPS)
    env.reset()
    cells = crowded_start(generator)
    env.agent_positions, env.food_positions = cells[:4], [(*cell, 1) for cell in cells[4:]]
    state = state_of(env.agent_positions, env.food_positions)
    ended = False
    while not ended:
        actions = generator.integers(0, 6, 4)
        state, time_step = step(state, actions)
        observations, rewards, terminated, truncated, _ = env.step(actions.tolist())
        np.testing.assert_array_equal(observations, time_step.observations)
        np.testing.assert_array_equal(rewards, time_step.rewards)
        assert (terminated, truncated) == (bool(time_step.terminated), bool(time_step.truncated))
        ended = terminated or truncated


def test_mode_2_restores_its_start_and_mode_1_draws_on():
    fixed, random = GridWorld25v0(seed=5), GridWorld25v0(seed=5, mode="mode_1")
    first = fixed.reset()[0]
    np.testing.assert_array_equal(random.reset()[0], first)
    for env in (fixed, random):
        for _ in range(3):
            env.step([1, 2, 3, 4])
    np.testing.assert_array_equal(fixed.reset()[0], first)
    second = random.setup()[0]
    assert (second != first).any()
    random.seed(5)
    np.testing.assert_array_equal(random.reset()[0], first)
    np.testing.assert_array_equal(random.reset()[0], second)
    assert fixed.seed(6) == [6]
    np.testing.assert_array_equal(fixed.reset()[0], random.reset(seed=6)[0])
    assert (fixed.reset()[0] != first).any()


def test_returns_what_scripts_expect():
    env = GridWorld25v0()
    assert (env.num_agents, env.grid_size, env.max_steps, env.gamma, env.mode) == (4, 25, 200, 0.95, "mode_2")
    assert isinstance(env, gymnasium.Env)
    assert env.action_space == gymnasium.spaces.Discrete(6)
    observations, info = env.reset()
    assert observations in env.observation_space
    assert (observations.shape, observations.dtype, observations.flags.writeable) == ((4, 18), np.float32, True)
    assert info == {}
    observations, rewards, terminated, truncated, info = env.step(np.array([5, 0, -1, 9]))
    assert observations in env.observation_space
    assert rewards == [0.0] * 4
    assert [type(reward) for reward in rewards] == [float] * 4
    assert (terminated, truncated, info) == (False, False, {})
    assert all(type(x) is int for cell in env.agent_positions + env.food_positions for x in cell)


@pytest.mark.parametrize("mode", ["mode_1", "mode_2"])
def test_resets_as_gymnasium_wants_it(mode):
    env = GridWorld25v0(mode=mode)
    for check in (check_reset_options, check_reset_return_type, check_reset_seed_determinism):
        check(env)


def test_agents_moved_in_place_are_there_in_the_next_step():
    env = GridWorld25v0()
    env.reset()
    env.agent_positions[0] = (0, 0)
    env.food_positions[0] = (1, 0, 1)
    assert env.step([4, 0, 0, 0])[1] == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_agents": 3}, "num_agents must be 4, the only one of GridWorld25v0, not 3"),
        ({"grid_size": 8}, "grid_size must be 25, the only one of GridWorld25v0, not 8"),
        ({"mode": "random"}, "mode must be mode_1 .* not 'random'"),
        ({"render_mode": "ansi"}, "render_mode must be None, human or rgb_array, not 'ansi'"),
        ({"max_steps": 0}, "max_steps must be at least 1, not 0"),
    ],
)
def test_refuses_what_this_world_has_not(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridWorld25v0(**arguments)


def test_refuses_wrong_steps_and_positions(tmp_path):
    env = GridWorld25v0()
    with pytest.raises(ValueError, match=r"an episode that reset\(\) began"):
        env.step([0] * 4)
    with pytest.raises(ValueError, match="no episode to save"):
        env.save_animation(tmp_path / "nothing.gif")
    env.reset()
    with pytest.raises(ValueError, match="step needs 4 actions, not 3"):
        env.step([0] * 3)
    with pytest.raises(ValueError, match="agent_positions must be 4 cells"):
        env.agent_positions = [(0, 0)] * 3
    with pytest.raises(ValueError, match=r"within 0\.\.24"):
        env.agent_positions = [(0, 25)] * 4
    with pytest.raises(ValueError, match="food_positions must be up to 4"):
        env.food_positions = [(0, 0, 2)]


def test_draws_the_state_and_saves_the_episode(tmp_path):
    env = GridWorld25v0(seed=1, render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((525, 525, 3), np.uint8)
    # Centres of cells: agent 0 at (11, 12), food 0 at (6, 7), and (0, 0), which is empty.
    blue, yellow, white = (0x00, 0x72, 0xB2), (0xF0, 0xE4, 0x42), (255, 255, 255)
    agent, food, empty = ((24 + 20 * x + 10, 24 + 20 * y + 10) for x, y in ((11, 12), (6, 7), (0, 0)))
    assert tuple(picture[agent[1] - 6, agent[0]]) == blue  # above its number
    assert tuple(picture[food[1], food[0]]) == yellow
    assert tuple(picture[empty[1], empty[0]]) == white
    for _ in range(3):
        env.step([1, 1, 1, 1])
    env.save_animation(tmp_path / "episode.gif")
    with Image.open(tmp_path / "episode.gif") as animation:
        assert (animation.n_frames, animation.size) == (4, (525, 525))
        assert animation.info["duration"] == 250


def test_human_mode_needs_no_screen():
    env = GridWorld25v0(render_mode="human")
    env.reset()
    assert env.render() is None
    env.step([0] * 4)
    assert env.render() is None
    env.close()
    env.close()
