"""The environment of a run: created here from its settings, or an object passed by the caller."""

from dataclasses import replace
from importlib import import_module

from env_jax.checking import check_briefly
from env_jax.contract import ContractError
from env_jax.conversion import conform
from env_jax.foreign.contract import UnfitError
from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.config import GIVEN, KNOWN_ENVS, Config, unknown_environment
from qmix_jax.errors import ConfigError


def make_environment(config: Config) -> Environment:
    """Create the environment that `config` names.

    Raises:
        ConfigError: the name is unknown, its library is not installed, or it does not fit the contract.
    """
    library, _, name = config.env.partition(":")
    if config.env.startswith(GIVEN):
        raise ConfigError(
            f"--env {config.env[:100]}: was given as an object and can only be given from Python: "
            "environment= of qmix_jax.run, resume_run or load_policy"
        )
    if config.env == Config.env:
        environment: Environment = GridWorld25(config.env_mode, config.layout_seed, config.max_steps_per_ep)
    else:
        environment = _from_library(library, name, config.max_steps_per_ep)
    return _with_last_action(config, environment)


def choose_environment(config: Config, environment: Environment | None, check: bool = False) -> Environment:
    """Return `environment`, or the one that `config` names, with last actions observed if `config` says so.

    A given environment keeps its own time limit, whatever `config.max_steps_per_ep` is. `check` also plays it for about
    2 s to check its values, see `env_jax.checking.check_briefly`.

    Raises:
        ConfigError: it breaks the contract, settings select another environment, or as in `make_environment`.
    """
    if environment is None:
        return make_environment(config)
    conforming(environment)  # the cheap checks first
    name = environment.spec.name
    if config.env not in (Config.env, f"{GIVEN}{name}"):
        raise ConfigError(f"--env {config.env[:100]}: must not be given with environment={name}")
    for setting in ("env_mode", "layout_seed"):
        value, default = getattr(config, setting), getattr(Config, setting)
        if value != default:
            raise ConfigError(f"--{setting} {value}: must be {default} with environment={name}, which has its own")
    return _with_last_action(config, conforming(environment, check))


def conforming(environment: Environment, check: bool = False) -> Environment:
    """Return `environment`, wrapped if its outputs need converting to the contract's dtypes.

    Raises:
        ConfigError: it breaks the contract; the cause is the environment's own exception, if any.
    """
    try:
        if check:
            check_briefly(environment)
        return conform(environment)
    except ContractError as error:
        raise ConfigError(str(error)) from error.__cause__


def same_environment(config: Config, environment: Environment | None) -> Environment:
    """Return the environment of an existing run. It must be passed if and only if it was passed to that run.

    Raises:
        ConfigError: it is missing, has another name, or is not needed.
    """
    if environment is not None and config.env != f"{GIVEN}{environment.spec.name}":
        given = config.env.startswith(GIVEN)
        wanted = f"be {config.env.removeprefix(GIVEN)}" if given else f"not be given: the run has --env {config.env}"
        raise ConfigError(f"environment={environment.spec.name}: must {wanted}")
    return choose_environment(config, environment)


def with_environment_name(config: Config, environment: Environment | None) -> Config:
    """Return `config` as stored in hparams.json: `env` names a given environment, so that no other is used instead."""
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
        adapter = import_module(f"env_jax.foreign.{library}")  # takes seconds: only on demand
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
