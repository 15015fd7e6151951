"""Output files named by flags: checked before anything is computed, and reported when written.

Keep top-level imports light, see `train`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmix_jax.errors import CannotWriteError, ConfigError


def check_output_file(flag: str, path: str | None) -> None:
    """Refuse a file that cannot be written; None means no file.

    Raises:
        ConfigError: naming the flag, the file and the reason.
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
    """Print the name of the written file, or raise why it could not be written."""
    try:
        yield Path(name)
    except OSError as error:
        raise CannotWriteError(f"cannot write {name}: {error.strerror}") from error
    print(f"wrote {name}")
