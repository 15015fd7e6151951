"""Third-party environments in our contract: what their adapters share."""

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from env_jax.arguments import ArgumentError
from env_jax.contract import one_line
from env_jax.types import Array, EnvSpec, TimeStep


class UnfitError(ValueError):
    """An environment that cannot be made or does not fit the contract; the message is one line with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(re.sub(r" at 0x[0-9a-f]+", "", reason).split()))  # without addresses of objects


@struct.dataclass
class ForeignState:
    """A library's state, and what the adapter counts beside it."""

    world: Any  # the library's own state; resume.npz knows it by this name
    step_count: Array  # int32[], environment steps since the reset
    team_return: Array  # float32[], undiscounted sum of the team's rewards since the reset
    shaped_rewards: Array | None = None  # float32[N], of the last step; None unless they are asked for


class Stepped(NamedTuple):
    """What a library returns after a step."""

    library_state: Any
    shown: Any  # what it shows the agents
    rewards: Array  # float32[N]
    terminated: Array  # bool[]
    done: Array  # bool[], whether the episode ended for any reason
    shaped_rewards: Array | None = None  # float32[N], if it has any


@dataclass(frozen=True)
class ForeignEnvironment(ABC):
    """A library's `environment` in our contract. Hashable: a static argument of `jax.jit`.

    An episode lasts `max_steps` steps, or the environment's own limit where that is shorter, and is then truncated. The
    libraries end an episode at their limit as they end one that is over, so the adapter steps a copy whose limit is one
    step later: whatever that ends, at whichever step, has terminated.

    Raises:
        UnfitError: the environment does not fit the contract.
    """

    environment: Any
    max_steps: int
    name: str
    shaped: bool = False  # whether to keep shaped rewards, for `EnvSpec.shaped_rewards`
    spec: EnvSpec = field(init=False, compare=False, repr=False)
    _longer: Any = field(init=False, compare=False, repr=False)

    _kind: ClassVar[type]  # what the library's environments are instances of
    _limit: ClassVar[str]  # the attribute that holds their time limit

    def __post_init__(self) -> None:
        """Read the environment's sizes once."""
        try:
            spec = self._make_spec()
        except UnfitError:
            raise
        except Exception as error:  # whatever the library's own attributes may raise, such as without any agent
            raise UnfitError(f"its sizes cannot be read: {one_line(error)}") from error
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "_longer", one_step_longer(self.environment, self._kind, self._limit))

    def reset(self, key: Array) -> tuple[ForeignState, TimeStep]:
        """Start an episode."""
        with library_style():
            library_state, shown = self._reset(jax.random.key_data(key))
            nothing, never = jnp.zeros(self.spec.num_agents), jnp.zeros((), bool)
            shaped = nothing if self.spec.shaped_rewards is not None else None
            state = ForeignState(_strong(library_state), jnp.zeros((), jnp.int32), jnp.zeros(()), shaped)
            return state, self._time_step(library_state, shown, nothing, never, never)

    def step(self, key: Array, state: ForeignState, actions: Array) -> tuple[ForeignState, TimeStep]:
        """Take one step with int32[N] actions."""
        with library_style():
            stepped = self._step(jax.random.key_data(key), state.world, actions)
            count, team_return = state.step_count + 1, state.team_return + jnp.sum(stepped.rewards)
            shaped = stepped.shaped_rewards if self.spec.shaped_rewards is not None else None
            truncated = ~stepped.terminated & (stepped.done | (count >= self.spec.max_steps))
            return ForeignState(_strong(stepped.library_state), count, team_return, shaped), self._time_step(
                stepped.library_state, stepped.shown, stepped.rewards, stepped.terminated, truncated
            )

    @abstractmethod
    def _make_spec(self) -> EnvSpec:
        """Return the spec, or raise UnfitError."""

    @abstractmethod
    def _reset(self, key_data: Array) -> tuple[Any, Any]:
        """Return the library's state after a reset, and what it shows the agents."""

    @abstractmethod
    def _step(self, key_data: Array, library_state: Any, actions: Array) -> Stepped:
        """Step `_longer`."""

    @abstractmethod
    def _observe(self, library_state: Any, shown: Any) -> tuple[Array, Array, Array]:
        """Return observations float32[N, O], global state float32[S] and action mask bool[N, A]."""

    def _time_step(
        self, library_state: Any, shown: Any, rewards: Array, terminated: Array, truncated: Array
    ) -> TimeStep:
        observations, state, mask = self._observe(library_state, shown)
        return TimeStep(observations, state, mask, rewards, terminated, truncated)


@contextmanager
def making(library: str) -> Iterator[None]:
    """Call a library's constructors, without their warnings.

    Raises:
        UnfitError: whatever they raise.
    """
    try:
        with library_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that another of its environments is better
            yield
    except ArgumentError:
        raise
    except Exception as error:  # whatever a third-party constructor may raise
        raise UnfitError(f"{library} cannot make it: {error}") from error


def episode_metrics(state: ForeignState) -> dict[str, Array]:
    """Return the undiscounted team return of a finished episode, float32[], which publications report."""
    return {"undiscounted_return": state.team_return}


def shaped_rewards(state: ForeignState) -> Array:
    """Return the shaped rewards of the last step, float32[N]."""
    assert state.shaped_rewards is not None
    return state.shaped_rewards


def rendering(draw: Callable[[Any], Any] | None) -> Callable[[ForeignState], Any] | None:
    """Return `EnvSpec.render` for a function that draws the library's state; None for None."""
    if draw is None:
        return None

    def render(state: ForeignState) -> Any:
        with library_style():
            return draw(state.world)

    return render


def concatenated(observations: Array) -> Array:
    """Turn observations float32[N, O] into the global state of an environment without one, float32[N * O]."""
    return observations.reshape(-1)


def one_step_longer(environment: Any, kind: type, limit: str) -> Any:
    """Return a copy of a library's environment whose time limit is one step later, as are those of what it wraps.

    Args:
        environment: the environment.
        kind: the type of wrapped environments.
        limit: the attribute that holds the limit.
    """
    longer = object.__new__(type(environment))  # copy.copy asks wrappers for attributes that they do not have yet
    for name, value in vars(environment).items():
        is_limit = name == limit and value is not None
        copied = value + 1 if is_limit else one_step_longer(value, kind, limit) if isinstance(value, kind) else value
        object.__setattr__(longer, name, copied)
    return longer


@contextmanager
def library_style() -> Iterator[None]:
    """Allow the rank and dtype promotions of the libraries, which our own tests forbid."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def _strong(library_state: Any) -> Any:
    """Return the state without weak types, which differ between reset and step in some environments."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), library_state)
