"""JaxMARL's environments (Rutherford et al. 2024) in our contract: dictionaries of agents become rows of arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, cast

import jax
import jax.numpy as jnp

from env_jax.arguments import parameters_of, read_arguments
from env_jax.contract import one_line
from env_jax.foreign.contract import (
    ForeignEnvironment,
    ForeignState,
    Stepped,
    UnfitError,
    concatenated,
    episode_metrics,
    library_style,
    making,
    rendering,
    shaped_rewards,
)
from env_jax.quiet_import import quiet_import
from env_jax.types import Array, EnvSpec

with quiet_import():  # it prints which of its optional environments are missing
    import jaxmarl
    from jaxmarl.environments import SMAX, Overcooked
    from jaxmarl.environments.multi_agent_env import MultiAgentEnv
    from jaxmarl.environments.overcooked.layouts import overcooked_layouts
    from jaxmarl.environments.overcooked_v2.layouts import overcooked_v2_layouts
    from jaxmarl.environments.smax.heuristic_enemy_smax_env import EnemySMAX
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO
    from jaxmarl.environments.spaces import Discrete

    from env_jax.foreign.jaxmarl_actions import action_names
    from env_jax.foreign.jaxmarl_viewers import viewer

_GLOBAL_STATE = "world_state"  # JaxMARL's key of a global state among the agents' observations
_SHAPED = "shaped_reward"  # and of shaped rewards in `info`
_ATTACK_MODES = {"closest": "closest", "random": "random"}  # documented; SMAX takes any other text for "closest"
_OPPONENTS = ("adversary", "leadadversary", "enemy", "eve")  # kinds of agents that play against the others


def names() -> tuple[str, ...]:
    """Return all registered names; not all of them fit."""
    return tuple(jaxmarl.registered_envs)


def make(
    name: str, max_steps: int, arguments: Mapping[str, str] = MappingProxyType({}), shaped: bool = False
) -> "FromJaxMARL":
    """Make the environment of a registered name.

    Args:
        name: the registered name.
        max_steps: the time limit, see `ForeignEnvironment`.
        arguments: of its constructor, as text by name; others have the library's defaults. Scenarios of SMAX and
            layouts of Overcooked are given by name.
        shaped: whether to keep shaped rewards.

    Raises:
        ArgumentError: an argument is not accepted.
        UnfitError: the environment cannot be made, or does not fit the contract.
    """
    with making("JaxMARL"):
        environment = jaxmarl.make(name)
        if arguments:
            layouts = overcooked_layouts if type(environment) is Overcooked else overcooked_v2_layouts
            named = {"scenario": MAP_NAME_TO_SCENARIO, "layout": layouts, "attack_mode": _ATTACK_MODES}
            environment = jaxmarl.make(name, **read_arguments(arguments, _parameters(name, type(environment)), named))
    return FromJaxMARL(environment, max_steps, f"jaxmarl:{name}", shaped)


@dataclass(frozen=True)
class FromJaxMARL(ForeignEnvironment):
    """A cooperative environment of JaxMARL, see `ForeignEnvironment`.

    Agents whose observations are shorter than others' are padded with zeros, and actions that only others have are
    masked (as by JaxMARL's `CTRolloutManager`).

    Rewards are each agent's own, and the team's reward is their sum (as in JaxMARL's own Q-learning). Where all agents
    get a shared reward, the team gets it N times: a scale, the same for every policy.

    The environment's limit is its attribute `max_steps`. An observation of the time left, such as Overcooked's urgency,
    is one step late. A limit that the library keeps by another name counts as a termination. (The particle
    environments, MPE, would go on for one step beyond the limit they state; here they do not.)

    Raises:
        UnfitError: agents play against others, or have actions that are not discrete.
    """

    _kind = MultiAgentEnv
    _limit = "max_steps"

    def _reset(self, key_data: Array) -> tuple[Any, Any]:
        shown, library_state = self.environment.reset(key_data)
        return library_state, shown

    def _step(self, key_data: Array, library_state: Any, actions: Array) -> Stepped:
        agents = self.environment.agents
        by_agent = dict(zip(agents, actions, strict=True))
        shown, library_state, by_name, dones, info = self._longer.step_env(key_data, library_state, by_agent)
        done = jnp.asarray(dones["__all__"], bool)
        shaped = _stacked(info[_SHAPED], agents) if _SHAPED in info else None
        return Stepped(library_state, shown, _stacked(by_name, agents), done, done, shaped)

    def _observe(self, library_state: Any, shown: Any) -> tuple[Array, Array, Array]:
        agents, spec = self.environment.agents, self.spec
        rows = [shown[agent].reshape(-1).astype(jnp.float32) for agent in agents]
        observations = _padded(rows, spec.observation_size)
        allowed_actions = _allowed_actions(self.environment)
        if allowed_actions is None:
            mask = jnp.arange(spec.num_actions) < jnp.array(_num_actions(self.environment))[:, None]
        else:
            allowed = allowed_actions(library_state)
            mask = _padded([allowed[agent].astype(bool) for agent in agents], spec.num_actions)
        if spec.state_from_observations is None:
            return observations, shown[_GLOBAL_STATE].reshape(-1).astype(jnp.float32), mask
        return observations, concatenated(observations), mask

    def _make_spec(self) -> EnvSpec:
        environment = self.environment
        if not environment.agents:
            raise UnfitError("it has no agents; must have at least one")
        kinds = sorted({str(agent).rpartition("_")[0] for agent in environment.agents})
        opponents = [kind for kind in kinds if kind in _OPPONENTS]
        if opponents and len(kinds) > 1:
            instead = ", as in jaxmarl:HeuristicEnemySMAX" if isinstance(environment, SMAX) else ""
            raise UnfitError(f"its agents play against each other, {' and '.join(kinds)}; must cooperate{instead}")
        for agent in environment.agents:
            if not isinstance(environment.action_space(agent), Discrete):
                raise UnfitError(
                    f"the actions of {agent} are a {type(environment.action_space(agent)).__name__}; must be discrete"
                )
        try:
            with library_style():
                shown, info = jax.eval_shape(self._first_step, jax.random.key(0))
        except Exception as error:  # whatever a third-party reset may raise
            raise UnfitError(f"its reset or step cannot be traced: {one_line(error)}") from error
        seen = shown if isinstance(shown, Mapping) else {}
        for agent in environment.agents:
            if not hasattr(seen.get(agent), "shape"):
                found = (
                    f"they are of {', '.join(map(str, seen))}, not of {agent}"
                    if seen
                    else "its reset shows one for all"
                )
                raise UnfitError(f"it has no observation for each agent: {found}")
        sizes = [shown[agent].size for agent in environment.agents]
        actions, size = _num_actions(environment), max(sizes)
        dtype = jnp.result_type(*(shown[agent].dtype for agent in environment.agents))
        has_state, own_limit = _GLOBAL_STATE in shown, getattr(environment, self._limit, None)
        return EnvSpec(
            name=self.name,
            num_agents=len(environment.agents),
            num_actions=max(actions),
            observation_size=size,
            state_size=shown[_GLOBAL_STATE].size if has_state else size * len(environment.agents),
            max_steps=self.max_steps if own_limit is None else min(self.max_steps, int(own_limit)),
            observation_dtype=dtype if dtype.itemsize == 1 else jnp.float32,
            masks_actions=_allowed_actions(environment) is not None or len(set(actions)) > 1,
            state_from_observations=None if has_state else concatenated,
            shaped_rewards=shaped_rewards if _SHAPED in info else None,
            episode_metrics=episode_metrics,
            success=_won(environment) if isinstance(environment, EnemySMAX) else None,
            action_names=action_names(environment, max(actions)),
            render=rendering(viewer(environment)),
        )

    def _first_step(self, key: Array) -> tuple[Any, Any]:
        """Return what a reset shows, and the `info` of a step if it may hold shaped rewards that are asked for."""
        key_data = jax.random.key_data(key)
        shown, library_state = self.environment.reset(key_data)
        if not self.shaped:
            return shown, {}
        nothing = {agent: jnp.zeros((), jnp.int32) for agent in self.environment.agents}
        return shown, self.environment.step_env(key_data, library_state, nothing)[-1]


def _parameters(name: str, kind: type) -> dict[str, Parameter]:
    """Return the parameters that the constructor of a registered name accepts.

    What only a base class declares is tried out: some constructors pass it on themselves, and accept no other value.
    """
    own = signature(kind).parameters
    found = parameters_of(kind, SMAX) if issubclass(kind, EnemySMAX) else parameters_of(kind)
    return {
        argument: parameter
        for argument, parameter in found.items()
        if argument in own or _is_accepted(name, argument, parameter.default)
    }


def _is_accepted(name: str, argument: str, value: Any) -> bool:
    try:
        jaxmarl.make(name, **{argument: value})
    except Exception:  # whatever a third-party constructor may raise
        return False
    return True


def _num_actions(environment: MultiAgentEnv) -> list[int]:
    return [int(cast(Discrete, environment.action_space(agent)).n) for agent in environment.agents]


def _stacked(by_agent: Mapping[Any, Any], agents: Any) -> Array:
    return jnp.stack([jnp.asarray(by_agent[agent], jnp.float32) for agent in agents])


def _padded(rows: list[Array], size: int) -> Array:
    """Stack rows of different lengths, with zeros up to `size`."""
    return jnp.stack([jnp.pad(row, (0, size - row.size)) for row in rows])


def _won(environment: EnemySMAX) -> Callable[[ForeignState], Array]:
    """Return the function that tells whether the allies won: every enemy is dead, and an ally alive.

    This is where SMAX's reward has its bonus, from which JaxMARL's `SMAXLogWrapper` infers `won_episode`.
    """

    def won(state: ForeignState) -> Array:
        alive = state.world.state.unit_alive
        return jnp.any(alive[: environment.num_allies]) & ~jnp.any(alive[environment.num_allies :])

    return won


def _allowed_actions(environment: MultiAgentEnv) -> Any:
    """Return the function of a state that gives the allowed actions by agent; None where all always are."""
    if type(environment).get_avail_actions is not MultiAgentEnv.get_avail_actions:
        return environment.get_avail_actions
    return getattr(environment, "get_legal_moves", None)  # Hanabi's name for it
