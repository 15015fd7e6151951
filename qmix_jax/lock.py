"""One process per run directory."""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any, Self

from qmix_jax.settings import ConfigError


class RunLock:
    """Held while it is entered: a file `lock` with the owner's process number and host.

    The operating system takes an advisory lock back when its owner dies, however that happens, so a file that a killed
    process left behind is known to be stale. Where a file system does not pass such locks on to other machines,
    the host in the file speaks: another machine's lock is believed.

    Raises:
        ConfigError: on entering, another process has it.
    """

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / "lock"
        self._shown = f"--resume {run_directory}"
        self._descriptor = -1

    def __enter__(self) -> Self:
        while True:
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise ConfigError(f"{self._shown}: {self._path} cannot be made: {error.strerror}") from None
            owner = _read_owner(self._descriptor)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._descriptor)
                raise ConfigError(f"{self._shown}: must not be in use, but {_describe(owner)} is training it") from None
            if self._is_current():
                break
            os.close(self._descriptor)  # its owner removed it between our opening and locking it
        host = socket.gethostname()
        if owner and owner.get("host") != host:
            os.close(self._descriptor)
            raise ConfigError(
                f"{self._shown}: must not be in use, but {_describe(owner)} was training it; "
                f"if that has ended, remove {self._path}"
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "host": host}).encode(), 0)
        return self

    def __exit__(self, *error: Any) -> None:
        self._path.unlink(missing_ok=True)  # while it is held: nobody else can have it
        os.close(self._descriptor)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


def _read_owner(descriptor: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0))
    except ValueError:
        return {}  # killed before it could sign
    return owner if isinstance(owner, dict) else {}


def _describe(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid', 'unknown')} on host {owner.get('host', 'unknown')}"
