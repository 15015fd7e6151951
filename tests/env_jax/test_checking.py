"""The contract's checks: what tracing shows, what episodes of random actions show, and what is let through."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from env_jax import ContractError, GridWorld25, LastAction, TimeStep, check_environment
from env_jax.checking import check_briefly
from env_jax.contract import check_shapes
from env_jax.conversion import Converted, conform
from env_jax.rollout import check, holds, play_and_check, random_actions
from env_jax.types import EnvSpec

SPEC = EnvSpec(
    name="Small",
    num_agents=2,
    num_actions=3,
    observation_size=2,
    state_size=1,
    max_steps=3,
    observation_dtype=jnp.int8,
)


class Small:
    """Three steps; action 1 pays. `spec_changes` and the fields of `shown` stand in place of the right ones."""

    def __init__(self, spec_changes=None, **shown):
        self.spec = replace(SPEC, **(spec_changes or {}))
        self.shown = shown

    def reset(self, key):
        t = jnp.zeros((), jnp.int32)
        return t, self.show(t, jnp.zeros(2))

    def step(self, key, t, actions):
        return t + 1, self.show(t + 1, jnp.where(actions == 1, 1.0, 0.0))

    def show(self, t, rewards):
        time_step = TimeStep(
            observations=jnp.full((2, 2), t, jnp.float32),
            state=jnp.full(1, t, jnp.float32),
            action_mask=jnp.ones((2, 3), bool),
            rewards=rewards,
            terminated=t >= 3,
            truncated=jnp.zeros((), bool),
        )
        return time_step.replace(**self.shown)


class ChangingState(Small):
    def step(self, key, t, actions):
        return t.astype(jnp.float32), super().step(key, t, actions)[1]


class PythonBranch(Small):
    def step(self, key, t, actions):
        return (t + 1 if actions[0] == 1 else t), super().step(key, t, actions)[1]


class OnlyTimeStep(Small):
    def reset(self, key):
        return super().reset(key)[1]


REFUSED = [
    (Small({"num_agents": 0}), "spec.num_agents: 0, must be a whole number from 1 to 2,147,483,647"),
    (Small({"num_actions": 3.0}), "spec.num_actions: 3.0, must be a whole number"),
    (Small({"num_agents": True}), "spec.num_agents: True, must be a whole number"),
    (Small({"max_steps": 65_536}), "spec.max_steps: 65536, must be a whole number from 1 to 65,535"),
    (
        Small({"observation_dtype": float}),
        "spec.observation_dtype: float64, must be a dtype of real numbers in at most 32",
    ),
    (Small({"observation_dtype": jnp.complex64}), "spec.observation_dtype: complex64, must be"),
    (Small({"observation_dtype": "number"}), "spec.observation_dtype: number, must be"),
    (Small({"best_return": 3.0}), "spec.best_return: 3.0, must be a function or None"),
    (Small(observations=jnp.zeros(4)), "observations: reset gives float32[4], must be float32[2, 2]"),
    (
        Small(observations=jnp.zeros((2, 2), jnp.complex64)),
        "observations: reset gives complex64[2, 2], must be float32",
    ),
    (Small(state=jnp.zeros(())), "state: reset gives float32[], must be float32[1]"),
    (Small(action_mask=None), "action_mask: reset gives None, must be bool[2, 3]"),
    (Small(action_mask=jnp.ones((3, 2), bool)), "action_mask: reset gives bool[3, 2], must be bool[2, 3]"),
    (
        Small(rewards=jnp.zeros(())),
        "rewards: reset gives float32[], must be float32[2], each agent's own; give each its share of a team's reward: "
        "jnp.full(2, reward / 2)",
    ),
    (
        Small(terminated=jnp.zeros(2, bool)),
        "terminated: reset gives bool[2], must be bool[], one flag for the whole team",
    ),
    (Small(truncated=jnp.zeros((1, 1), bool)), "truncated: reset gives bool[1, 1], must be bool[]"),
    (ChangingState(), "state: int32[] after reset and float32[] after step, must be the same"),
    (PythonBranch(), "step: cannot be traced: TracerBoolConversionError: "),
    (OnlyTimeStep(), "reset: returns TimeStep, must be (state, TimeStep)"),
    (Small({"encode_observations": jnp.ravel}), "spec.encode_observations: gives float32[4], must be float32[2, F]"),
    (
        Small({"state_from_observations": jnp.ravel}),
        "spec.state_from_observations: gives float32[4], must be float32[1]",
    ),
    (Small({"encode_state": jnp.sum}), "spec.encode_state: gives float32[], must be float32[G]"),
    (Small({"best_return": lambda state, discount: state.value}), "spec.best_return: cannot be traced: AttributeErr"),
    (
        Small({"best_return": lambda state, discount: jnp.ones(2)}),
        "spec.best_return: gives float32[2], must be float32[]",
    ),
    (
        Small({"baseline_policy": lambda key, seen: jnp.ones(2)}),
        "spec.baseline_policy: gives float32[2], must be int32[2]",
    ),
    (Small({"episode_metrics": lambda t: {"steps, all": t}}), "spec.episode_metrics: gives {'steps, all':"),
    (Small({"success": lambda t: jnp.ones(2, bool)}), "spec.success: gives bool[2], must be bool[]"),
    (Small({"agent_positions": lambda t: t}), "spec.agent_positions: gives int32[], must be [2, ...]"),
]


@pytest.mark.parametrize(("environment", "expected"), REFUSED, ids=[expected[:60] for _, expected in REFUSED])
def test_what_tracing_shows(environment, expected):
    with pytest.raises(ContractError) as refused:
        conform(environment)
    assert str(refused.value).startswith(f"environment Small: {expected}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "two\nlines", None])
def test_a_name_is_one_line(name):
    with pytest.raises(ContractError, match=r"spec\.name: .* must be a text of one line"):
        check_shapes(Small({"name": name}))


@pytest.mark.parametrize("names", [("a", "b"), ["a", "b", "c"], ("a", "b", 3), "abc"])
def test_names_of_actions(names):
    with pytest.raises(ContractError, match=r"spec.action_names: .*, must be a tuple of 3 texts or None"):
        check_shapes(Small({"action_names": names}))


def test_a_missing_spec():
    with pytest.raises(ContractError, match=r"environment object: spec: NoneType, must be an EnvSpec"):
        check_shapes(object())


# Of one episode after the second step of three: what is not as it should be, and what is said of it.
VALUES = [
    (
        {},
        {"observations": 600.0},
        "observations: 600.0 after 2 steps, must be held exactly by spec.observation_dtype, int8, "
        "whole numbers from -128 to 127",
    ),
    (
        {"observation_dtype": jnp.uint8},
        {"observations": -1.0},
        "observations: -1.0 after 2 steps, must be held exactly",
    ),
    ({}, {"observations": 0.5}, "observations: 0.5 after 2 steps, must be held exactly by"),
    (
        {"observation_dtype": jnp.float16},
        {"observations": 0.1},
        "observations: 0.1 after 2 steps, must be held exactly by spec.observation_dtype, float16",
    ),
    ({"observation_dtype": jnp.float32}, {"observations": np.nan}, "observations: nan after 2 steps, must be finite"),
    ({}, {"state": np.inf}, "state: inf after 2 steps, must be finite"),
    ({"state_from_observations": jnp.sum}, {"state": 3.0}, "state: 3.0 after 2 steps, must equal"),
    ({}, {"action_mask": 0.5}, "action_mask: 0.5 after 2 steps, must be true or false"),
    (
        {"masks_actions": False},
        {"action_mask": False},
        "action_mask: False after 2 steps, must be true for every action",
    ),
    ({}, {"rewards": np.nan}, "rewards: nan after 2 steps, must be finite"),
    ({}, {"rewards": -np.inf}, "rewards: -inf after 2 steps, must be finite"),
    ({}, {"terminated": 2}, "terminated: 2.0 after 2 steps, must be true or false"),
    ({}, {"truncated": np.nan}, "truncated: nan after 2 steps, must be true or false"),
    (
        {},
        {"terminated": True, "truncated": True},
        "truncated: True after 2 steps, must be false where terminated is true",
    ),
    ({"max_steps": 2}, {}, "truncated: False after 2 steps, must be true unless terminated is: spec.max_steps is 2"),
]


@pytest.mark.parametrize(("spec_changes", "values", "expected"), VALUES, ids=[expected[:60] for *_, expected in VALUES])
def test_what_values_show(spec_changes, values, expected):
    environment = Small(spec_changes)
    good = {
        "observations": 2.0,
        "state": 2.0,
        "action_mask": True,
        "rewards": 1.0,
        "terminated": False,
        "truncated": False,
    }
    shapes = {"observations": (1, 2, 2), "state": (1, 1), "action_mask": (1, 2, 3), "rewards": (1, 2)}

    def shown(values):
        return TimeStep(**{name: np.full(shapes.get(name, (1,)), value) for name, value in (good | values).items()})

    derived = np.full((1, 1), 2.0) if "state_from_observations" in spec_changes else None
    with pytest.raises(ContractError) as refused:
        check(environment, 2, shown(values), derived, np.array([True]))
    assert str(refused.value).startswith(f"environment Small: {expected}")
    check(environment, 2, shown(values), derived, np.array([False]))  # an episode that is over
    check(Small(), 2, shown({}), None, np.array([True]))


def test_an_episode_that_is_over_at_its_reset():
    shown = jax.tree.map(lambda x: np.asarray(x)[None], Small(terminated=np.array(True)).reset(None)[1])
    with pytest.raises(ContractError, match="terminated: True after reset, must be false"):
        check(Small(), 0, shown, None, np.array([True]))


def test_dtypes_hold_what_they_hold():
    values = np.array([0.0, 1.0, 2.0, -1.0, 255.0, 256.0, 0.5, 1 / 3, 65_519.0, 2.0**24 + 1])
    held = {
        jnp.bool_: [0, 1],
        jnp.uint8: [0, 1, 2, 4],
        jnp.int16: [0, 1, 2, 3, 4, 5],
        jnp.float16: [0, 1, 2, 3, 4, 5, 6],
        jnp.bfloat16: [0, 1, 2, 3, 4, 5, 6],
        jnp.float32: [0, 1, 2, 3, 4, 5, 6, 8],
    }
    for dtype, expected in held.items():
        assert np.flatnonzero(holds(np.dtype(dtype), values)).tolist() == expected, dtype


def test_random_actions_are_allowed_ones_and_all_of_them():
    masks = np.tile(np.array([[1, 0, 1], [0, 0, 0]], bool), (200, 1, 1))
    actions = random_actions(np.random.default_rng(0), masks)
    assert set(actions[:, 0].tolist()) == {0, 2}
    assert set(actions[:, 1].tolist()) == {0}  # an agent that has none


class Chance(Small):
    """Rewards from a generator of Python's own: constants of each tracing."""

    def step(self, key, t, actions):
        state, time_step = super().step(key, t, actions)
        return state, time_step.replace(rewards=jnp.asarray(np.random.default_rng().random(2), jnp.float32))


class SameKey(Small):
    """Draws twice by one key, and starts by chance."""

    def reset(self, key):
        a, b = jax.random.bernoulli(key), jax.random.bernoulli(key)
        t = (a & b).astype(jnp.int32)
        return t, self.show(t, jnp.zeros(2))


def test_a_whole_check_says_what_may_not_be_meant():
    shown = {"rewards": jnp.zeros(2, jnp.int32)}
    assert check_environment(Small(**shown), num_episodes=4) == [
        "rewards: int32[2], which training converts to float32",
        "reset: every episode starts in the same state, whatever the key",
        "rewards: always 0 under random actions",
        "action_mask: no action was masked; with spec.masks_actions False replay need not store masks",
    ]


def test_a_whole_check_sees_keys_that_are_used_twice():
    with jax.debug_key_reuse(False):
        notes = check_environment(SameKey({"masks_actions": False}))
    assert [note.partition(":")[0] for note in notes] == ["reset"]
    assert notes[0].startswith("reset: uses a key twice: KeyReuseError: ")


def test_a_whole_check_sees_what_depends_on_more_than_its_arguments():
    with pytest.raises(
        ContractError, match="rewards: differs between two runs of the same keys and actions, after 1 st"
    ):
        check_environment(Chance(), num_episodes=1)


def test_a_bound_that_random_actions_beat():
    spec_changes = {"best_return": lambda state, discount: discount - 1.0}
    with pytest.raises(ContractError, match=r"spec\.best_return: -0\.05, must be at least \d"):
        check_environment(Small(spec_changes), num_episodes=4)


def test_a_picture_is_checked():
    assert check_environment(Small({"render": lambda state: np.zeros((2, 3, 3), np.uint8)})) is not None
    with pytest.raises(ContractError, match=r"spec.render: gives float64\[2, 3\], must be uint8\[H, W, 3\]"):
        check_environment(Small({"render": lambda state: np.zeros((2, 3))}))


def test_a_short_check_reaches_the_values_under_any_trace():
    late = Small()
    late.shown = {"observations": jnp.full((2, 2), 300.0)}
    for call in (lambda: check_briefly(late), lambda: jax.eval_shape(lambda _: check_briefly(late), 0)):
        with pytest.raises(ContractError, match=r"observations: 300\.0 after reset"):
            call()


def test_time_is_short():
    endless = Small({"max_steps": 65_535}, terminated=jnp.zeros((), bool))
    episodes = play_and_check(endless, 2, seconds=0.0)
    assert episodes.lengths.tolist() == [1, 1]
    assert not episodes.ended.any()


def test_what_fits_stays_itself():
    for environment in (Small(), GridWorld25(), LastAction(GridWorld25()), LastAction(Small())):
        assert conform(environment) is environment
    check_briefly(GridWorld25())


def test_numbers_and_flags_of_other_dtypes_are_converted():
    shown = {
        "observations": jnp.ones((2, 2), jnp.uint8),
        "state": jnp.ones(1, jnp.float16),
        "action_mask": jnp.array([[1, 0, 1], [1, 1, 1]]),
        "rewards": jnp.array([1, -2]),
        "terminated": jnp.ones(()),
        "truncated": jnp.zeros((), jnp.uint8),
    }
    environment = conform(LastAction(Small(**shown)))
    assert isinstance(environment, LastAction)
    assert isinstance(environment.environment, Converted)
    _, time_step = environment.environment.step(jax.random.key(0), jnp.int32(0), jnp.zeros(2, jnp.int32))
    assert time_step.rewards.tolist() == [1.0, -2.0]
    assert time_step.action_mask.tolist() == [[True, False, True], [True, True, True]]
    assert (time_step.terminated.tolist(), time_step.truncated.tolist()) == (True, False)
    assert time_step.observations.dtype == time_step.state.dtype == time_step.rewards.dtype == jnp.float32
    assert conform(environment) is environment


def test_an_environment_without_a_hash_gets_one():
    class Unhashable(Small):
        __hash__ = None

    hash(conform(Unhashable()))


def test_the_grid_wants_an_action_for_each_agent():
    with pytest.raises(ValueError, match=r"actions must have the shape \(4,\), not \(3,\)"):
        jax.eval_shape(
            lambda key: GridWorld25().step(key, GridWorld25().reset(key)[0], jnp.zeros(3, jnp.int32)), jax.random.key(0)
        )
