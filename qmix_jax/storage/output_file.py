"""Outputs named by flags, files and folders: checked before anything is computed; files are reported when written.

Keep top-level imports light, see `train`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmix_jax.errors import CannotWriteError, ConfigError
from qmix_jax.output import print_lines


def check_output_file(flag: str, path: str | None) -> None:
    """Refuse a file that cannot be written; None means no file.

    Raises:
        ConfigError: naming the flag, the file and the reason.
    """
    if path is None:
        return
    with _checking(flag, path, "file"):
        folder = Path(path).absolute().parent
        if Path(path).is_dir():
            raise ConfigError(f"--{flag} {path}: must be a file, but is a folder")
        if not folder.is_dir():
            raise ConfigError(f"--{flag} {path}: must be in a folder that exists, but {folder} does not")
        _check_writable(flag, path, Path(path) if Path(path).exists() else folder)


def check_output_folder(flag: str, path: str) -> None:
    """Refuse a folder that cannot be created or written to, without creating it.

    Raises:
        ConfigError: naming the flag, the folder and what is wrong with it.
    """
    with _checking(flag, path, "folder"):
        # Path.exists() raises if a name is too long or a file stands in place of a folder.
        nearest = Path(path).absolute()
        while not nearest.exists() and not nearest.is_symlink():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise ConfigError(f"--{flag} {path}: must be a folder, but {nearest} is not one")
        _check_writable(flag, path, nearest)


@contextmanager
def _checking(flag: str, path: str, kind: str) -> Iterator[None]:
    if not path.strip() or "\0" in path:
        raise ConfigError(f"--{flag} {path!r}: must name a {kind}")
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--{flag} {path}: {error.strerror}") from None


def _check_writable(flag: str, path: str, existing: Path) -> None:
    """Refuse `path` if `existing`, itself or the folder it would be made in, cannot be written to."""
    if not os.access(existing, os.W_OK | (os.X_OK if existing.is_dir() else 0)):
        raise ConfigError(f"--{flag} {path}: must be writable, but {existing} is not")


@contextmanager
def writing(name: str) -> Iterator[Path]:
    """Print the name of the written file, or raise why it could not be written."""
    try:
        yield Path(name)
    except OSError as error:
        raise CannotWriteError(f"cannot write {name}: {error.strerror}") from error
    print_lines(f"wrote {name}")
