"""One process per run directory."""

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

from qmix_jax.errors import CannotWriteError
from qmix_jax.settings import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BEAT = 10.0  # seconds between two signs of life of an owner
SILENCE = 60.0  # seconds without one after which an owner is taken for dead
_OLD = 300.0  # seconds: clocks of machines that share files differ by less, so a file this old needs no watching
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


class InUseError(ConfigError):
    """Another process has the lock now."""


def check_system() -> None:
    """Refuse a system on which runs cannot be locked.

    Raises:
        ConfigError: it has no `fcntl`.
    """
    if fcntl is None:
        raise ConfigError("training needs Linux or macOS: this Python has no module fcntl; on Windows, use WSL")


class RunLock:
    """Held while it is entered: a file `lock` with the owner's process number and host, and a lock of the system on it.

    The operating system takes such a lock (`flock`) back when its owner dies, however that happens. So on one host it
    decides alone: what a killed process left behind is taken over at once. But some file systems do not pass these
    locks on to other hosts, and some have none. There the file's time decides, which its owner renews every `BEAT`
    seconds: a file of another host, or any file where there is no `flock`, is taken over once it has been silent for
    `SILENCE` seconds, which a process waits for. A process that stands still for longer can lose its run there.

    Args:
        run_directory: the folder.
        flag: by which the user named it; nothing where none did.

    Raises:
        InUseError: on entering, another process has it.
        ConfigError: on entering, it cannot be had here.
        CannotWriteError: on entering, the disk is full.
    """

    def __init__(self, run_directory: Path, flag: str = "") -> None:
        self._path = run_directory / "lock"
        self._shown = f"{flag} {run_directory}".strip()
        self._descriptor = -1

    def __enter__(self) -> Self:
        check_system()
        while not self._take():
            pass  # the file that we opened was removed in the meantime
        _heart.add(self._descriptor)
        return self

    def __exit__(self, *error: Any) -> None:
        _heart.remove(self._descriptor)
        with suppress(OSError):  # if it stays behind, it is known to be stale
            if self._is_current(self._descriptor):  # else somebody removed it, and it may be another process's now
                self._path.unlink()  # while it is held: nobody else can have it
        os.close(self._descriptor)

    def _take(self) -> bool:
        """Lock and sign the file. False: it is no longer the one of that name."""
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
                        self._put_aside(silent)
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
        """The file and whether it is new: of several processes only one makes it."""
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
        """Whether the file system has such locks; if so, it is ours now."""
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
        """The file as it is once nobody has renewed it for `SILENCE` seconds; None if it is another one by then.

        Raises:
            InUseError: its owner renewed it.
        """
        name = (owner.get("pid"), owner.get("host"))
        first = self._look()
        if first.st_mtime < max(time.time() - _OLD, _silent.get(name, 0.0)):
            return first
        print(
            f"waiting: {self._path} names {_describe(owner)}; if that gives no sign of life for {SILENCE:.0f} s, "
            "it is taken for dead",
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
        """The file's time and identity. It is opened for that: NFS asks its server then, else not always."""
        descriptor = self._reopen(os.O_RDONLY)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def _put_aside(self, silent: os.stat_result) -> None:
        """Remove a dead owner's file, but not what another process that wanted the same has made since."""
        if not _is_same(self._look(), silent):
            return
        aside = self._path.with_name(f"lock.{socket.gethostname()}.{os.getpid()}.{get_ident()}")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            raise _Vanished from None
        if _is_same(os.stat(aside), silent):
            os.unlink(aside)
        else:  # made between the two calls above
            os.rename(aside, self._path)

    def _in_use(self, owner: dict[str, Any]) -> InUseError:
        return InUseError(f"{self._shown}: must not be in use, but {_describe(owner)} is training it")

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False


class _Vanished(Exception):
    """The file was removed between two looks at it."""


class _Heart:
    """Renews the times of the files that this process holds, in one thread, as long as there are any."""

    def __init__(self) -> None:
        self._held: set[int] = set()
        self._change = Condition()
        self._beats = False

    def add(self, descriptor: int) -> None:
        with self._change:
            self._held.add(descriptor)
            if not self._beats:
                self._beats = True
                Thread(target=self._beat, daemon=True).start()

    def remove(self, descriptor: int) -> None:
        """Before it is closed: its number may be another file's afterwards."""
        with self._change:
            self._held.discard(descriptor)
            if not self._held:
                self._change.notify()

    def _beat(self) -> None:
        with self._change:
            while self._held:
                self._change.wait(BEAT)
                for descriptor in self._held:
                    with suppress(OSError):
                        os.utime(descriptor)
            self._beats = False


_heart = _Heart()
_silent: dict[tuple[Any, Any], float] = {}  # owners that were found dead: what they held was renewed before this time


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether it is one file and was not renewed: another one may have its number once it is removed."""
    return os.path.samestat(one, other) and one.st_mtime_ns == other.st_mtime_ns


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
