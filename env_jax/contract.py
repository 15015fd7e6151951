"""Checks sizes, shapes and dtypes of an environment against `types`, by tracing only."""

import os
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from traceback import walk_tb
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.types import Environment, EnvSpec, TimeStep

MOST_STEPS = 65_535  # replay holds the steps of an episode as uint16
_LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parent))
)
_SIZES = ("num_agents", "num_actions", "observation_size", "state_size", "max_steps")


class ContractError(ValueError):
    """An environment breaks the contract; the message is one line: the field, its value, what it must be."""

    def __init__(self, environment: Any, message: str) -> None:
        name = getattr(getattr(environment, "spec", None), "name", None)
        called = name if isinstance(name, str) else type(environment).__name__
        super().__init__(f"environment {called[:100]}: {message}")


def expected_time_step(spec: EnvSpec) -> TimeStep:
    """Return the shapes and dtypes of a time step."""

    def leaf(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    return TimeStep(
        observations=leaf(spec.num_agents, spec.observation_size),
        state=leaf(spec.state_size),
        action_mask=leaf(spec.num_agents, spec.num_actions, dtype=jnp.bool_),
        rewards=leaf(spec.num_agents),
        terminated=leaf(dtype=jnp.bool_),
        truncated=leaf(dtype=jnp.bool_),
    )


def check_shapes(environment: Environment) -> tuple[TimeStep, TimeStep]:
    """Check the spec, and the shapes and dtypes that `reset`, `step` and the spec's functions return.

    Returns:
        Shapes and dtypes of the time steps of `reset` and `step`.

    Raises:
        ContractError: naming the first field that does not fit.
    """
    spec = _check_spec(environment)
    key = jax.eval_shape(lambda: jax.random.key(0))
    actions = jax.ShapeDtypeStruct((spec.num_agents,), jnp.int32)
    state, time_step = _check_returned(environment, spec, "reset", key)
    next_state, next_step = _check_returned(environment, spec, "step", key, state, actions)
    _check_alike(environment, state, next_state)
    _check_functions(environment, spec, key, state)
    return time_step, next_step


def trace(environment: Environment, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the shapes and dtypes that `function` returns.

    Raises:
        ContractError: the function raised; with its message in one line.
    """
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:  # whatever a third-party environment may raise
        raise ContractError(environment, f"{name}: cannot be traced: {located(error)}") from error


def one_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def located(error: BaseException) -> str:
    """Return `one_line`, followed by ' (FILE, line N)': the innermost line of a user's code behind the error, if any.

    The line that catches the error is skipped, as are those of installed libraries, this package and import machinery.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    own = [(name, line) for name, line in frames[1:] if not name.startswith(("<", *_LIBRARIES))]
    said = not own or isinstance(error, SyntaxError)  # whose message has the place
    return one_line(error) + ("" if said else f" ({own[-1][0]}, line {own[-1][1]})")


def described(leaf: Any) -> str:
    """Return dtype and shape, such as float32[2, 3]."""
    if not hasattr(leaf, "dtype"):
        return f"{leaf!r:.50}"
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def _check_spec(environment: Environment) -> EnvSpec:
    spec = getattr(environment, "spec", None)
    if not isinstance(spec, EnvSpec):
        raise ContractError(environment, f"spec: {type(spec).__name__}, must be an EnvSpec")
    if not (isinstance(spec.name, str) and spec.name.strip() and spec.name.isprintable()):
        raise ContractError(environment, f"spec.name: {spec.name!r:.50}, must be a text of one line")
    for name in _SIZES:
        value, most = getattr(spec, name), MOST_STEPS if name == "max_steps" else 2**31 - 1
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not (whole and 1 <= value <= most):
            raise ContractError(environment, f"spec.{name}: {value!r:.50}, must be a whole number from 1 to {most:,}")
    try:
        dtype = np.dtype(spec.observation_dtype)
        real = any(jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.floating, jnp.bool_))
    except TypeError:
        dtype, real = spec.observation_dtype, False
    if not (real and dtype.itemsize <= 4):
        wanted = "a dtype of real numbers in at most 32 bits, such as jnp.float32"
        raise ContractError(environment, f"spec.observation_dtype: {dtype!s:.50}, must be {wanted}")
    for declared in fields(spec):
        value = getattr(spec, declared.name)
        is_function = declared.default is None and declared.name != "action_names"
        if is_function and not (value is None or callable(value)):
            raise ContractError(environment, f"spec.{declared.name}: {value!r:.50}, must be a function or None")
    names = spec.action_names
    if names is not None and not (
        isinstance(names, tuple) and len(names) == spec.num_actions and all(isinstance(name, str) for name in names)
    ):
        raise ContractError(
            environment, f"spec.action_names: {names!r:.50}, must be a tuple of {spec.num_actions} texts or None"
        )
    return spec


def _check_returned(environment: Environment, spec: EnvSpec, name: str, *arguments: Any) -> tuple[Any, TimeStep]:
    """Return what `reset` or `step` returns, after checking the fields of its time step."""
    function = getattr(environment, name, None)
    if not callable(function):
        raise ContractError(environment, f"{name}: is missing")
    returned = trace(environment, name, function, *arguments)
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], TimeStep)):
        got = ", ".join(type(part).__name__ for part in returned) if isinstance(returned, tuple) else None
        raise ContractError(
            environment, f"{name}: returns {f'({got})' if got else type(returned).__name__}, must be (state, TimeStep)"
        )
    wanted = expected_time_step(spec)
    for field in fields(wanted):
        got, expected = getattr(returned[1], field.name), getattr(wanted, field.name)
        if getattr(got, "shape", None) != expected.shape or not _is_real(got):
            hint = _hint(field.name, got, spec)
            raise ContractError(
                environment, f"{field.name}: {name} gives {described(got)}, must be {described(expected)}{hint}"
            )
    return returned


def _hint(name: str, got: Any, spec: EnvSpec) -> str:
    shape = getattr(got, "shape", None)
    if name == "rewards" and shape in ((), (1,)):
        agents = spec.num_agents
        return f", each agent's own; give each its share of a team's reward: jnp.full({agents}, reward / {agents})"
    if name in ("terminated", "truncated") and shape == (spec.num_agents,):
        return ", one flag for the whole team, such as jnp.all(...) of the agents' own"
    return ""


def _check_alike(environment: Environment, after_reset: Any, after_step: Any) -> None:
    """Refuse states whose structure changes from `reset` to `step`, which a scan could not carry."""
    before, after = (jax.tree_util.tree_leaves_with_path(tree) for tree in (after_reset, after_step))
    if [path for path, _ in before] != [path for path, _ in after]:
        structures = f"{jax.tree.structure(after_reset)!s:.60} after reset and {jax.tree.structure(after_step)!s:.60}"
        raise ContractError(environment, f"state: {structures} after step, must be of one structure")
    for (path, one), (_, other) in zip(before, after, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            both = f"{described(one)} after reset and {described(other)} after step"
            raise ContractError(environment, f"state{jax.tree_util.keystr(path)}: {both}, must be the same")


def _check_functions(environment: Environment, spec: EnvSpec, key: Any, state: Any) -> None:
    """Check what the spec's optional functions return."""
    agents = spec.num_agents
    shown = expected_time_step(spec)
    discount = jax.ShapeDtypeStruct((), jnp.float32)
    calls: Mapping[str, tuple[tuple[Any, ...], str, Callable[[Any], bool]]] = {
        "encode_observations": (
            (shown.observations,),
            f"float32[{agents}, F]",
            lambda x: x.ndim == 2 and x.shape[0] == agents,
        ),
        "state_from_observations": (
            (shown.observations,),
            described(shown.state),
            lambda x: x.shape == shown.state.shape,
        ),
        "encode_state": ((shown.state,), "float32[G]", lambda x: x.ndim == 1),
        "best_return": ((state, discount), "float32[]", lambda x: x.ndim == 0),
        "baseline_policy": (
            (key, shown.observations),
            f"int32[{agents}]",
            lambda x: x.shape == (agents,) and bool(jnp.issubdtype(x.dtype, jnp.integer)),
        ),
        "shaped_rewards": ((state,), f"float32[{agents}]", lambda x: x.shape == (agents,)),
        "success": ((state,), "bool[]", lambda x: x.ndim == 0),
        "agent_positions": ((state,), f"[{agents}, ...]", lambda x: x.ndim > 0 and x.shape[0] == agents),
    }
    for name, (arguments, wanted, fits) in calls.items():
        function = getattr(spec, name)
        if function is not None:
            got = trace(environment, f"spec.{name}", function, *arguments)
            if not (_is_real(got) and fits(got)):
                raise ContractError(environment, f"spec.{name}: gives {described(got)}, must be {wanted}")
    if spec.episode_metrics is not None:
        got = trace(environment, "spec.episode_metrics", spec.episode_metrics, state)
        named = isinstance(got, dict) and all(isinstance(name, str) and name.isidentifier() for name in got)
        if not (named and all(_is_real(value) and value.shape == () for value in got.values())):
            raise ContractError(
                environment, f"spec.episode_metrics: gives {got!r:.100}, must be numbers [] by names such as food_left"
            )


def _is_real(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and any(jnp.issubdtype(dtype, kind) for kind in (jnp.integer, jnp.floating, jnp.bool_))
