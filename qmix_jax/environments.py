"""The environment that a configuration names. Nothing else in `qmix_jax` knows which world it trains in."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from env_jax.adapters.foreign import UnfitError
from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.config import Config, ConfigError

LIBRARIES = ("jaxmarl", "jumanji")  # each is also the name of the extra that installs it
KNOWN = (  # worlds that have been tried; others of these libraries may fit too
    Config.env,
    "jaxmarl:MPE_simple_spread_v3",
    "jaxmarl:MPE_simple_v3",
    "jaxmarl:MPE_simple_reference_v3",
    "jaxmarl:HeuristicEnemySMAX",
    "jaxmarl:hanabi",
    "jaxmarl:overcooked_v2",
    "jaxmarl:switch_riddle",
    "jumanji:LevelBasedForaging-v0",
    "jumanji:RobotWarehouse-v0",
)


def make_environment(config: Config) -> Environment:
    """The environment of `config`, with its own time limit.

    Raises:
        ConfigError: there is none of that name, its library is not installed, or it does not fit the contract.
    """
    library, _, name = config.env.partition(":")
    if config.env == Config.env:
        world: Environment = GridWorld25(config.env_mode, config.layout_seed, config.max_steps_per_ep)
    elif library in LIBRARIES:
        world = _from_library(library, name, config.max_steps_per_ep)
    else:
        raise _unknown(config.env, KNOWN)
    return LastAction(world) if config.last_action else world


def _from_library(library: str, name: str, max_steps: int) -> Environment:
    try:
        adapter = import_module(f"env_jax.adapters.from_{library}")  # seconds: only when it is asked for
    except ModuleNotFoundError as error:
        raise ConfigError(f"--env {library}:{name[:100]}: needs {error.name}: pip install -e '.[{library}]'") from None
    if name not in adapter.names():
        raise _unknown(f"{library}:{name}", [*KNOWN, *(f"{library}:{other}" for other in adapter.names())])
    try:
        return adapter.make(name, max_steps)
    except UnfitError as error:
        raise ConfigError(f"--env {library}:{name}: {str(error)[:300]}") from None


def _unknown(env: str, candidates: Sequence[str]) -> ConfigError:
    """What is said of a name that does not exist: the nearest of `candidates`, then those that are known to work."""
    nearest = get_close_matches(env, candidates, n=3)
    listed = ", ".join(dict.fromkeys([*nearest, *KNOWN]))
    return ConfigError(f"--env {env[:100]}: must be one of {listed}, or another world of these libraries")
