"""Files that a flag names: refused before anything is computed, and said when they are written.

What it imports at the top must stay light, see `train`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmix_jax.errors import CannotWriteError
from qmix_jax.settings import ConfigError


def check_output_file(flag: str, path: str | None) -> None:
    """Refuse a file that cannot be written; None is no file.

    Raises:
        ConfigError: naming the flag, the file and what is wrong with it.
    """
    if path is None:
        return
    if not path.strip() or "\0" in path:
        raise ConfigError(f"--{flag} {path!r}: must name a file")
    try:
        folder = Path(path).absolute().parent
        if Path(path).is_dir():
            raise ConfigError(f"--{flag} {path}: must be a file, but is a folder")
        if not folder.is_dir():
            raise ConfigError(f"--{flag} {path}: must be in a folder that exists, but {folder} does not")
        if not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise ConfigError(f"--{flag} {path}: must be writable")
    except OSError as error:
        raise ConfigError(f"--{flag} {path}: {error.strerror}") from None


@contextmanager
def writing(name: str) -> Iterator[Path]:
    """Say what was written, or why it could not be."""
    try:
        yield Path(name)
    except OSError as error:
        raise CannotWriteError(f"cannot write {name}: {error.strerror}") from error
    print(f"wrote {name}")
