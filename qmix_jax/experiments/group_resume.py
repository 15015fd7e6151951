"""Where the members of a sweep go on together: the newest step of which all have a whole checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from qmix_jax.settings import ConfigError, DamagedError
from qmix_jax.storage.checkpoint import checkpoints, clear_models, clear_unfinished, remove_models
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.resume_point import Notes, ResumePoint, Saved, has_rows, load_resume_point, read_notes


def common_points(directories: Sequence[RunDirectory], template: Saved) -> list[ResumePoint] | None:
    """Each member's checkpoint of the newest step that all have one of; what came later is cleared away.

    Members write their checkpoints one after another, so that a kill leaves some of them one checkpoint ahead.

    Args:
        directories: the members'.
        template: shapes and dtypes of what each resume.npz must hold.

    Returns:
        None where no member had made a step yet: the sweep begins anew, in cleared folders.

    Raises:
        ConfigError: members have made steps, but there is no such checkpoint.
    """
    whole = [_whole_checkpoints(directory) for directory in directories]
    while common := set.intersection(*map(set, whole)):
        newest = max(common)
        points = [
            _load(directory, found, newest, template) for directory, found in zip(directories, whole, strict=True)
        ]
        loaded = [point for point in points if point is not None]
        if len(loaded) == len(directories):
            return [_clear(*each, newest) for each in zip(directories, whole, loaded, strict=True)]
    if any(map(has_rows, directories)):
        raise ConfigError(
            f"--resume {directories[0].path.parent}: must have whole checkpoints of all members at one step"
        )
    for directory in directories:
        clear_unfinished(directory.models)
        remove_models(checkpoints(directory.models))
        for log in directory.logs:
            log.unlink(missing_ok=True)
    return None


def _whole_checkpoints(directory: RunDirectory) -> dict[int, tuple[Path, Notes]]:
    """Folder and notes of every checkpoint that is as it was written, by environment steps."""
    found: dict[int, tuple[Path, Notes]] = {}
    for path in checkpoints(directory.models):
        try:
            notes = read_notes(path, directory)
        except (OSError, DamagedError):
            continue
        found.setdefault(notes.env_steps, (path, notes))
    return found


def _load(
    directory: RunDirectory, found: dict[int, tuple[Path, Notes]], step: int, template: Saved
) -> ResumePoint | None:
    path, notes = found[step]
    try:
        return load_resume_point(path, notes, template)
    except (OSError, DamagedError):
        del found[step]
        return None


def _clear(directory: RunDirectory, found: dict[int, tuple[Path, Notes]], point: ResumePoint, step: int) -> ResumePoint:
    remove_models(path for at, (path, _) in found.items() if at > step)
    return point._replace(checkpoint=clear_models(directory.models, point.checkpoint))
