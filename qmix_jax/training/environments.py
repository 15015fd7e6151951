"""The environment of a run: what its settings name, which is made only here, or an object that the caller gives."""

from dataclasses import replace
from importlib import import_module

from env_jax.checking import check_briefly
from env_jax.contract import ContractError
from env_jax.conversion import conform
from env_jax.foreign.contract import UnfitError
from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.config import GIVEN, KNOWN_ENVS, Config, ConfigError, unknown_environment


def make_environment(config: Config) -> Environment:
    """The environment of `config`, with its own time limit.

    Raises:
        ConfigError: there is none of that name, its library is not installed, or it does not fit the contract.
    """
    library, _, name = config.env.partition(":")
    if config.env.startswith(GIVEN):
        raise ConfigError(
            f"--env {config.env[:100]}: was given as an object, so that only Python can give it again: "
            "environment= of qmix_jax.run, resume_run or load_policy"
        )
    if config.env == Config.env:
        world: Environment = GridWorld25(config.env_mode, config.layout_seed, config.max_steps_per_ep)
    else:
        world = _from_library(library, name, config.max_steps_per_ep)
    return _with_last_action(config, world)


def choose_environment(config: Config, environment: Environment | None, check: bool = False) -> Environment:
    """`environment`, with every agent's last action where `config` says so; without one, what `config` names.

    Its time limit is its own, whatever `config.max_steps_per_ep` is. Where `check`, its values are checked too, for
    about 2 s, see `env_jax.checking.check_briefly`.

    Raises:
        ConfigError: it breaks the contract, settings choose another environment, or what `make_environment` raises.
    """
    if environment is None:
        return make_environment(config)
    fitted(environment)  # first what takes no time
    name = environment.spec.name
    if config.env not in (Config.env, f"{GIVEN}{name}"):
        raise ConfigError(f"--env {config.env[:100]}: must be left out beside environment={name}")
    for setting in ("env_mode", "layout_seed"):
        value, default = getattr(config, setting), getattr(Config, setting)
        if value != default:
            raise ConfigError(f"--{setting} {value}: must be {default} beside environment={name}, which has its own")
    return _with_last_action(config, fitted(environment, check))


def fitted(environment: Environment, check: bool = False) -> Environment:
    """`environment`, or what converts its numbers and flags to the contract's dtypes; see `choose_environment`.

    Raises:
        ConfigError: it breaks the contract; its cause is what the environment raised, if it did.
    """
    try:
        if check:
            check_briefly(environment)
        return conform(environment)
    except ContractError as error:
        raise ConfigError(str(error)) from error.__cause__


def same_environment(config: Config, environment: Environment | None) -> Environment:
    """The environment of a run that there is: it must be given exactly if the run was trained on a given one.

    Raises:
        ConfigError: it is missing, of another name, or not needed.
    """
    if environment is not None and config.env != f"{GIVEN}{environment.spec.name}":
        given = config.env.startswith(GIVEN)
        wanted = f"be {config.env.removeprefix(GIVEN)}" if given else f"be left out, as the run has --env {config.env}"
        raise ConfigError(f"environment={environment.spec.name}: must {wanted}")
    return choose_environment(config, environment)


def naming_given(config: Config, environment: Environment | None) -> Config:
    """`config` as hparams.json holds it: a given environment by its name, so that nothing takes another for it."""
    return config if environment is None else replace(config, env=f"{GIVEN}{environment.spec.name}")


def _with_last_action(config: Config, environment: Environment) -> Environment:
    if not config.last_action or isinstance(environment, LastAction):
        return environment
    longer = LastAction(environment)
    try:
        longer.spec  # noqa: B018
    except ValueError as error:
        raise ConfigError(f"--last_action true: {error}") from None
    return longer


def _from_library(library: str, name: str, max_steps: int) -> Environment:
    try:
        adapter = import_module(f"env_jax.foreign.{library}")  # seconds: only when it is asked for
    except ModuleNotFoundError as error:
        raise ConfigError(f"--env {library}:{name[:100]}: needs {error.name}: pip install -e '.[{library}]'") from None
    if name not in adapter.names():
        raise unknown_environment(
            f"{library}:{name}", [*KNOWN_ENVS, *(f"{library}:{other}" for other in adapter.names())]
        )
    try:
        return adapter.make(name, max_steps)
    except UnfitError as error:
        raise ConfigError(f"--env {library}:{name}: {str(error)[:300]}") from None
