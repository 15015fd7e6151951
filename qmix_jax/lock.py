"""One process per run directory."""

import fcntl
import json
import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from qmix_jax.errors import CannotWriteError
from qmix_jax.settings import ConfigError


class InUseError(ConfigError):
    """Another process has the lock now."""


class RunLock:
    """Held while it is entered: a file `lock` with the owner's process number and host.

    The operating system takes an advisory lock back when its owner dies, however that happens, so a file that a killed
    process left behind is known to be stale. Where a file system does not pass such locks on to other machines,
    the host in the file speaks: another machine's lock is believed.

    Raises:
        ConfigError: on entering, another process has it, or it cannot be had here.
        CannotWriteError: on entering, the disk is full.
    """

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / "lock"
        self._shown = f"--resume {run_directory}"
        self._descriptor = -1

    def __enter__(self) -> Self:
        while not self._take():
            pass  # its owner removed it between our opening and locking it
        return self

    def __exit__(self, *error: Any) -> None:
        with suppress(OSError):  # if it stays behind, it is known to be stale
            if self._is_current(self._descriptor):  # else somebody removed it, and it may be another process's now
                self._path.unlink()  # while it is held: nobody else can have it
        os.close(self._descriptor)

    def _take(self) -> bool:
        """Lock and sign the file. False: it was no longer the one of that name."""
        with ExitStack() as undo:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
                undo.callback(os.close, descriptor)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ConfigError(f"{self._shown}: {self._path} must be a file")
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._is_current(descriptor):
                    return False
                owner = _read_owner(descriptor)
            except BlockingIOError:
                owner = _read_owner(descriptor)
                raise InUseError(f"{self._shown}: must not be in use, but {_describe(owner)} is training it") from None
            except OSError as error:
                raise ConfigError(f"{self._shown}: {self._path} cannot be locked: {error.strerror}") from None
            host = socket.gethostname()
            if owner and owner["host"] != host:
                raise ConfigError(
                    f"{self._shown}: must not be in use, but {_describe(owner)} was training it; "
                    f"if that has ended, remove {self._path}"
                )
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": host}).encode(), 0)
            except OSError as error:
                raise CannotWriteError(f"cannot write {self._path}: {error.strerror}") from None
            undo.pop_all()
            self._descriptor = descriptor
            return True

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False


def _read_owner(descriptor: int) -> dict[str, Any]:
    """Process number and host that the file names; nothing where it is not one of ours."""
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0))
    except (ValueError, RecursionError):
        return {}  # killed before it could sign
    signed = isinstance(owner, dict) and isinstance(owner.get("pid"), int) and isinstance(owner.get("host"), str)
    return owner if signed else {}


def _describe(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid', 'unknown')} on host {owner.get('host', 'unknown')}"
