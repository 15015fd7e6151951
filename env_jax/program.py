"""What an environment computes, found by tracing: a fingerprint, the sizes of its state, who gets which reward."""

import hashlib
import math
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr

from env_jax.contract import described
from env_jax.types import Array, Environment

# Operations whose results hold nothing but their operands' values, and calls of jitted functions.
_REPEATS = ("broadcast_in_dim", "concatenate", "convert_element_type", "copy", "reshape", "squeeze", "stack")
_CALLS = ("jit", "pjit")


class Program(NamedTuple):
    """An environment's `reset`, `step`, and functions of its spec that training uses."""

    fingerprint: str  # of the lowered program with its constants: under one version of JAX, equal on all machines
    state: dict[str, str]  # dtype and shape of each array of the environment's state, by its path
    observation_features: int  # numbers of an agent's encoded observation
    state_features: int  # and of the encoded global state
    shares_reward: bool  # whether all agents visibly get the same reward at every step


def program_of(environment: Environment) -> Program:
    """Trace and lower the functions of a hashable environment; nothing is compiled or run, and the result is kept.

    The program is compared, and not the module's source: it has what the module imports and the constructor's
    arguments in it, and no comments. Names of functions that are jitted inside count.
    """
    return _program_of(cast(Hashable, environment))


@lru_cache(maxsize=64)
def _program_of(environment: Any) -> Program:
    key = jax.eval_shape(lambda: jax.random.key(0))
    actions = jax.ShapeDtypeStruct((environment.spec.num_agents,), jnp.int32)
    # The names of this module's own functions are part of the text.
    traced = jax.jit(lambda key, actions: _episode_start(environment, key, actions)).trace(key, actions)
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    _, state, features, state_features, _ = traced.out_info
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return Program(
        hashlib.sha256(text.encode()).hexdigest()[:16],
        {jax.tree_util.keystr(path, simple=True, separator="."): described(leaf) for path, leaf in leaves},
        features.shape[1],
        state_features.size,
        _is_one_value(traced.jaxpr.jaxpr, traced.jaxpr.jaxpr.outvars[0]),
    )


def _episode_start(environment: Environment, key: Array, actions: Array) -> tuple[Any, ...]:
    """Return a step's rewards, the state before it, the encoded observation and state, and all else that follows."""
    spec = environment.spec
    reset_key, step_key = jax.random.split(key)
    state, first = environment.reset(reset_key)
    next_state, stepped = environment.step(step_key, state, actions)
    encoders = (spec.encode_observations, stepped.observations), (spec.encode_state, stepped.state)
    features, state_features = (shown if encode is None else encode(shown) for encode, shown in encoders)
    read = (spec.shaped_rewards, spec.success, spec.episode_metrics)
    rest = [function(next_state) for function in read if function is not None]
    if spec.state_from_observations is not None:
        rest.append(spec.state_from_observations(stepped.observations))
    return stepped.rewards, state, features, state_features, (next_state, first, stepped, rest)


def _is_one_value(jaxpr: Jaxpr, variable: Any) -> bool:
    """Whether an array is made of one number, as far as the operations that put it together show."""
    return math.prod(_origin(jaxpr, variable)[-1].aval.shape) == 1


def _origin(jaxpr: Jaxpr, variable: Any) -> tuple[Any, ...]:
    """Return the variable whose value fills all of `variable`, itself if no other is found, after the calls it is in.

    The calls tell two results of one jitted function apart, which is traced once.
    """
    equation = next((equation for equation in jaxpr.eqns if variable in equation.outvars), None)
    if equation is None:
        return (variable,)  # an argument or a constant
    name, operands = equation.primitive.name, equation.invars
    if name in _CALLS:
        inner = equation.params["jaxpr"].jaxpr
        *calls, found = _origin(inner, inner.outvars[equation.outvars.index(variable)])
        if not calls and found in inner.invars:
            return _origin(jaxpr, operands[inner.invars.index(found)])
        return (equation, *calls, found)
    if name in _REPEATS:
        origins = [_origin(jaxpr, operand) for operand in operands]
        alike = all(list(map(id, origin)) == list(map(id, origins[0])) for origin in origins)
        if alike and math.prod(origins[0][-1].aval.shape) == 1:
            return origins[0]
    return (variable,)
