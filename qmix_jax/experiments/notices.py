"""What users may not expect of several runs, printed before they are trained."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.outcomes import Run
from qmix_jax.storage.environment_record import check_environment
from qmix_jax.storage.hparams import read_config, run_notices
from qmix_jax.training.environments import make_environment


def notice_lines(path: Path, runs: Sequence[Run]) -> list[str]:
    """Return the notices of runs that have not ended, each once, and how their environments have changed since.

    Args:
        path: the folder of the sweep or comparison.
        runs: its runs, begun or not.

    Raises:
        ConfigError: a run was begun with other settings, or cannot continue in its environment.
    """
    lines: dict[str, None] = {}
    for run in runs:
        _check_settings(path, run)
        if not has_ended(run.directory):
            environment = make_environment(run.config)
            if run.directory.hparams.is_file():
                lines |= dict.fromkeys(check_environment(run.directory.hparams, environment, resumes=True))
            lines |= dict.fromkeys(run_notices(run.config, environment))
    return [f"notice: {line}" for line in lines]


def _check_settings(path: Path, run: Run) -> None:
    """Refuse a run that was begun with other settings, such as those that its preset had in an older version."""
    if not run.directory.hparams.is_file():
        return
    found = read_config(run.directory.hparams)
    for declared in fields(Config):
        expected, value = getattr(run.config, declared.name), getattr(found, declared.name)
        if value != expected and not declared.metadata["changeable"]:
            raise ConfigError(
                f"--resume {path}: {run.name} was trained with --{declared.name} {value}; must be {expected}"
            )
