"""Resume points: the whole training state and the positions in the logs, in two files of a checkpoint.

resume.npz holds `Saved`, each array under its path (`state/learner/params/...`, `best/...`); resume.json holds `Notes`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.storage.arrays import load_arrays, named_arrays
from qmix_jax.storage.checkpoint import RESUME_ARRAYS, RESUME_NOTES, WRITING, ResumeData, checkpoints
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import check_sums, read_text
from qmix_jax.types import Params, TrainState

STATE = "state/"  # path prefix of `Saved.state`
REPLAY = f"{STATE}replay/"


class Saved(NamedTuple):
    """The pytree of resume.npz."""

    state: TrainState
    best: Params  # parameters of best_model


class Notes(NamedTuple):
    """The content of resume.json."""

    env_steps: int
    episodes: int
    best_score: float | None  # highest mean return so far, None before the first finite one
    q_bound: float | None  # None if unknown
    seconds: float  # of training, over all sessions of the run
    replay: bool  # whether resume.npz contains the replay
    log_bytes: Mapping[str, int]  # length of each log


class ResumePoint(NamedTuple):
    """A checkpoint that was read and verified."""

    checkpoint: Path
    saved: Saved  # NumPy leaves
    notes: Notes
    skipped: list[str]  # newer checkpoints that cannot be used, one line each


def state_arrays(state: TrainState, with_replay: bool) -> dict[str, np.ndarray]:
    """Copy a training state to the host, by path as in resume.npz."""
    arrays = named_arrays(state if with_replay else replace(state, replay=None))
    return {f"{STATE}{name}": array for name, array in arrays.items()}


def resume_data(state: Mapping[str, np.ndarray], best: Params, notes: Notes) -> ResumeData:
    """Assemble a checkpoint's data besides its parameters; `state` comes from `state_arrays`."""
    parameters = {f"best/{name}": array for name, array in named_arrays(best).items()}
    return ResumeData({**state, **parameters}, notes._asdict())


def has_begun(directory: RunDirectory) -> bool:
    """Whether the run has written a checkpoint or a log row. If not, resuming starts from scratch."""
    try:
        if any(WRITING not in path.name for path in directory.models.iterdir()):
            return True
        return has_rows(directory)
    except OSError:
        return True


def has_rows(directory: RunDirectory) -> bool:
    """Whether any log has rows."""
    return any(log.exists() and log.read_bytes().count(b"\n") > 1 for log in directory.logs)


def find_resume_point(directory: RunDirectory, template: Saved) -> ResumePoint:
    """Read the newest intact checkpoint.

    Args:
        directory: the run.
        template: shapes and dtypes that resume.npz must have.

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
        f"--resume {directory.path}: must have an intact checkpoint" + "".join(f"; {line}" for line in skipped)
    )


def load_resume_point(path: Path, notes: Notes, template: Saved) -> ResumePoint:
    """Read the arrays of a checkpoint, given its notes.

    Raises:
        DamagedError: its arrays do not match the template.
    """
    saved = load_arrays(path / RESUME_ARRAYS, template, None if notes.replay else REPLAY)
    return ResumePoint(path, saved, notes, skipped=[])


def read_notes(path: Path, directory: RunDirectory) -> Notes:
    """Read the notes of a checkpoint and verify its checksums.

    Raises:
        DamagedError: it has changed since it was written, or the logs are shorter than noted.
    """
    if not (path / RESUME_ARRAYS).exists():
        raise DamagedError(f"it has no {RESUME_ARRAYS}")
    check_sums(path)
    try:
        found = json.loads(read_text(path / RESUME_NOTES))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{RESUME_NOTES}: {error}") from None
    if not isinstance(found, dict) or found.keys() != set(Notes._fields):
        raise DamagedError(f"{RESUME_NOTES} does not hold {', '.join(Notes._fields)}")
    for name, accepts in _ACCEPTED.items():
        if not accepts(found[name]):
            raise DamagedError(f"{RESUME_NOTES}: {name} is {str(found[name])[:100]}")
    notes = Notes(**found)
    for log in directory.logs:
        size = notes.log_bytes.get(log.name)
        if size is None or not _is_count(size) or log.is_symlink() or not log.is_file() or not _ends_row(log, size):
            raise DamagedError(f"{log.name} does not match the checkpoint")
    return notes


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) is float and isfinite(value)


_ACCEPTED: dict[str, Callable[[Any], bool]] = {  # values of `Notes`
    "env_steps": _is_count,
    "episodes": _is_count,
    "best_score": lambda value: value is None or _is_number(value),
    "q_bound": lambda value: value is None or _is_number(value),
    "seconds": _is_number,
    "replay": lambda value: isinstance(value, bool),
    "log_bytes": lambda value: isinstance(value, dict),
}


def _ends_row(log: Path, size: int) -> bool:
    with log.open("rb") as file:
        file.seek(max(0, size - 1))
        return file.read(1) == b"\n"
