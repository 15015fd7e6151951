"""Locks where the system's own do not decide: another host's, a file system without `flock`, and no `fcntl` at all."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.runs import runner
from qmix_jax.storage import lock
from qmix_jax.storage.lock import InUseError, RunLock

ROOT = Path(__file__).parents[3]
HOST = socket.gethostname()
ELSEWHERE = {"pid": 41, "host": "elsewhere"}
UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# A process on such a file system, for which a second is a minute.
WITHOUT = """
import errno, os, sys, time
from pathlib import Path
from qmix_jax.storage import lock

def flock(descriptor, operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

lock.fcntl.flock, lock.BEAT, lock.SILENCE = flock, 0.05, 1.5
folder = Path(sys.argv[1])
"""
HOLD = """
with lock.RunLock(folder):
    print("held", flush=True)
    sys.stdin.read()
"""
# Many want a dead owner's file at the same moment, and hold it long enough to be seen by all.
RACE = """
print("ready", flush=True)
sys.stdin.readline()
try:
    with lock.RunLock(folder):
        os.close(os.open(folder / "mark", os.O_CREAT | os.O_EXCL))
        time.sleep(1.0)
        os.unlink(folder / "mark")
        print("had it")
except lock.InUseError:
    print("in use")
"""


def program(source, folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", WITHOUT + source, str(folder)], cwd=ROOT, **pipes)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "SILENCE", 0.3)


@pytest.fixture
def patient(monkeypatch):
    """Living owners are seen at their first beat, however late a busy machine lets them have it."""
    monkeypatch.setattr(lock, "SILENCE", 30.0)


@pytest.fixture(params=UNSUPPORTED, ids=errno.errorcode.get)
def unsupported(request, monkeypatch):
    """A file system that has no such locks."""
    fail_flock(monkeypatch, request.param)


def fail_flock(monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", flock)


def sign(folder, owner, age=0.0):
    (folder / "lock").write_text(json.dumps(owner))
    renewed = time.time() - age
    os.utime(folder / "lock", (renewed, renewed))


def assert_free(folder):
    with RunLock(folder):
        assert json.loads((folder / "lock").read_text()) == {"pid": os.getpid(), "host": HOST}
    assert os.listdir(folder) == []


def seconds(act, *arguments):
    began = time.monotonic()
    act(*arguments)
    return time.monotonic() - began


def test_another_host_s_silent_lock_is_taken_over_after_a_wait_that_is_announced(tmp_path, capsys):
    sign(tmp_path, ELSEWHERE)
    assert seconds(assert_free, tmp_path) >= 0.3
    assert capsys.readouterr().err == (
        f"waiting: {tmp_path}/lock names process 41 on host elsewhere; without a heartbeat for 0 s, it counts as dead\n"
    )


def test_what_else_a_dead_owner_held_needs_no_second_wait(tmp_path):
    """A sweep's process on another host held the locks of all its members."""
    owner, folders = ELSEWHERE | {"pid": 42}, [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
        sign(folder, owner)
    assert_free(folders[0])
    assert seconds(lambda: [*map(assert_free, folders[1:])]) < 0.3
    sign(folders[0], owner)  # a later process of the same number
    assert seconds(assert_free, folders[0]) >= 0.3


def test_an_old_lock_of_another_host_is_taken_over_at_once(tmp_path, capsys):
    sign(tmp_path, ELSEWHERE | {"pid": 43}, age=301.0)
    assert seconds(assert_free, tmp_path) < 0.3
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("patient")
def test_another_host_s_living_lock_is_believed_although_flock_was_granted(tmp_path, monkeypatch):
    """Two hosts that do not see each other's locks: the first owner's process has the one of another inode."""
    monkeypatch.setattr(lock.fcntl, "flock", lambda descriptor, operation: None)
    with RunLock(tmp_path):
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        with pytest.raises(InUseError) as caught, RunLock(tmp_path):
            pass
        assert str(caught.value) == (
            f"{tmp_path}: must not be in use, but process {os.getpid()} on host {HOST} is training it"
        )
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("unsupported", "patient")
def test_without_flock_a_living_owner_is_believed(tmp_path):
    with RunLock(tmp_path), pytest.raises(InUseError, match=f"process {os.getpid()} on host {HOST}"), RunLock(tmp_path):
        pass
    assert_free(tmp_path)


@pytest.mark.usefixtures("unsupported")
def test_without_flock_a_silent_owner_is_not_believed(tmp_path):
    sign(tmp_path, {"pid": os.getpid(), "host": HOST})
    assert seconds(assert_free, tmp_path) >= 0.3
    sign(tmp_path, {"pid": 2, "host": HOST}, age=301.0)
    assert_free(tmp_path)


@pytest.mark.parametrize("leave", [lambda owner: owner.communicate(""), lambda owner: owner.kill()])
def test_without_flock_other_processes_are_refused_until_the_owner_has_ended(tmp_path, monkeypatch, leave):
    fail_flock(monkeypatch, errno.ENOSYS)
    owner = program(HOLD, tmp_path)
    assert owner.stdout.readline() == "held\n"
    with monkeypatch.context() as patched:
        patched.setattr(lock, "SILENCE", 30.0)
        with pytest.raises(InUseError, match=f"process {owner.pid} on host"), RunLock(tmp_path):
            pass
    leave(owner)
    owner.wait()
    owner.communicate()
    assert_free(tmp_path)


def test_of_many_processes_one_takes_a_dead_owner_s_file_over(tmp_path):
    sign(tmp_path, ELSEWHERE)
    processes = [program(RACE, tmp_path) for _ in range(6)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 6
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [status for *_, status in results] == [0] * 6, results
    assert {out for out, *_ in results} == {"had it\n", "in use\n"}
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("late", [False, True])
def test_a_file_that_another_process_has_made_since_is_not_put_aside(tmp_path, monkeypatch, late):
    """Late: it is made at the very last moment."""
    sign(tmp_path, ELSEWHERE, age=301.0)
    silent = os.stat(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    with RunLock(tmp_path):
        second = RunLock(tmp_path)
        if late:
            monkeypatch.setattr(second, "_look", lambda: silent)
        second._remove_stale(silent)
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_what_is_held_is_renewed_and_nothing_after_that(tmp_path):
    with RunLock(tmp_path):
        first = os.stat(tmp_path / "lock").st_mtime_ns
        time.sleep(0.2)
        assert os.stat(tmp_path / "lock").st_mtime_ns > first
    other = tmp_path / "other"
    with other.open("w") as file:  # it may have the descriptor that the lock had
        first = os.fstat(file.fileno()).st_mtime_ns
        time.sleep(0.2)
        assert os.fstat(file.fileno()).st_mtime_ns == first


@pytest.mark.parametrize("given", [False, True])
def test_a_new_run_that_cannot_be_locked_leaves_nothing_and_blames_no_flag_that_was_not_given(
    tmp_path, monkeypatch, given
):
    fail_flock(monkeypatch, errno.EIO)
    config = Config(results_dir=str(tmp_path / "made" / "results"))
    directory = tmp_path / "given" if given else None
    if given:
        directory.mkdir()
    path = directory or tmp_path / "made" / "results" / "run_1"
    with pytest.raises(ConfigError) as caught:
        runner.run(config, run_directory=directory)
    flag = "--run_directory " if given else ""
    assert str(caught.value) == f"{flag}{path}: {path}/lock cannot be locked: Input/output error"
    assert [*tmp_path.rglob("*")] == ([directory] if given else [])


@pytest.mark.parametrize("command", ["train", "sweep", "compare"])
def test_a_system_without_fcntl_is_refused_in_a_line(tmp_path, command):
    code = f"import sys; sys.modules['fcntl'] = None; from qmix_jax import {command}; sys.exit({command}.main([]))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.endswith(
        ": error: training needs Linux or macOS: this Python has no module fcntl; on Windows, use WSL\n"
    )
    assert ended.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []
