"""Where a run goes on: its configuration, its newest whole checkpoint, and what may differ from before."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from qmix_jax.checkpoint import RESUME_ARRAYS, RESUME_NOTES, checkpoints
from qmix_jax.config import Config
from qmix_jax.hparams import read_config
from qmix_jax.integrity import check_sums
from qmix_jax.run_directory import RunDirectory
from qmix_jax.settings import ConfigError, DamagedError
from qmix_jax.state_file import load_arrays
from qmix_jax.types import Params, TrainState

_BUDGETS = ("total_episodes", "total_steps")
_NOTES: dict[str, Any] = {  # what resume.json holds, and the types of its values
    "env_steps": int,
    "episodes": int,
    "best_score": float | None,
    "q_bound": float | None,
    "seconds": float,
    "replay": bool,
    "log_bytes": dict,
}


class Saved(NamedTuple):
    """The pytree of resume.npz."""

    state: TrainState
    best: Params  # parameters of best_model


class ResumePoint(NamedTuple):
    """A checkpoint, read and found whole."""

    checkpoint: Path
    saved: Saved  # NumPy leaves
    notes: dict[str, Any]
    skipped: list[str]  # newer checkpoints that cannot be used, a line each


def resumed_config(directory: RunDirectory, changes: Mapping[str, Any]) -> Config:
    """The run's configuration with `changes`: a larger budget, and settings that do not change the run's shape.

    Raises:
        ConfigError: the directory holds no run, or a setting cannot be changed.
    """
    if not directory.path.is_dir():
        raise ConfigError(f"--resume {directory.path}: must be the folder of a run")
    try:
        config = read_config(directory.hparams)
    except ConfigError as error:
        raise ConfigError(f"--resume {directory.path}: {error}") from None
    declared = {field.name: field for field in fields(Config)}
    for name, value in changes.items():
        old = getattr(config, name)
        if value != old and name not in _BUDGETS and not declared[name].metadata["changeable"]:
            raise ConfigError(f"--{name} {value}: must stay {old} when the run is resumed")
    for name in _BUDGETS:
        if name in changes:  # the other one no longer counts
            changes = {"total_episodes": Config.total_episodes, "total_steps": None, **changes}
    changed = replace(config, **changes)
    if changed.env_steps < config.env_steps:
        name = next(name for name in _BUDGETS if name in changes)
        raise ConfigError(
            f"--{name} {changes[name]}: {changed.env_steps} environment steps; must be at least {config.env_steps}, "
            "what the run was begun with"
        )
    return changed


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
            notes = _read_notes(path, directory)
            saved = load_arrays(path / RESUME_ARRAYS, template, None if notes["replay"] else "state/replay/")
            return ResumePoint(path, saved, notes, skipped)
        except DamagedError as error:
            skipped.append(f"{path.name} cannot be used: {' '.join(str(error).split())}")
    raise ConfigError(
        f"--resume {directory.path}: must have a whole checkpoint" + "".join(f"; {line}" for line in skipped)
    )


def _read_notes(path: Path, directory: RunDirectory) -> dict[str, Any]:
    if not (path / RESUME_ARRAYS).exists():
        raise DamagedError(f"it holds no {RESUME_ARRAYS}")
    check_sums(path)
    try:
        notes = json.loads((path / RESUME_NOTES).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{RESUME_NOTES}: {error}") from None
    if not isinstance(notes, dict) or notes.keys() != _NOTES.keys():
        raise DamagedError(f"{RESUME_NOTES} does not hold {', '.join(_NOTES)}")
    for name, kind in _NOTES.items():
        if not isinstance(notes[name], kind):
            raise DamagedError(f"{RESUME_NOTES}: {name} is {notes[name]!r}")
    for log in directory.logs:
        size = notes["log_bytes"].get(log.name)
        if not isinstance(size, int) or log.is_symlink() or not log.is_file() or not 0 < size <= log.stat().st_size:
            raise DamagedError(f"{log.name} is shorter than the checkpoint says")
    return notes
