"""Where a run goes on: its configuration, its newest whole checkpoint, and what may differ from before."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import jax

from qmix_jax.config import BUDGETS, Config
from qmix_jax.settings import ConfigError, DamagedError
from qmix_jax.storage.arrays import load_arrays
from qmix_jax.storage.checkpoint import RESUME_ARRAYS, RESUME_NOTES, WRITING, checkpoints
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import check_no_links, check_sums, read_text
from qmix_jax.storage.hparams import read_config
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import Trainer
from qmix_jax.types import Params, TrainState


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) is float and isfinite(value)


_NOTES: dict[str, Callable[[Any], bool]] = {  # what resume.json holds
    "env_steps": _is_count,
    "episodes": _is_count,
    "best_score": lambda value: value is None or _is_number(value),
    "q_bound": lambda value: value is None or _is_number(value),
    "seconds": _is_number,
    "replay": lambda value: isinstance(value, bool),
    "log_bytes": lambda value: isinstance(value, dict),
}


class Saved(NamedTuple):
    """The pytree of resume.npz."""

    state: TrainState
    best: Params  # parameters of best_model


def saved_template(trainer: Trainer) -> Saved:
    """Shapes and dtypes of what a checkpoint of this trainer holds."""
    state = jax.eval_shape(trainer.init, seed_key(0))
    return Saved(state, state.learner.params)


class ResumePoint(NamedTuple):
    """A checkpoint, read and found whole."""

    checkpoint: Path
    saved: Saved  # NumPy leaves
    notes: dict[str, Any]
    skipped: list[str]  # newer checkpoints that cannot be used, a line each


def resumed_config(directory: RunDirectory, changes: Mapping[str, Any]) -> Config:
    """The run's configuration with `changes`: a larger budget, other devices, and settings that do not shape the run.

    Raises:
        ConfigError: the directory holds no run, or a setting cannot be changed.
    """
    try:
        if not directory.hparams.is_file():
            raise ConfigError(f"must be the folder of a run, with {directory.hparams.relative_to(directory.path)}")
        check_no_links(directory.path)
        config = read_config(directory.hparams)
    except (OSError, ConfigError, DamagedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--resume {directory.path}: {reason}") from None
    declared = {field.name: field for field in fields(Config)}
    for name, value in changes.items():
        old = getattr(config, name)
        may_change = name in (*BUDGETS, "num_devices") or declared[name].metadata["changeable"]
        if value != old and not may_change:
            raise ConfigError(f"--{name} {value}: must stay {old} when the run is resumed")
    budgets = [f"--{name} {changes[name]}" for name in BUDGETS if name in changes]
    if len(budgets) > 1:
        raise ConfigError(f"{' and '.join(budgets)}: give only one of them")
    if budgets:  # the other one no longer counts, and epsilon goes on falling as it did
        rest = {"total_episodes": Config.total_episodes, "total_steps": None}
        changes = {**rest, "epsilon_decay_steps": config.exploration_steps, **changes}
    changed = replace(config, **changes)
    if changed.env_steps < config.env_steps:
        raise ConfigError(
            f"{budgets[0]}: {changed.env_steps} environment steps; must be at least {config.env_steps}, "
            "what the run was begun with"
        )
    return changed


def has_begun(directory: RunDirectory) -> bool:
    """Whether the run has written a checkpoint or a row. A run that was killed before that begins anew."""
    try:
        if any(WRITING not in path.name for path in directory.models.iterdir()):
            return True
        return has_rows(directory)
    except OSError:
        return True


def has_rows(directory: RunDirectory) -> bool:
    """Whether a log holds more than its header."""
    return any(log.exists() and log.read_bytes().count(b"\n") > 1 for log in directory.logs)


def find_resume_point(directory: RunDirectory, template: Saved) -> ResumePoint:
    """The newest checkpoint that is whole.

    Args:
        directory: the run.
        template: shapes and dtypes of what resume.npz must hold.

    Raises:
        ConfigError: there is none.
    """
    skipped: list[str] = []
    try:
        found = [] if directory.models.is_symlink() else checkpoints(directory.models)
    except OSError:
        found = []
    for path in found:
        try:
            return load_resume_point(path, read_notes(path, directory), template)._replace(skipped=skipped)
        except (OSError, DamagedError) as error:
            skipped.append(f"{path.name} cannot be used: {error}")
    raise ConfigError(
        f"--resume {directory.path}: must have a whole checkpoint" + "".join(f"; {line}" for line in skipped)
    )


def load_resume_point(path: Path, notes: dict[str, Any], template: Saved) -> ResumePoint:
    """A checkpoint whose notes were read.

    Raises:
        DamagedError: its arrays are not those of the template.
    """
    saved = load_arrays(path / RESUME_ARRAYS, template, None if notes["replay"] else "state/replay/")
    return ResumePoint(path, saved, notes, skipped=[])


def read_notes(path: Path, directory: RunDirectory) -> dict[str, Any]:
    """Where the logs stood at a checkpoint, which must be as it was written.

    Raises:
        DamagedError: it is not, or the logs do not reach that far.
    """
    if not (path / RESUME_ARRAYS).exists():
        raise DamagedError(f"it holds no {RESUME_ARRAYS}")
    check_sums(path)
    try:
        notes = json.loads(read_text(path / RESUME_NOTES))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{RESUME_NOTES}: {error}") from None
    if not isinstance(notes, dict) or notes.keys() != _NOTES.keys():
        raise DamagedError(f"{RESUME_NOTES} does not hold {', '.join(_NOTES)}")
    for name, accepts in _NOTES.items():
        if not accepts(notes[name]):
            raise DamagedError(f"{RESUME_NOTES}: {name} is {str(notes[name])[:100]}")
    for log in directory.logs:
        size = notes["log_bytes"].get(log.name)
        if not _is_count(size) or log.is_symlink() or not log.is_file() or not _ends_row(log, size):
            raise DamagedError(f"{log.name} does not hold what the checkpoint says")
    return notes


def _ends_row(log: Path, size: int) -> bool:
    with log.open("rb") as file:
        file.seek(max(0, size - 1))
        return file.read(1) == b"\n"
