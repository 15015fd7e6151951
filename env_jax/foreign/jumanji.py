"""Jumanji's environments of several agents (Bonnet et al. 2024) in our contract: dm_env's time steps become ours."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import jax.numpy as jnp
import jumanji
import numpy as np
from jumanji import specs
from jumanji.env import Environment
from jumanji.environments import LevelBasedForaging, RobotWarehouse
from jumanji.environments.routing.robot_warehouse.types import Action
from jumanji.viewer import MatplotlibViewer

from env_jax.arguments import parameters_of, read_arguments
from env_jax.foreign.contract import (
    ForeignEnvironment,
    ForeignState,
    Stepped,
    UnfitError,
    concatenated,
    episode_metrics,
    making,
    rendering,
)
from env_jax.foreign.figures import no_windows
from env_jax.types import Array, EnvSpec

_INCHES = 5.0  # sides of a picture, at 100 pixels an inch


def names() -> tuple[str, ...]:
    """Return all registered names; not all of them fit."""
    return tuple(sorted(jumanji.registered_environments()))


def make(
    name: str, max_steps: int, arguments: Mapping[str, str] = MappingProxyType({}), shaped: bool = False
) -> "FromJumanji":
    """Make the environment of a registered name; arguments and errors as for `env_jax.foreign.jaxmarl.make`.

    `arguments` are those of its constructor and of its generator, whose others stay as registered.
    """
    with making("Jumanji"):
        environment = jumanji.make(name)
        if arguments:
            environment = jumanji.make(name, **_read(environment, arguments))
    return FromJumanji(environment, max_steps, f"jumanji:{name}", shaped)


def _read(environment: Any, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the constructor's arguments, of which one is a generator like the registered one but for `arguments`."""
    attributes = vars(environment)
    generator = attributes.get("generator", attributes.get("_generator"))
    own, generating = parameters_of(type(environment)), parameters_of(type(generator)) if generator else {}
    values = read_arguments(arguments, {**generating, **own})
    given = {name: value for name, value in values.items() if name not in own}
    if given:
        kept = {name: vars(generator).get(name, vars(generator).get(f"_{name}")) for name in generating}
        values = {name: value for name, value in values.items() if name in own}
        values["generator"] = type(generator)(**{**kept, **given})
    return values


@dataclass(frozen=True)
class FromJumanji(ForeignEnvironment):
    """An environment of Jumanji with a view for each agent, see `ForeignEnvironment`.

    Rewards by agent are each agent's own. A single reward is the team's: every agent gets an Nth of it, so that the sum
    is the library's.

    The environment's limit is its attribute `time_limit`. At its limit it may truncate, or terminate with a discount of
    0; a limit that it keeps by another name and that terminates counts as a termination. Steps ignore the key: these
    environments keep one in their state.

    Raises:
        UnfitError: it has no views, masks and equally many actions for each agent.
    """

    _kind = Environment
    _limit = "time_limit"

    def _reset(self, key_data: Array) -> tuple[Any, Any]:
        return self.environment.reset(key_data)

    def _step(self, key_data: Array, library_state: Any, actions: Array) -> Stepped:
        library_state, shown = self._longer.step(library_state, actions)
        agents = self.spec.num_agents
        rewards = shown.reward if shown.reward.ndim else jnp.full(agents, shown.reward / agents)
        terminated = shown.last() & jnp.all(shown.discount == 0.0)
        return Stepped(library_state, shown, rewards.astype(jnp.float32), terminated, shown.last())

    def _observe(self, library_state: Any, shown: Any) -> tuple[Array, Array, Array]:
        views = shown.observation.agents_view
        observations = views.reshape(self.spec.num_agents, -1).astype(jnp.float32)
        return observations, concatenated(observations), shown.observation.action_mask

    def _make_spec(self) -> EnvSpec:
        actions, shown = self.environment.action_spec, cast(Any, self.environment.observation_spec)
        if isinstance(actions, specs.DiscreteArray):
            raise UnfitError(f"it has one action of {actions.num_values}, for a single agent; must have one for each")
        if not isinstance(actions, specs.MultiDiscreteArray):
            raise UnfitError(f"its actions are a {type(actions).__name__}; must be discrete")
        if len(set(actions.num_values.reshape(-1).tolist())) > 1:
            raise UnfitError(f"its actions have {actions.num_values.tolist()} values; must be as many for each agent")
        for part in ("agents_view", "action_mask"):
            shape = getattr(getattr(shown, part, None), "shape", ())
            if shape[:1] != actions.shape:
                parts = ", ".join(f"{name} {list(spec.shape)}" for name, spec in vars(shown)["_specs"].items())
                raise UnfitError(
                    f"it has no {part} for each of {actions.shape[0]} agents: its observation is one for all, {parts}"
                )
        num_agents, views = actions.shape[0], shown.agents_view
        size = int(jnp.size(views.generate_value())) // num_agents
        own_limit = getattr(self.environment, self._limit, self.max_steps)
        return EnvSpec(
            name=self.name,
            num_agents=num_agents,
            num_actions=int(actions.num_values[0]),
            observation_size=size,
            state_size=size * num_agents,
            max_steps=min(self.max_steps, int(own_limit)),
            observation_dtype=_smallest_dtype(views),
            state_from_observations=concatenated,
            episode_metrics=episode_metrics,
            success=_all_eaten if isinstance(self.environment, LevelBasedForaging) else None,
            action_names=_action_names(self.environment),
            render=rendering(_viewer(self.environment)),
        )


def _all_eaten(state: ForeignState) -> Array:
    """Return whether all foods of level-based foraging were eaten, bool[]."""
    return jnp.all(state.world.food_items.eaten)


def _action_names(environment: Environment) -> tuple[str, ...] | None:
    """Return the name of each action; None where they are not known."""
    if isinstance(environment, LevelBasedForaging):
        return ("stay", "up", "down", "left", "right", "load")
    if isinstance(environment, RobotWarehouse):
        return tuple(action.name.lower().replace("_", " ") for action in Action)
    return None


def _smallest_dtype(views: Any) -> Any:
    """Return int8 for integers whose declared bounds it holds, else float32."""
    bounds = jnp.iinfo(jnp.int8)
    declared = isinstance(views, specs.BoundedArray) and jnp.issubdtype(views.dtype, jnp.integer)
    if declared and jnp.min(views.minimum) >= bounds.min and jnp.max(views.maximum) <= bounds.max:
        return jnp.int8
    return jnp.float32


def _viewer(environment: Environment) -> Callable[[Any], Any] | None:
    """Return the function that draws the library's state with the environment's own viewer, None without one."""
    own = getattr(environment, "_viewer", None)
    if not isinstance(own, MatplotlibViewer):
        return None
    drawing = copy(environment)
    viewer = drawing._viewer = copy(own)  # type: ignore[attr-defined]
    viewer._display, viewer.figure_size = viewer._display_rgb_array, (_INCHES, _INCHES)

    def draw(state: Any) -> Any:
        with no_windows():
            return np.array(drawing.render(state))[..., :3]

    return draw
