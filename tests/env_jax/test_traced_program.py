"""What tracing finds out about an environment: when two compute the same, and whose the rewards are."""

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from env_jax import EnvSpec, GridWorld25, TimeStep
from env_jax.foreign import jaxmarl as from_jaxmarl
from env_jax.foreign import jumanji as from_jumanji
from env_jax.program import program_of

SPEC = EnvSpec("small", 2, 3, 1, 1, 4, jnp.float32)
ONES = jnp.ones


def small(rewards, spec=SPEC):
    """An environment whose step pays `rewards` of the sum of the actions."""

    def show(paid):
        return TimeStep(ONES((2, 1)), ONES(1), ONES((2, 3), bool), paid, jnp.array(False), jnp.array(True))

    def step(key, state, actions):
        del key
        return state + 1, show(rewards(jnp.sum(actions).astype(jnp.float32)))

    return SimpleNamespaceByIdentity(spec=spec, reset=lambda key: (jnp.zeros(()), show(jnp.zeros(2))), step=step)


class SimpleNamespaceByIdentity(SimpleNamespace):
    __hash__ = object.__hash__


TABLE = np.arange(5.0, dtype=np.float32)


def test_equal_programs_have_equal_fingerprints():
    def documented(x):
        """Pay."""
        return jnp.full(2, x)

    first = program_of(small(lambda x: jnp.full(2, x)))
    assert program_of(small(documented)) == first
    assert first.state == {"": "float32[]"}
    others = {
        "a number": small(lambda x: jnp.full(2, x + 1)),
        "a table": small(lambda x: jnp.full(2, jnp.asarray(TABLE)[x.astype(int)])),
        "another table": small(lambda x: jnp.full(2, jnp.asarray(TABLE + 1)[x.astype(int)])),
        "success": small(lambda x: jnp.full(2, x), replace(SPEC, success=lambda state: state > 2)),
        "features": small(lambda x: jnp.full(2, x), replace(SPEC, encode_observations=lambda seen: 2 * seen)),
    }
    prints = [first.fingerprint, *(program_of(environment).fingerprint for environment in others.values())]
    assert len(set(prints)) == len(prints)


def test_another_process_finds_the_same_fingerprint():
    program = (
        "from env_jax.foreign.jaxmarl import make; from env_jax.program import program_of;"
        "print(program_of(make('switch_riddle', 50)).fingerprint)"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert found.stdout.split()[-1] == program_of(from_jaxmarl.make("switch_riddle", 50)).fingerprint


@jax.jit
def both(x):
    halved = 0.5 * x
    return {"one": halved, "other": halved}


SHARED = {
    "full": lambda x: jnp.full(2, x),
    "stack": lambda x: jnp.stack([x, x]),
    "of a jitted function": lambda x: jnp.stack(list(both(x).values())),
    "array of one": lambda x: jnp.broadcast_to(jnp.array([x]), 2),
    "converted": lambda x: jnp.stack([x, x]).astype(jnp.float16).astype(jnp.float32),
}
OWN = {
    "vector": lambda x: x * jnp.arange(2.0),
    "stack": lambda x: jnp.stack([x, -x]),
    "two calls": lambda x: jnp.stack([both(x)["one"], both(-x)["one"]]),
    "concatenation": lambda x: jnp.concatenate([jnp.array([x]), jnp.array([x + 1])]),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_reward(name):
    assert program_of(small(SHARED[name])).shares_reward


@pytest.mark.parametrize("name", OWN)
def test_rewards_of_their_own(name):
    assert not program_of(small(OWN[name])).shares_reward


@pytest.mark.parametrize(
    ("adapter", "name", "arguments", "shares"),
    [
        (from_jaxmarl, "coin_game", {}, False),
        (from_jaxmarl, "coin_game", {"shared_rewards": "true"}, True),
        (from_jaxmarl, "MPE_simple_speaker_listener_v4", {}, True),
        (from_jaxmarl, "overcooked", {}, True),
        (from_jumanji, "LevelBasedForaging-v0", {}, False),
    ],
)
def test_rewards_of_the_libraries(adapter, name, arguments, shares):
    assert program_of(adapter.make(name, 50, arguments)).shares_reward is shares


def test_the_grid_pays_each_agent():
    assert not program_of(GridWorld25()).shares_reward
