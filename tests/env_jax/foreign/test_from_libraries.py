"""Environments of JaxMARL and Jumanji in our contract: each against its library, whole episodes long."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jumanji
import numpy as np
import pytest
from jaxmarl.environments.mpe.simple_speaker_listener import SimpleSpeakerListenerMPE
from jaxmarl.environments.mpe.simple_spread import SimpleSpreadMPE
from jaxmarl.environments.overcooked import Overcooked
from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario
from jaxmarl.environments.smax.heuristic_enemy import create_heuristic_policy
from jaxmarl.wrappers.baselines import CTRolloutManager
from jumanji.environments import LevelBasedForaging
from jumanji.environments.routing.lbf.generator import RandomGenerator

from env_jax import LastAction, check_environment
from env_jax.foreign import jaxmarl as from_jaxmarl
from env_jax.foreign import jumanji as from_jumanji
from env_jax.foreign.contract import UnfitError, library_style

# These programs run for milliseconds and compile for seconds.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
EPISODES = 6
# Easy enough that random actions solve some episodes before our limit, which is shorter than the library's.
EASY = RandomGenerator(grid_size=5, fov=5, num_agents=2, num_food=1, force_coop=False)
FORAGING, FORAGING_LIMIT = LevelBasedForaging(EASY, time_limit=30), 25


class Episode(NamedTuple):
    """What the adapter showed, with a leading axis of episodes and one of steps; the first step is the reset."""

    observations: np.ndarray
    action_mask: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    state: np.ndarray
    team_return: np.ndarray


def allowed_actions(key, mask):
    """One of each agent's allowed actions, int32[N]."""
    return jnp.argmax(jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0), axis=-1).astype(jnp.int32)


def play(environment, library_reset, library_step, length):
    """Step the adapter and its library side by side, with the same keys and actions, on beyond ends.

    Returns what the adapter showed, and what the library did, the reset left out.
    """

    def one(key):
        reset_key, play_key = jax.random.split(key)
        library_state = library_reset(jax.random.key_data(jax.random.clone(reset_key)))
        state, first = environment.reset(reset_key)

        def body(carry, _):
            key, library_state, state, step = carry
            key, action_key, step_key = jax.random.split(key, 3)
            actions = allowed_actions(action_key, step.action_mask)
            with library_style():
                key_data = jax.random.key_data(jax.random.clone(step_key))
                library_state, stepped = library_step(key_data, library_state, actions)
            state, step = environment.step(step_key, state, actions)
            return (key, strong(library_state), state, step), (shown(state, step), stepped)

        _, (rest, stepped) = jax.lax.scan(body, (play_key, strong(library_state), state, first), length=length)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), shown(state, first), rest), stepped

    with library_style():
        played = quick_jit(jax.vmap(one))(jax.random.split(jax.random.key(0), EPISODES))
    return jax.tree.map(np.asarray, played)


def strong(tree):
    """Without weak types, which a scan would not carry."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), tree)


def shown(state, step):
    return Episode(*(getattr(step, name) for name in Episode._fields[:-1]), state.team_return)


@pytest.fixture(scope="module")
def spread():
    return from_jaxmarl.make("MPE_simple_spread_v3", 200)


@pytest.fixture(scope="module")
def spread_played(spread):
    library = SimpleSpreadMPE()

    def step(key, state, actions):
        chosen = {"agent_0": actions[0], "agent_1": actions[1], "agent_2": actions[2]}
        seen, state, rewards, dones, _ = library.step_env(key, state, chosen)
        return state, (seen, rewards, dones["__all__"])

    return play(spread, lambda key: library.reset(key)[1], step, 25)


@pytest.fixture(scope="module")
def foraging():
    return from_jumanji.FromJumanji(FORAGING, FORAGING_LIMIT, "foraging")


@pytest.fixture(scope="module")
def foraging_played(foraging):
    def step(key, state, actions):
        return FORAGING.step(state, actions)

    return play(foraging, lambda key: FORAGING.reset(key)[0], step, FORAGING.time_limit)


def test_spread_is_the_librarys(spread_played):
    played, (seen, rewards, done) = spread_played
    assert not done.any()  # it would go on for a 26th step
    for i, agent in enumerate(("agent_0", "agent_1", "agent_2")):
        np.testing.assert_array_equal(played.observations[:, 1:, i], seen[agent])
        np.testing.assert_array_equal(played.rewards[:, 1:, i], rewards[agent])
    assert len(np.unique(played.rewards)) > EPISODES * 25


def test_foraging_is_the_librarys(foraging_played):
    played, library = foraging_played
    np.testing.assert_array_equal(played.observations[:, 1:], library.observation.agents_view)
    np.testing.assert_array_equal(played.action_mask[:, 1:], library.observation.action_mask)
    np.testing.assert_array_equal(played.rewards[:, 1:], library.reward)
    ended = (library.step_type == 2) & ~library.discount.any(axis=-1)
    np.testing.assert_array_equal(played.terminated[:, 1:], ended)
    late = np.arange(1, FORAGING.time_limit + 1) >= FORAGING_LIMIT
    np.testing.assert_array_equal(played.truncated[:, 1:], ~ended & late)
    solved = ended[:, :FORAGING_LIMIT].any(axis=1)
    assert 0 < solved.sum() < EPISODES  # else one of the ends was not seen


def test_spread_ends_at_the_limit_that_it_states(spread_played):
    played, _ = spread_played
    assert not played.terminated.any()
    np.testing.assert_array_equal(played.truncated, np.broadcast_to(np.arange(26) == 25, played.truncated.shape))


def test_a_reward_of_spread_by_hand():
    """Three agents on the three landmarks, of which two touch: each of these pays half of one collision."""
    library = SimpleSpreadMPE()
    spread = from_jaxmarl.FromJaxMARL(library, 25, "spread")
    places = jnp.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.9]])

    def paid(key):
        reset_key, step_key = jax.random.split(key)
        state, _ = spread.reset(reset_key)
        still = replace(state.world, p_pos=jnp.concatenate([places, places + jnp.array([[0.0, 0.1]])]))
        return spread.step(step_key, replace(state, world=still), jnp.zeros(3, jnp.int32))[1].rewards

    np.testing.assert_allclose(quick_jit(paid)(jax.random.key(0)), [-0.5 - 0.15, -0.5 - 0.15, -0.15], atol=1e-6)


def test_foraging_as_registered():
    environment = from_jumanji.make("LevelBasedForaging-v0", 1_000)
    made = jumanji.make("LevelBasedForaging-v0")
    spec = environment.spec
    assert (spec.num_agents, spec.num_actions, spec.observation_size) == (2, 6, 12)
    assert (spec.max_steps, spec.observation_dtype) == (made.time_limit, jnp.int8) == (100, jnp.int8)
    assert spec.masks_actions
    assert from_jumanji.make("LevelBasedForaging-v0", 30).spec.max_steps == 30


class TeamForaging(LevelBasedForaging):
    """Foraging that pays the team: 3, whatever it does."""

    def step(self, state, actions):
        state, shown = super().step(state, actions)
        return state, shown.replace(reward=jnp.float32(3.0))


def test_a_single_reward_is_shared_out():
    environment = from_jumanji.FromJumanji(TeamForaging(EASY), 50, "team")

    def two_steps(key):
        reset_key, *step_keys = jax.random.split(key, 3)
        state, _ = environment.reset(reset_key)
        for step_key in step_keys:
            state, step = environment.step(step_key, state, jnp.zeros(2, jnp.int32))
        return state.team_return, step.rewards

    team_return, rewards = quick_jit(two_steps)(jax.random.key(0))
    np.testing.assert_array_equal(rewards, [1.5, 1.5])
    assert team_return == 6.0


class LimitTerminates(LevelBasedForaging):
    """Foraging that calls its own limit a termination, as RobotWarehouse does."""

    def step(self, state, actions):
        state, shown = super().step(state, actions)
        late = state.step_count >= self.time_limit
        return state, shown.replace(discount=jnp.where(late, jnp.zeros_like(shown.discount), shown.discount))


def _ends(environment, actions, length):
    """Terminated and truncated after each step with the same actions, bool[T] each."""

    def play(key):
        keys = jax.random.split(key, length + 1)
        state, _ = environment.reset(keys[0])
        steps = []
        for step_key in keys[1:]:
            state, step = environment.step(step_key, state, actions)
            steps.append((step.terminated, step.truncated))
        return steps

    return np.array(quick_jit(play)(jax.random.key(0))).T


def test_an_end_on_the_last_step_is_told_from_the_librarys_limit():
    nobody_moves = jnp.zeros(2, jnp.int32)
    limited = from_jumanji.FromJumanji(LimitTerminates(EASY, time_limit=3), 100, "limited")
    np.testing.assert_array_equal(_ends(limited, nobody_moves, 3), [[False] * 3, [False, False, True]])

    riddle = from_jaxmarl.make("switch_riddle", 100)
    limit, agents = riddle.environment.max_steps, riddle.spec.num_agents
    assert riddle.spec.max_steps == limit
    nothing, tell = (jnp.full(agents, riddle.environment.game_actions[name]) for name in ("NOTHING", "TELL"))
    np.testing.assert_array_equal(_ends(riddle, nothing, limit)[:, -1], [False, True])
    late = from_jaxmarl.make("switch_riddle", 1)
    np.testing.assert_array_equal(_ends(late, tell, 1)[:, -1], [True, False])


def test_a_wrapped_environments_limit_is_moved_too():
    smax = from_jaxmarl.make("HeuristicEnemySMAX", 200)
    assert smax.environment.max_steps == 100
    assert smax._longer.max_steps == smax._longer._env.max_steps == 101


def test_a_battle_is_won_where_the_library_pays_its_bonus():
    """`SMAXLogWrapper` counts a last reward of 1 or more. Random actions win against enemies whom one hit kills."""
    smax = from_jaxmarl.FromJaxMARL(HeuristicEnemySMAX(scenario=map_name_to_scenario("3m")), 100, "3m")

    def one(key, enemy_health):
        reset_key, play_key = jax.random.split(key)
        state, first = smax.reset(reset_key)
        health = state.world.state.unit_health.at[3:].multiply(enemy_health)
        state = replace(state, world=state.world.replace(state=state.world.state.replace(unit_health=health)))

        def body(carry, _):
            key, state, step, won = carry
            key, action_key, step_key = jax.random.split(key, 3)
            stepped = smax.step(step_key, state, allowed_actions(action_key, step.action_mask))
            over = step.terminated | step.truncated
            state, step = jax.tree.map(lambda old, new: jnp.where(over, old, new), (state, step), stepped)
            return (key, state, step, won | (~over & (step.rewards[0] >= 1.0))), None

        start = play_key, state, first, jnp.array(False)
        (_, state, step, won), _ = jax.lax.scan(body, start, length=smax.spec.max_steps)
        return smax.spec.success(state), won, step.terminated

    with library_style():
        keys = jax.random.split(jax.random.key(0), 32)
        play = quick_jit(jax.vmap(one))
        success, won, terminated = play(keys, jnp.where(jnp.arange(32) % 2, 1.0, 0.02))
    np.testing.assert_array_equal(success, won)
    assert won.any()
    assert (terminated & ~won).any()  # lost


def test_spread_defines_no_success_and_foraging_that_all_is_eaten(spread, foraging):
    assert spread.spec.success is None
    state = quick_jit(lambda key: foraging.reset(key)[0])(jax.random.key(0))
    for eaten in (False, True):
        foods = state.world.food_items.replace(eaten=jnp.full_like(state.world.food_items.eaten, eaten))
        assert bool(foraging.spec.success(replace(state, world=state.world.replace(food_items=foods)))) is eaten


@pytest.mark.parametrize("name", ["spread", "foraging"])
def test_the_contract(name, request):
    environment, (played, _) = (request.getfixturevalue(part) for part in (name, f"{name}_played"))
    spec = environment.spec
    assert played.observations.shape[2:] == (spec.num_agents, spec.observation_size)
    assert played.action_mask.shape[2:] == (spec.num_agents, spec.num_actions)
    assert played.rewards.shape[2:] == (spec.num_agents,)
    assert played.state.shape[2:] == (spec.state_size,)
    dtypes = {part: array.dtype for part, array in played._asdict().items()}
    bools = dict.fromkeys(("action_mask", "terminated", "truncated"), bool)
    floats = dict.fromkeys(("observations", "rewards", "state", "team_return"), np.float32)
    assert dtypes == bools | floats
    assert played.action_mask.any(axis=-1).all()
    assert played.action_mask.all() == (not spec.masks_actions)
    assert not played.rewards[:, 0].any()
    assert not (played.terminated & played.truncated).any()
    assert (played.terminated | played.truncated)[:, spec.max_steps].any()
    stored = played.observations.astype(spec.observation_dtype)
    np.testing.assert_array_equal(stored.astype(np.float32), played.observations)
    rebuilt = np.stack([spec.state_from_observations(seen) for seen in played.observations[0]])
    np.testing.assert_array_equal(rebuilt, played.state[0])
    np.testing.assert_allclose(played.team_return, played.rewards.sum(axis=-1).cumsum(axis=-1), rtol=1e-4, atol=1e-6)
    again = type(environment)(environment.environment, environment.max_steps, environment.name)
    assert environment == again
    assert hash(environment) == hash(again)


@pytest.mark.parametrize("name", ["spread", "foraging"])
def test_a_step_leaves_a_state_like_a_resets(name, request):
    environment = LastAction(request.getfixturevalue(name))

    def step(key):
        reset_key, step_key = jax.random.split(key)
        state, _ = environment.reset(reset_key)
        return environment.step(step_key, state, jnp.zeros(environment.spec.num_agents, jnp.int32))

    def kinds(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)

    assert kinds(jax.eval_shape(step, jax.random.key(0))) == kinds(jax.eval_shape(environment.reset, jax.random.key(0)))


@pytest.mark.parametrize(
    ("adapter", "name", "reason"),
    [
        (
            from_jaxmarl,
            "MPE_simple_tag_v3",
            "its agents play against each other, adversary and agent; must cooperate",
        ),
        (from_jaxmarl, "ant_4x2", "JaxMARL cannot make it: ant_4x2 requires brax"),
        (from_jaxmarl, "storm", "it has no observation for each agent: they are of inventory, observations, not of 0"),
        (from_jaxmarl, "jaxnav", "the actions of agent_0 are a Box; must be discrete"),
        (from_jumanji, "Snake-v1", "it has one action of 4, for a single agent; must have one for each"),
        (from_jumanji, "BinPack-v2", "its actions have [40, 20] values; must be as many for each agent"),
        (from_jumanji, "SearchAndRescue-v0", "its actions are a BoundedArray; must be discrete"),
        (from_jumanji, "MMST-v0", "it has no agents_view for each of 3 agents"),
        (from_jumanji, "Connector-v3", "its observation is one for all, grid [10, 10], action_mask [10, 5], step"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(adapter, name, reason):
    assert name in adapter.names()
    with pytest.raises(UnfitError) as refusal:
        adapter.make(name, 100)
    assert reason in str(refusal.value)


def test_reasons_have_no_addresses():
    assert (
        str(UnfitError("it is <Box object at 0x7fca57ebac00>,\n no <Discrete>")) == "it is <Box object>, no <Discrete>"
    )


def test_agents_of_different_sizes_are_padded_and_masked():
    """As by JaxMARL's own wrapper: zeros behind shorter observations, actions that only others have masked."""
    library = SimpleSpeakerListenerMPE()
    environment = from_jaxmarl.make("MPE_simple_speaker_listener_v4", 25)
    spec, manager = environment.spec, CTRolloutManager(library, 1, preprocess_obs=False)
    assert (spec.num_agents, spec.num_actions, spec.observation_size, spec.masks_actions) == (2, 5, 11, True)
    assert (spec.num_actions, spec.observation_size) == (manager.max_action_space, manager.max_obs_length)

    def both(key):
        seen, _ = library.reset(jax.random.key_data(jax.random.clone(key)))
        state, first = environment.reset(key)
        return seen, first, environment.step(jax.random.key(1), state, jnp.array([2, 4]))[1]

    with library_style():
        seen, first, second = quick_jit(both)(jax.random.key(0))
        allowed = manager.get_valid_actions(None)
    for shown in (first, second):
        for i, agent in enumerate(library.agents):
            np.testing.assert_array_equal(shown.action_mask[i], allowed[agent][0] == 1)
    np.testing.assert_array_equal(first.observations[0], [*seen["speaker_0"], *[0] * 8])
    np.testing.assert_array_equal(first.observations[1], seen["listener_0"])
    assert check_environment(environment, num_episodes=4, seconds=1.0) is not None


@pytest.mark.filterwarnings("ignore:OvercookedV2 is now")
def test_shaped_rewards_are_the_librarys():
    """Step by step, until random cooks have put an onion into a pot."""
    library, key = Overcooked(), jax.random.key(3)
    environment = from_jaxmarl.make("overcooked", 50, shaped=True)
    state, _ = environment.reset(key)
    assert state.shaped_rewards.tolist() == [0.0, 0.0]
    actions = jax.random.randint(jax.random.key(0), (5_000, 2), 0, 6)

    def step(state, joint):
        with library_style():
            by_agent = {"agent_0": joint[0], "agent_1": joint[1]}
            *_, info = library.step_env(jax.random.key_data(jax.random.key(0)), state.world, by_agent)
        state, _ = environment.step(jax.random.key(0), state, joint)
        return state, (environment.spec.shaped_rewards(state), info["shaped_reward"])

    _, (found, expected) = quick_jit(lambda state: jax.lax.scan(step, state, actions))(state)
    np.testing.assert_array_equal(found[:, 0], expected["agent_0"])
    np.testing.assert_array_equal(found[:, 1], expected["agent_1"])
    assert found.any()
    assert from_jaxmarl.make("overcooked", 50).spec.shaped_rewards is None  # not asked for


@pytest.mark.parametrize(
    ("name", "arguments", "agents", "max_steps"),
    [
        ("HeuristicEnemySMAX", {"scenario": "3m", "see_enemy_actions": "false", "attack_mode": "random"}, 3, 100),
        ("MPE_simple_spread_v3", {"num_agents": "4", "num_landmarks": "4", "max_steps": "30"}, 4, 30),
        ("overcooked", {"layout": "coord_ring", "random_reset": "true"}, 2, 200),
        ("hanabi", {"num_agents": "3"}, 3, 200),
    ],
)
def test_arguments_of_jaxmarls_constructors(name, arguments, agents, max_steps):
    spec = from_jaxmarl.make(name, 200, arguments).spec
    assert (spec.num_agents, spec.max_steps) == (agents, max_steps)


def test_attack_modes_are_those_that_smax_documents():
    options = create_heuristic_policy.__doc__.partition("attack_mode (")[2].partition("Options are ")[2].split(". ")[0]
    assert options == " or ".join(map(repr, from_jaxmarl._ATTACK_MODES))


def test_arguments_of_jumanjis_constructors_and_generators():
    arguments = {"grid_size": "10", "num_agents": "3", "num_food": "4", "time_limit": "40", "penalty": "0.5"}
    environment = from_jumanji.make("LevelBasedForaging-v0", 200, arguments)
    assert (environment.spec.num_agents, environment.spec.max_steps, environment.environment.penalty) == (3, 40, 0.5)
    assert environment.environment._generator.grid_size == 10
    assert from_jumanji.make("RobotWarehouse-v0", 200, {"num_agents": "2"}).spec.num_agents == 2


@pytest.mark.parametrize("module", ["env_jax.foreign.jaxmarl", "env_jax.adapters.jaxmarl"])
def test_nothing_is_printed_while_jaxmarl_is_imported(module):
    code = f"import sys; before = sys.stdout, sys.stderr; import {module}; print((sys.stdout, sys.stderr) == before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_an_environment_with_masks_and_a_state_of_its_own():
    environment = from_jaxmarl.make("HeuristicEnemySMAX", 200)
    spec = environment.spec
    _, step = jax.eval_shape(environment.reset, jax.random.key(0))
    assert spec.masks_actions
    assert spec.state_from_observations is None
    assert step.state.shape == (spec.state_size,)
    assert step.action_mask.shape == (5, spec.num_actions)
    assert spec.max_steps == environment.environment.max_steps == 100
