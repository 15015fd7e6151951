"""Every program of a run lowers for CPUs, GPUs and TPUs, without a device of that kind, and does nothing slow there."""

import re

import jax
import jax.numpy as jnp
import pytest
from helpers import small_config

from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.population import make_population
from qmix_jax.training.trainer import make_trainer

SETTINGS = {
    "default": {},
    "random starts": {"env_mode": "random", "share_parameters": True, "last_action": True, "time_limit": "bootstrap"},
    "recurrent": {"agent": "gru", "target": "q_lambda", "sequence_length": 4, "replay": "prioritised"},
    "weighted": {"algorithm": "ow_qmix", "standardise_rewards": True},
    "qplex": {"algorithm": "qplex"},
}


def programs(config):
    """Return functions with their arguments, and which argument is donated."""
    trainer, key = make_trainer(config, make_environment(config)), seed_key(0)
    state = jax.eval_shape(trainer.init, key)
    return [
        (trainer.init, (key,), ()),
        (trainer.train_chunk, (state,), (0,)),
        (trainer.evaluate, (state.learner.params, key), ()),
    ]


def population(config):
    """The same for three seeds with learning rates of their own, as accelerators train them: in one vmap."""
    members = make_population(config, make_environment(config), ("lr",))
    settings, keys = {"lr": jnp.full(3, 1e-3)}, jax.random.split(seed_key(0), 3)
    state = jax.eval_shape(members.init, settings, keys)
    return [
        (members.init, (settings, keys), ()),
        (members.train_chunk, (settings, state), (1,)),
        (members.evaluate, (settings, state.learner.params, keys), ()),
    ]


PLATFORMS = ("cpu", "cuda", "tpu")


def check(found):
    for function, arguments, donated in found:
        traced = jax.jit(function, donate_argnums=donated).trace(*arguments)
        text = traced.lower(lowering_platforms=PLATFORMS).as_text()
        assert not re.search(r"\bf64\b|callback|infeed|outfeed|stablehlo\.(send|recv)", text), function
        reused = len(re.findall("tf.aliasing_output|jax.buffer_donor", text))
        assert reused == sum(len(jax.tree.leaves(arguments[number])) for number in donated), function


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_lowers(settings):
    check(programs(small_config(**settings)))


def test_vmapped_seeds_lower(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    check(population(small_config()))
