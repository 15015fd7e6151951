"""Imports the module of a user's own environment, `--env package.module:Name`, when a command line names it.

Nothing else imports one: settings and files that name a module are refused by `environments.make_environment` until the
user repeats the name.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import isclass, isroutine
from typing import Any

from env_jax.contract import located
from qmix_jax.config import KNOWN_ENVS, did_you_mean_env, names_module
from qmix_jax.errors import ConfigError
from qmix_jax.settings import did_you_mean
from qmix_jax.training.environments import register_environment


def import_environment(env: str) -> None:
    """Import the module that an --env of a command line names, if it names one, and register its environment.

    The current folder is searched last, so that its files hide no other module.

    Raises:
        ConfigError: the module cannot be imported, or has no such class or function.
    """
    if not names_module(env):
        return
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module_name, _, name = env.partition(":")
    module = _import(env, module_name)
    found = getattr(module, name, None)
    if not (isclass(found) or isroutine(found) or isinstance(found, partial)):
        there = getattr(module, "__file__", None) or module_name
        if hasattr(module, name):
            kind = type(found).__name__
            raise ConfigError(f"--env {env}: must be a class or a function; in {there} it is of type {kind}")
        makers = [key for key, value in vars(module).items() if callable(value)]
        raise ConfigError(f"--env {env}: {did_you_mean(name, makers)}{there} has no {name}")
    constructor: Callable[..., Any] = found
    register_environment(env, constructor)


def import_repeated(given: str | None, recorded: str) -> None:
    """Import the environment of an existing run if its command line repeats the run's --env.

    Args:
        given: the --env of the command line; None if there is none.
        recorded: the run's.

    Raises:
        ConfigError: they differ, or as in `import_environment`.
    """
    if given is not None:
        if given != recorded:
            raise ConfigError(f"--env {given}: must be {recorded[:100]}, as the run was trained")
        import_environment(given)


def _import(env: str, name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            hint = did_you_mean_env(env, KNOWN_ENVS)
            raise ConfigError(
                f"--env {env}: {hint}there is no module {error.name} in the current folder or among those installed"
            ) from None
        raise ConfigError(f"--env {env}: importing {name} failed: {located(error)}") from error
    except (Exception, SystemExit) as error:  # whatever a user's module may raise
        raise ConfigError(f"--env {env}: importing {name} failed: {located(error)}") from error
