"""A lock that lets one process at a time use a run directory."""

import errno
import json
import os
import socket
import stat
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Condition, Thread, get_ident
from typing import Any, Self

from qmix_jax.errors import CannotWriteError, ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEAT = 10.0  # seconds between heartbeats of an owner
SILENCE = 60.0  # seconds without a heartbeat after which an owner counts as dead
_OLD = 300.0  # seconds: more than any clock difference between machines that share files, so no wait is needed
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


class InUseError(ConfigError):
    """Another process holds the lock."""


def check_system() -> None:
    """Refuse a system without file locks.

    Raises:
        ConfigError: it has no `fcntl`.
    """
    if fcntl is None:
        raise ConfigError("training needs Linux or macOS: this Python has no module fcntl; on Windows, use WSL")


class RunLock:
    """Context that holds a run directory: a file `lock` with the owner's pid and host, locked with `flock`.

    The operating system releases an `flock` when its owner dies. On one host this decides: the lock of a killed process
    is taken over at once. Some file systems do not share these locks between hosts, or do not support them. There the
    file's modification time decides, which the owner renews every `BEAT` seconds: a file of another host, or any file
    without `flock`, is taken over after `SILENCE` seconds without renewal. A process that is suspended for longer can
    lose its run there.

    Args:
        run_directory: the folder.
        flag: the flag that named it, if any.

    Raises:
        InUseError: on entering, if another process holds it.
        ConfigError: on entering, if it cannot be locked here.
        CannotWriteError: on entering, if the disk is full.
    """

    def __init__(self, run_directory: Path, flag: str = "") -> None:
        self._path = run_directory / "lock"
        self._shown = f"{flag} {run_directory}".strip()
        self._descriptor = -1

    def __enter__(self) -> Self:
        check_system()
        while not self._take():
            pass  # the opened file was removed in the meantime
        _heartbeat.add(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _heartbeat.remove(self)
        self.release()
        os.close(self._descriptor)

    def beat(self) -> None:
        """Renew the file's time."""
        with suppress(OSError):
            os.utime(self._descriptor)

    def release(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # a file left behind is recognised as stale
            if self._is_current(self._descriptor):  # else it was removed and may be another process's now
                self._path.unlink()  # while locked, so that no other process can hold it

    def _take(self) -> bool:
        """Lock and sign the file. False: it was removed or replaced in the meantime."""
        with ExitStack() as undo:
            try:
                descriptor, is_new = self._open()
                undo.callback(os.close, descriptor)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ConfigError(f"{self._shown}: {self._path} must be a file")
                locked = self._flock(descriptor, is_new)
                if not self._is_current(descriptor):
                    return False
                owner = _read_owner(descriptor)
                if not is_new and (not locked or owner.get("host", socket.gethostname()) != socket.gethostname()):
                    silent = self._await_silence(owner)
                    if silent is not None:
                        self._remove_stale(silent)
                    return False
            except _Vanished:
                return False
            except OSError as error:
                raise ConfigError(f"{self._shown}: {self._path} cannot be locked: {error.strerror}") from None
            self._sign(descriptor)
            undo.pop_all()
            self._descriptor = descriptor
            return True

    def _open(self) -> tuple[int, bool]:
        """Open the file, and return whether it is new: only one process creates it."""
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), True
        except FileExistsError:
            return self._reopen(os.O_RDWR), False

    def _reopen(self, mode: int) -> int:
        try:
            return os.open(self._path, mode | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise _Vanished from None

    def _flock(self, descriptor: int, is_new: bool) -> bool:
        """Lock the file; return False if the file system does not support it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use(_read_owner(descriptor)) from None
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return False
            if is_new:
                self._path.unlink()
            raise
        return True

    def _sign(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except OSError as error:
            with suppress(OSError):
                self._path.unlink()
            raise CannotWriteError(f"cannot write {self._path}: {error.strerror}") from None

    def _await_silence(self, owner: dict[str, Any]) -> os.stat_result | None:
        """Wait until the file has not been renewed for `SILENCE` seconds. None if it was replaced meanwhile.

        Raises:
            InUseError: its owner renewed it.
        """
        name = (owner.get("pid"), owner.get("host"))
        first = self._look()
        if first.st_mtime < max(time.time() - _OLD, _silent.get(name, 0.0)):
            return first
        print(
            f"waiting: {self._path} names {_describe(owner)}; without a heartbeat for {SILENCE:.0f} s, "
            "it counts as dead",
            file=sys.stderr,
        )
        end = time.monotonic() + SILENCE
        while time.monotonic() < end:
            time.sleep(BEAT / 10)
            now = self._look()
            if not os.path.samestat(now, first):
                return None
            if now.st_mtime_ns != first.st_mtime_ns:
                raise self._in_use(owner)
        _silent[name] = first.st_mtime + BEAT
        return first

    def _look(self) -> os.stat_result:
        """Return the file's time and identity. Opening it makes NFS ask the server."""
        descriptor = self._reopen(os.O_RDONLY)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def _remove_stale(self, silent: os.stat_result) -> None:
        """Remove a dead owner's file, but not one that another process has created since."""
        if not _is_same(self._look(), silent):
            return
        renamed = self._path.with_name(f"lock.{socket.gethostname()}.{os.getpid()}.{get_ident()}")
        try:
            os.rename(self._path, renamed)
        except FileNotFoundError:
            raise _Vanished from None
        if _is_same(os.stat(renamed), silent):
            os.unlink(renamed)
        else:  # created between the two calls above
            os.rename(renamed, self._path)

    def _in_use(self, owner: dict[str, Any]) -> InUseError:
        return InUseError(f"{self._shown}: must not be in use, but {_describe(owner)} is training it")

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False


class _Vanished(Exception):
    """The file was removed between two system calls."""


class _Heartbeat:
    """Thread that renews the modification times of all lock files of this process."""

    def __init__(self) -> None:
        self.held: set[RunLock] = set()
        self._change = Condition()
        self._beats = False

    def add(self, lock: RunLock) -> None:
        with self._change:
            self.held.add(lock)
            if not self._beats:
                self._beats = True
                Thread(target=self._beat, daemon=True).start()

    def remove(self, lock: RunLock) -> None:
        """Stop renewing a file. Call it before closing: the descriptor's number may be reused."""
        with self._change:
            self.held.discard(lock)
            if not self.held:
                self._change.notify()

    def _beat(self) -> None:
        with self._change:
            while self.held:
                self._change.wait(BEAT)
                for lock in self.held:
                    lock.beat()
            self._beats = False


_heartbeat = _Heartbeat()
_silent: dict[tuple[Any, Any], float] = {}  # dead owners: their files were last renewed before this time


def release_all() -> None:
    """Remove the lock files of this process, which is about to end without leaving its contexts."""
    for lock in tuple(_heartbeat.held):
        lock.release()


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are the same file, not renewed. Inode numbers are reused, so the time is compared too."""
    return os.path.samestat(one, other) and one.st_mtime_ns == other.st_mtime_ns


def _read_owner(descriptor: int) -> dict[str, Any]:
    """Return the pid and host in the file, or nothing if it is not a valid lock file."""
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0))
    except (ValueError, RecursionError):
        return {}  # killed before it could sign
    signed = isinstance(owner, dict) and isinstance(owner.get("pid"), int) and isinstance(owner.get("host"), str)
    return owner if signed else {}


def _describe(owner: dict[str, Any]) -> str:
    return f"process {owner.get('pid', 'unknown')} on host {owner.get('host', 'unknown')}"
