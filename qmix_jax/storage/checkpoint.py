"""Checkpoints: parameters saved by orbax, and the state needed to resume. Written atomically.

models/<name>/
  (orbax's files)    parameters
  resume.npz         the whole training state, in the newest checkpoints
  resume.json        positions in the logs
  SHA256SUMS         checksums of all of these
"""

import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from qmix_jax.errors import CannotWriteError, DamagedError
from qmix_jax.storage.arrays import save_arrays
from qmix_jax.storage.files import check_sums, read_text, sync, write_sums
from qmix_jax.types import Params

FINAL = "final_model"
BEST = "best_model"
DIVERGED = "diverged_ep"  # followed by the number of episodes: a checkpoint to inspect, not to resume from
RESUME_ARRAYS = "resume.npz"
RESUME_NOTES = "resume.json"

# Suffixes of folders: being written, about to be replaced by its successor, being deleted.
WRITING, REPLACED, DELETING = ".writing", ".replaced", ".deleting"

_READABLE = ("np.ndarray", "Dict")  # orbax's names of an array and of an empty tree, such as VDN's mixer
_MOST_EXPANSION = 100  # largest allowed ratio of parameters to their size on disk; noise does not compress


def checkpoint_name(episodes: int) -> str:
    """Return the folder name of the checkpoint after `episodes` finished episodes."""
    return f"checkpoint_ep{episodes}"


class ResumeData(NamedTuple):
    """Data needed to resume from a checkpoint."""

    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]  # JSON


class Checkpoints:
    """Background writer of models (NumPy leaves) into a `models` folder, one at a time.

    A failed write is raised by the next call: `save`, `check` and leaving the context raise CannotWriteError.

    Args:
        models: the folder.
        keep_resumable: number of newest checkpoints that keep the whole state.
        writer: the single thread that writes for all runs of a process, because concurrent orbax saves interfere; None
            if there is only this run.
    """

    def __init__(self, models: Path, keep_resumable: int, writer: ThreadPoolExecutor | None = None) -> None:
        self._models = models.absolute()
        self._keep_resumable = keep_resumable
        self._owns_writer = writer is None
        self._writer = writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait until everything is on disk."""
        if self._owns_writer:
            self._writer.shutdown()
        self.wait()

    def check(self) -> None:
        """Raise the error of an earlier write that has finished.

        Raises:
            CannotWriteError: naming the folder and the reason.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the pending write is on disk.

        Raises:
            CannotWriteError: naming the folder and the reason.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def save(self, name: str, params: Params, resume: ResumeData | None = None) -> None:
        """Start writing `models/<name>`. An older one of that name stays until the new one is complete."""
        self.wait()  # one state at a time in memory
        self._pending = self._writer.submit(self._write, name, params, resume)

    def _write(self, name: str, params: Params, resume: ResumeData | None) -> None:
        temporary, arrays = (self._models / f"{name}{WRITING}{suffix}" for suffix in ("", ".npz"))
        try:
            for path in (temporary, arrays):
                _remove(path)
            if resume is not None:
                # The largest file first: on a full disk its error is one line, orbax's a page.
                save_arrays(arrays, resume.arrays)
            with _make_checkpointer() as checkpointer:
                checkpointer.save(temporary, params)
            if resume is not None:
                arrays.rename(temporary / RESUME_ARRAYS)
                (temporary / RESUME_NOTES).write_text(json.dumps(resume.notes, allow_nan=False) + "\n")
            write_sums(temporary)
            _rename_into_place(temporary, self._models / name)
            if resume is not None:
                keep_parameters(self._models, self._keep_resumable)
        except Exception as error:  # tensorstore has its own error for a full disk
            for path in (temporary, arrays):
                _remove(path)
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise CannotWriteError(f"cannot write {self._models / name}: {' '.join(reason.split())[:200]}") from error


def keep_parameters(models: Path, resumable: int = 0) -> None:
    """Delete the training state of checkpoints, but for the newest `resumable` ones that have it."""
    for path in [path for path in checkpoints(models) if (path / RESUME_ARRAYS).exists()][resumable:]:
        (path / RESUME_ARRAYS).unlink()
        (path / RESUME_NOTES).unlink(missing_ok=True)


def checkpoints(models: Path) -> list[Path]:
    """List the checkpoint folders, newest first; one that was about to be replaced comes after its successor."""
    found = []
    for path in models.iterdir():
        name = path.name.removesuffix(REPLACED)
        digits = name.removeprefix(checkpoint_name(0)[:-1])
        if digits != name and digits.isascii() and digits.isdecimal() and path.is_dir() and not path.is_symlink():
            found.append((int(digits), name == path.name, path))
    return [path for _, _, path in sorted(found, reverse=True)]


def clear_unfinished(models: Path) -> None:
    """Remove what a killed process left half written or half deleted."""
    for path in list(models.iterdir()):
        if WRITING in path.name or DELETING in path.name:
            _remove(path)


def clear_models(models: Path, chosen: Path) -> Path:
    """Restore the folder to when `chosen` was written: quarantine later checkpoints, remove unfinished ones.

    Returns:
        The folder of `chosen`, which may have been renamed.
    """
    clear_unfinished(models)
    found = checkpoints(models)
    for path in found[: found.index(chosen)]:
        quarantined = path.with_name(f"{path.name}.damaged")
        _remove(quarantined)
        path.rename(quarantined)
    if chosen.name.endswith(REPLACED):
        _rename_into_place(chosen, chosen.with_name(chosen.name.removesuffix(REPLACED)))
        chosen = chosen.with_name(chosen.name.removesuffix(REPLACED))
    for path in checkpoints(models):
        if path.name.endswith(REPLACED):
            _remove(path)
    return chosen


def remove_models(paths: Iterable[Path]) -> None:
    """Remove checkpoints that are no longer needed."""
    for path in paths:
        _remove(path)


def load_params(run_directory: str | Path, which: str = FINAL) -> Params:
    """Load the parameters (NumPy leaves) of a run's 'final_model', 'best_model' or 'checkpoint_ep<N>'.

    Raises:
        FileNotFoundError: the run has no such model.
        DamagedError: its files have changed since they were written.
    """
    models = Path(run_directory).absolute() / "models"
    path = models / which
    if not os.path.exists(path):
        path = models / f"{which}{REPLACED}"  # if a process was killed between two renames
    linked = os.path.islink(models) or os.path.islink(path)
    if path.parent != models or path.name == ".." or linked or not os.path.isdir(path):
        raise FileNotFoundError(f"no model at {path}")
    check_sums(path, optional=(RESUME_ARRAYS, RESUME_NOTES))
    with _make_checkpointer() as checkpointer:
        return _restored(path, checkpointer)


def _restored(path: Path, checkpointer: Any) -> Params:
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    try:
        _check_names(path)
        leaves = jax.tree.leaves(checkpointer.metadata(path).item_metadata.tree)
        declared = sum(max(map(_size, (leaf.shape, leaf.storage.chunk_shape))) * leaf.dtype.itemsize for leaf in leaves)
        if declared > _MOST_EXPANSION * on_disk:
            raise DamagedError(f"it declares {declared:.0f} bytes, but its files have only {on_disk}")
        return checkpointer.restore(path)
    except Exception as error:  # orbax and tensorstore raise all kinds
        raise DamagedError(f"{path}: {str(error)[:200]}") from error


def _check_names(path: Path) -> None:
    """Refuse entries that are not arrays of this folder: orbax treats names as paths, even absolute ones."""
    for entry in json.loads(read_text(path / "_METADATA"))["tree_metadata"].values():
        names = [key["key"] for key in entry["key_metadata"]]
        if entry["value_metadata"]["value_type"] not in _READABLE or not all(name.isidentifier() for name in names):
            raise DamagedError(f"{names} does not name an array")


def _size(shape: tuple[int, ...]) -> float:
    return float(np.prod(shape, dtype=np.float64))


def _rename_into_place(new: Path, name: Path) -> None:
    """Rename `new` to `name`. At any moment a complete model exists as `name` or with the suffix REPLACED."""
    replaced = name.with_name(f"{name.name}{REPLACED}")
    if name.exists() and new != replaced:
        _remove(replaced)
        name.rename(replaced)
    elif name.exists():
        _remove(name)
    new.rename(name)
    sync(name.parent)
    if replaced.exists():
        _remove(replaced)


def _remove(path: Path) -> None:
    """Remove a folder if it exists: rename it first, so that a partial one is never mistaken for complete."""
    if path.exists() and not path.name.endswith(DELETING):
        doomed = path.with_name(f"{path.name}{DELETING}")
        shutil.rmtree(doomed, ignore_errors=True)
        path = path.rename(doomed)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _make_checkpointer() -> Any:
    import orbax.checkpoint  # takes a second: must not delay the first progress

    # Only one of a run's processes saves or loads at a time; by default orbax waits for all of them.
    alone = jax.process_index()
    options = orbax.checkpoint.options.MultiprocessingOptions(
        primary_host=alone, active_processes={alone}, barrier_sync_key_prefix=f"process_{alone}"
    )
    return orbax.checkpoint.StandardCheckpointer(multiprocessing_options=options)
