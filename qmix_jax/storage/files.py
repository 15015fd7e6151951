"""Durable file writes, and checksums of a folder in the format of `sha256sum --check`."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qmix_jax.errors import ConfigError, DamagedError

SUMS = "SHA256SUMS"
_LARGEST_TEXT = 1_000_000  # bytes of a file that is read as a whole


def write_sums(folder: Path) -> None:
    """Write the checksums of all files in `folder` and sync everything to disk."""
    sums = {path: _digest(folder / path) for path in _files(folder)}
    (folder / SUMS).write_text("".join(f"{digest}  {path}\n" for path, digest in sums.items()))
    for path in [*sums, SUMS]:
        sync(folder / path)
    for path, _, _ in os.walk(folder):
        sync(Path(path))


def check_sums(folder: Path, optional: Collection[str] = ()) -> None:
    """Compare every file in `folder` with its checksum. Names in SHA256SUMS are compared, never opened.

    Args:
        folder: as for `write_sums`.
        optional: files that may have been removed since.

    Raises:
        DamagedError: a file is missing, has changed, was added, or is a link.
    """
    try:
        present = {path: _digest(folder / path) for path in _files(folder) if path != SUMS}
    except OSError as error:
        raise DamagedError(f"{error.filename}: {error.strerror}") from None
    sums = read_text(folder / SUMS)
    expected = {path: digest for digest, _, path in (line.partition("  ") for line in sums.splitlines())}
    for path, digest in expected.items():
        if path not in present and path not in optional:
            raise DamagedError(f"{path!r} is missing")
        if path in present and present[path] != digest:
            raise DamagedError(f"{path!r} does not match its checksum")
    for path in present.keys() - expected.keys():
        raise DamagedError(f"{path!r} has no checksum")


def check_no_links(folder: Path) -> None:
    """Refuse links, which may lead out of a folder, and anything else that is neither a file nor a folder.

    Raises:
        DamagedError: naming the first one below `folder`.
    """
    _files(folder)


def read_text(path: Path) -> str:
    """Read a small file from an untrusted source.

    Raises:
        DamagedError: it is missing, not text, too large, or a link.
    """
    try:
        if path.is_symlink() or not path.is_file():
            raise DamagedError(f"{path.name} is not a file")
        if path.stat().st_size > _LARGEST_TEXT:
            raise DamagedError(f"{path.name} has more than {_LARGEST_TEXT} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path.name} is not text: {error.reason}") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, atomically replacing an older one."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; rename it to `path` once it is complete and on disk.

    At any moment, even after a power failure, `path` is either the old file or the new one.
    """
    temporary = path.with_suffix(".writing")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a small file from an untrusted source.

    Raises:
        ConfigError: it does not hold a JSON object.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(read_text(path))
    except DamagedError as error:
        raise ConfigError(f"{path}: must be the file of a run, but {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: must be JSON: {str(error)[:100]}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a JSON object")
    return content


def _files(folder: Path) -> list[str]:
    """List the relative paths of all files below `folder`, sorted; refuse links, which may lead out of it."""
    found = []
    try:
        for parent, folders, names in os.walk(folder):
            for name in [*folders, *names]:
                path = Path(parent, name)
                if path.is_symlink() or not (path.is_dir() or path.is_file()):
                    raise DamagedError(f"{str(path.relative_to(folder))!r} is not a plain file or folder")
            found += [str(Path(parent, name).relative_to(folder)) for name in names]
    except RecursionError:
        raise DamagedError(f"{folder.name} has too many nested folders") from None
    return sorted(found)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
