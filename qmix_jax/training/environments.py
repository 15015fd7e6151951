"""The environment of a run: created here from its settings, or an object passed by the caller."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from types import ModuleType

from env_jax.arguments import ArgumentError, parameters_of, read_arguments
from env_jax.checking import check_briefly
from env_jax.contract import ContractError, check_shapes, located
from env_jax.conversion import conform
from env_jax.foreign.contract import UnfitError
from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.config import GIVEN, KNOWN_ENVS, Config, names_module, unknown_environment
from qmix_jax.errors import ConfigError, missing
from qmix_jax.settings import nearest_name

_SETTINGS = ("env", "env_args", "env_mode", "layout_seed", "max_steps_per_ep")  # that an environment is made of
_registered: dict[str, Callable[..., Environment]] = {}


def register_environment(env: str, constructor: Callable[..., Environment]) -> None:
    """Let `--env env`, a `package.module:Name`, stand for what `constructor` makes, in this process.

    Without this, `make_environment` refuses the name: no module is imported because settings or files name it.
    """
    _registered[env] = constructor


def make_environment(config: Config) -> Environment:
    """Create the environment that `config` names; the same object for equal settings, so that jit caches hit.

    Raises:
        ConfigError: the name is unknown, its library is not installed, an argument is not accepted, or the environment
            does not fit the contract.
    """
    if config.env.startswith(GIVEN):
        raise ConfigError(
            f"--env {config.env[:100]}: was given as an object and can only be given from Python: "
            "environment= of qmix_jax.run, resume_run or load_policy"
        )
    constructor = _registered.get(config.env)
    if names_module(config.env) and constructor is None:
        raise ConfigError(
            f"--env {config.env[:100]}: must be given again: a module is imported only if the command itself names it "
            "(from Python: environment=)"
        )
    # All else is at its default, so that the same object serves every run that differs in nothing else.
    settings = {name: getattr(config, name) for name in _SETTINGS}
    wants_shaped = None if config.shaped_reward_steps is None else 1
    environment = _make(Config(**settings, shaped_reward_steps=wants_shaped), constructor)
    return _with_last_action(config, _with_shaped_rewards(config, environment))


def choose_environment(config: Config, environment: Environment | None, check: bool = False) -> Environment:
    """Return `environment`, or the one that `config` names, with last actions observed if `config` says so.

    A given environment keeps its own time limit, whatever `config.max_steps_per_ep` is. `check` also plays it, or one
    of the user's own that `config` names, for about 2 s to check its values, see `env_jax.checking.check_briefly`.

    Raises:
        ConfigError: it breaks the contract, settings select another environment, or as in `make_environment`.
    """
    if environment is None:
        made = make_environment(config)
        return conforming(made, check) if names_module(config.env) else made
    conforming(environment)  # the cheap checks first
    name = environment.spec.name
    if config.env not in (Config.env, f"{GIVEN}{name}"):
        raise ConfigError(f"--env {config.env[:100]}: must not be given with environment={name}")
    for setting in ("env_mode", "layout_seed", "env_args"):
        value, default = getattr(config, setting), getattr(Config, setting)
        if value != default:
            wanted = "not be given" if default is None else f"be {default}"
            raise ConfigError(f"--{setting} {value}: must {wanted} with environment={name}, which has its own")
    return _with_last_action(config, _with_shaped_rewards(config, conforming(environment, check)))


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
    """Return the environment of an existing run: one that was passed to that run as an object must be passed again.

    One that the run's --env names by a module may be passed as an object instead.

    Raises:
        ConfigError: it is missing, has another name, or is not needed.
    """
    if environment is not None and names_module(config.env):
        return choose_environment(replace(config, env=Config.env, env_args=None), environment)
    if environment is not None and config.env != f"{GIVEN}{environment.spec.name}":
        given = config.env.startswith(GIVEN)
        wanted = f"be {config.env.removeprefix(GIVEN)}" if given else f"not be given: the run has --env {config.env}"
        raise ConfigError(f"environment={environment.spec.name}: must {wanted}")
    return choose_environment(config, environment)


def with_environment_name(config: Config, environment: Environment | None) -> Config:
    """Return `config` as stored in hparams.json: `env` names a given environment, so that no other is used instead."""
    return config if environment is None else replace(config, env=f"{GIVEN}{environment.spec.name}")


@lru_cache(maxsize=64)
def _make(config: Config, constructor: Callable[..., Environment] | None) -> Environment:
    try:
        if config.env == Config.env:
            return GridWorld25(config.env_mode, config.layout_seed, config.max_steps_per_ep)
        return _from_library(config) if constructor is None else _from_module(config, constructor)
    except ArgumentError as error:
        raise ConfigError(f"--env_args {error}") from None


def _from_module(config: Config, constructor: Callable[..., Environment]) -> Environment:
    try:
        arguments = read_arguments(config.env_arguments, parameters_of(constructor))
        return conform(constructor(**arguments))
    except ContractError as error:
        raise ConfigError(f"--env {config.env}: {error}") from error.__cause__
    except ArgumentError:
        raise
    except Exception as error:  # whatever a user's constructor may raise
        raise ConfigError(f"--env {config.env}: cannot be made: {located(error)}") from error


def _from_library(config: Config) -> Environment:
    library, _, name = config.env.partition(":")
    try:
        adapter = import_module(f"env_jax.foreign.{library}")  # takes seconds: only on demand
    except ModuleNotFoundError as error:
        raise ConfigError(f"--env {library}:{name[:100]}: {missing(error.name, library)}") from None
    if name not in adapter.names():
        _refuse_unfit_nearest(config, adapter, library, name)
        raise unknown_environment(config.env, [*KNOWN_ENVS, *(f"{library}:{other}" for other in adapter.names())])
    try:
        wants_shaped = config.shaped_reward_steps is not None
        environment: Environment = adapter.make(name, config.max_steps_per_ep, config.env_arguments, wants_shaped)
        if config.env_args is not None:  # which may be values that the library itself cannot step with
            check_shapes(environment)
        return environment
    except UnfitError as error:
        raise ConfigError(f"--env {config.env}: {str(error)[:300]}") from None
    except ContractError as error:
        raise ConfigError(f"--env_args {' '.join(config.env_args or ())}: {str(error)[:300]}") from error.__cause__


def _refuse_unfit_nearest(config: Config, adapter: ModuleType, library: str, name: str) -> None:
    """Refuse an unknown name with the reason why the one it resembles does not train: that is no suggestion."""
    nearest = nearest_name(name, adapter.names())
    if nearest is not None:
        try:
            adapter.make(nearest, config.max_steps_per_ep)
        except UnfitError as error:
            reason = f"the nearest name is {library}:{nearest}, which cannot be trained on: {str(error)[:300]}"
            raise ConfigError(f"--env {library}:{name[:100]}: {reason}") from None


def _with_shaped_rewards(config: Config, environment: Environment) -> Environment:
    """Return `environment`, which must have shaped rewards if they are asked for."""
    steps, spec = config.shaped_reward_steps, environment.spec
    if steps is not None and spec.shaped_rewards is None:
        raise ConfigError(f"--shaped_reward_steps {steps}: {spec.name} has no shaped rewards")
    return environment


def _with_last_action(config: Config, environment: Environment) -> Environment:
    if not config.last_action or isinstance(environment, LastAction):
        return environment
    longer = LastAction(environment)
    try:
        longer.spec  # noqa: B018
    except ValueError as error:
        raise ConfigError(f"--last_action true: {error}") from None
    return longer
