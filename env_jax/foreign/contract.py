"""Third-party environments in our contract: what their adapters share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from env_jax.types import Array, EnvSpec, TimeStep

Adapter = TypeVar("Adapter", bound="ForeignEnvironment")


class UnfitError(ValueError):
    """An environment that cannot be made or does not fit the contract; the message is one line with the reason."""


@struct.dataclass
class ForeignState:
    """A library's state, and what the adapter counts beside it."""

    world: Any  # the library's own state; resume.npz knows it by this name
    step_count: Array  # int32[], environment steps since the reset
    team_return: Array  # float32[], undiscounted sum of the team's rewards since the reset


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
    spec: EnvSpec = field(init=False, compare=False, repr=False)
    _longer: Any = field(init=False, compare=False, repr=False)

    _kind: ClassVar[type]  # what the library's environments are instances of
    _limit: ClassVar[str]  # the attribute that holds their time limit

    def __post_init__(self) -> None:
        """Read the environment's sizes once."""
        object.__setattr__(self, "spec", self._make_spec())
        object.__setattr__(self, "_longer", one_step_longer(self.environment, self._kind, self._limit))

    def reset(self, key: Array) -> tuple[ForeignState, TimeStep]:
        """Start an episode."""
        with library_style():
            library_state, shown = self._reset(jax.random.key_data(key))
            state = ForeignState(_strong(library_state), jnp.zeros((), jnp.int32), jnp.zeros(()))
            never = jnp.zeros((), bool)
            return state, self._time_step(library_state, shown, jnp.zeros(self.spec.num_agents), never, never)

    def step(self, key: Array, state: ForeignState, actions: Array) -> tuple[ForeignState, TimeStep]:
        """Take one step with int32[N] actions."""
        with library_style():
            library_state, shown, rewards, terminated, done = self._step(jax.random.key_data(key), state.world, actions)
            state = ForeignState(_strong(library_state), state.step_count + 1, state.team_return + jnp.sum(rewards))
            truncated = ~terminated & (done | (state.step_count >= self.spec.max_steps))
            return state, self._time_step(library_state, shown, rewards, terminated, truncated)

    @abstractmethod
    def _make_spec(self) -> EnvSpec:
        """Return the spec, or raise UnfitError."""

    @abstractmethod
    def _reset(self, key_data: Array) -> tuple[Any, Any]:
        """Return the library's state after a reset, and what it shows the agents."""

    @abstractmethod
    def _step(self, key_data: Array, library_state: Any, actions: Array) -> tuple[Any, Any, Array, Array, Array]:
        """Step `_longer`: its state, what it shows, rewards float32[N], terminated bool[], whether it ended bool[]."""

    @abstractmethod
    def _observe(self, library_state: Any, shown: Any) -> tuple[Array, Array, Array]:
        """Return observations float32[N, O], global state float32[S] and action mask bool[N, A]."""

    def _time_step(
        self, library_state: Any, shown: Any, rewards: Array, terminated: Array, truncated: Array
    ) -> TimeStep:
        observations, state, mask = self._observe(library_state, shown)
        return TimeStep(observations, state, mask, rewards, terminated, truncated)


def make_foreign(
    adapter: type[Adapter], library: str, make: Callable[[str], Any], name: str, max_steps: int
) -> Adapter:
    """Make a registered environment with its library's defaults.

    Args:
        adapter: the library's.
        library: the library's name.
        make: its function that makes an environment by name.
        name: the registered name.
        max_steps: the time limit, see `ForeignEnvironment`.

    Raises:
        UnfitError: the environment cannot be made, or does not fit the contract.
    """
    try:
        with library_style():
            environment = make(name)
    except Exception as error:  # whatever a third-party constructor may raise
        raise UnfitError(f"{library} cannot make it: {error}") from error
    return adapter(environment, max_steps, f"{library.lower()}:{name}")


def episode_metrics(state: ForeignState) -> dict[str, Array]:
    """Return the undiscounted team return of a finished episode, float32[], which publications report."""
    return {"undiscounted_return": state.team_return}


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
