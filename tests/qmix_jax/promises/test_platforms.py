"""Every program of a run lowers for CPUs, GPUs and TPUs, without a device of that kind, and does nothing slow there."""

import re
from collections import Counter

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
    "without replay": {"replay": "none", "agent": "gru", "target": "q_lambda", "sequence_length": 4, "batch_size": 16},
}


# Loops whose number of iterations is known only on the device: the host of a GPU waits for the answer before each one.
UNKNOWN_LOOPS = {
    "init": 0,
    "train_chunk": 3,  # the last chunk's length; the blocks of updates that are due; the updates of a block
    "evaluate": 1,  # until every episode has ended
}
# Host calls, branches that the host must choose, sorts, and sums whose order differs between runs on a GPU.
SLOW = {"cond", "sort", "top_k", "scatter-add", "pure_callback", "io_callback", "debug_callback"}
SUM_TREE = "scatter-add"  # of prioritised replay
SHUFFLE = "sort"  # without replay: of the environments' numbers, once an epoch


def programs(config):
    """Return functions by name with their arguments, and which argument is donated."""
    trainer, key = make_trainer(config, make_environment(config)), seed_key(0)
    state = jax.eval_shape(trainer.init, key)
    return {
        "init": (trainer.init, (key,), ()),
        "train_chunk": (trainer.train_chunk, (state,), (0,)),
        "evaluate": (trainer.evaluate, (state.learner.params, key), ()),
    }


def population(config):
    """The same for three seeds with learning rates of their own, as accelerators train them: in one vmap."""
    members = make_population(config, make_environment(config), ("lr",))
    settings, keys = {"lr": jnp.full(3, 1e-3)}, jax.random.split(seed_key(0), 3)
    state = jax.eval_shape(members.init, settings, keys)
    return {
        "init": (members.init, (settings, keys), ()),
        "train_chunk": (members.train_chunk, (settings, state), (1,)),
        "evaluate": (members.evaluate, (settings, state.learner.params, keys), ()),
    }


PLATFORMS = ("cpu", "cuda", "tpu")


def equations(jaxpr):
    """Yield the equations of a traced program, and those inside of them."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                yield from equations(getattr(inner, "jaxpr", inner))


def is_jaxpr(value):
    return hasattr(value, "eqns")


def check(found, allowed=(), loops=UNKNOWN_LOOPS):
    for name, (function, arguments, donated) in found.items():
        traced = jax.jit(function, donate_argnums=donated).trace(*arguments)
        text = traced.lower(lowering_platforms=PLATFORMS).as_text()
        assert not re.search(r"\bf64\b|callback|custom_call|infeed|outfeed|stablehlo\.(send|recv)", text), name
        reused = len(re.findall("tf.aliasing_output|jax.buffer_donor", text))
        assert reused == sum(len(jax.tree.leaves(arguments[number])) for number in donated), name

        inside = list(equations(traced.jaxpr.jaxpr))
        counts = Counter(equation.primitive.name for equation in inside)
        assert counts["while"] == loops[name], name
        assert not (SLOW - set(allowed)) & counts.keys(), name
        # JAX's own random numbers have counters of 64 bits once they are lowered, which is left to the compiler.
        dtypes = {variable.aval.dtype for equation in inside for variable in equation.outvars}
        assert all(dtype.itemsize <= 4 for dtype in dtypes if not jnp.issubdtype(dtype, jax.dtypes.prng_key)), name
        if name == "train_chunk":
            # Of many seeds, none goes on while another waits: all share the counters that loops depend on.
            conditions = [one.params["cond_jaxpr"].out_avals for one in inside if one.primitive.name == "while"]
            assert all(decision.shape == () for (decision,) in conditions)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_lowers(settings):
    replay, loops = settings.get("replay"), UNKNOWN_LOOPS
    if replay == "none":  # a block is an epoch
        loops = {**loops, "train_chunk": 2}
    check(programs(small_config(**settings)), {"prioritised": [SUM_TREE], "none": [SHUFFLE]}.get(replay, ()), loops)


def test_vmapped_seeds_lower(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    check(population(small_config()))
