"""One process per run directory, however the one before ended."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qmix_jax.errors import CannotWriteError, ConfigError
from qmix_jax.storage.lock import RunLock

ROOT = Path(__file__).parents[3]
HOST = socket.gethostname()
HOLD = """
import sys, time
from pathlib import Path
from qmix_jax.storage.lock import RunLock

with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
# Each round: wait for the lock, then look for another holder's mark for a while.
RACE = """
import os, sys, time
from pathlib import Path
from qmix_jax.storage.lock import RunLock
from qmix_jax.errors import ConfigError

folder, rounds = Path(sys.argv[1]), 20
while rounds:
    try:
        with RunLock(folder):
            os.close(os.open(folder / "mark", os.O_CREAT | os.O_EXCL))
            time.sleep(0.0002)
            os.unlink(folder / "mark")
            rounds -= 1
    except ConfigError as error:
        assert "is training it" in str(error), error
"""


def program(source, folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", source, str(folder)], cwd=ROOT, **pipes)


@pytest.fixture
def holder(tmp_path):
    """Another process, which holds the lock until it is killed or its input ends."""
    process = program(HOLD, tmp_path)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def assert_free(folder):
    with RunLock(folder):
        assert json.loads((folder / "lock").read_text()) == {"pid": os.getpid(), "host": HOST}
    assert not (folder / "lock").exists()


def refusal(folder):
    with pytest.raises(ConfigError) as caught, RunLock(folder):
        pass
    return str(caught.value)


def test_the_file_names_its_owner_and_is_gone_after_leaving(tmp_path):
    open_files = len(os.listdir("/proc/self/fd"))
    assert_free(tmp_path)
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        raise ZeroDivisionError
    assert_free(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_second_owner_in_the_same_process_is_refused(tmp_path):
    lock = RunLock(tmp_path)
    with lock:
        for second in (RunLock(tmp_path), lock):
            with pytest.raises(ConfigError) as caught, second:
                pass
            assert str(caught.value) == (
                f"{tmp_path}: must not be in use, but process {os.getpid()} on host {HOST} is training it"
            )
    assert_free(tmp_path)


def test_another_process_is_refused_until_the_owner_leaves(tmp_path, holder):
    assert f"process {holder.pid} on host {HOST} is training it" in refusal(tmp_path)
    holder.communicate("")
    assert holder.returncode == 0
    assert not (tmp_path / "lock").exists()
    assert_free(tmp_path)


def test_a_killed_owner_s_file_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert json.loads((tmp_path / "lock").read_text())["pid"] == holder.pid
    assert_free(tmp_path)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 5000,
        b"\xff\xfe",
        b"[" * 5000,
        b'{"pid": 1, "ho',
        b"null",
        b'["pid", "host"]',
        b"{}",
        b'{"pid": 1}',
        b'{"pid": 1, "host": ["elsewhere"]}',
        b'{"pid": "one", "host": "elsewhere"}',
    ],
)
def test_garbage_in_the_file_is_survived(tmp_path, garbage):
    (tmp_path / "lock").write_bytes(garbage)
    assert_free(tmp_path)


def test_only_a_file_will_do(tmp_path):
    lock, other = tmp_path / "lock", tmp_path / "other"
    other.write_text("precious")
    for target in (other, tmp_path / "nothing"):
        lock.symlink_to(target)
        assert f"{lock} cannot be locked: Too many levels of symbolic links" in refusal(tmp_path)
        lock.unlink()
    assert other.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()
    lock.mkdir()
    assert f"{lock} cannot be locked: Is a directory" in refusal(tmp_path)
    lock.rmdir()
    os.mkfifo(lock)
    assert f"{lock} must be a file" in refusal(tmp_path)
    assert "cannot be locked: No such file or directory" in refusal(tmp_path / "nowhere")


def test_a_full_disk_does_not_keep_the_lock(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(CannotWriteError, match=r"cannot write .*/lock: No space left on device"):
            RunLock(tmp_path).__enter__()
    assert_free(tmp_path)


def test_the_first_to_leave_does_not_take_another_s_file_with_it(tmp_path):
    """Somebody removed the first one's, and another process made its own."""
    first = RunLock(tmp_path)
    first.__enter__()
    (tmp_path / "lock").unlink()
    with RunLock(tmp_path):
        first.__exit__()
        assert "is training it" in refusal(tmp_path)
    assert_free(tmp_path)


def test_fifty_threads_never_hold_it_two_at_a_time(tmp_path):
    holders, most = [], []

    def take(number):
        for _ in range(1000):
            try:
                with RunLock(tmp_path):
                    holders.append(number)
                    most.append(len(holders))
                    time.sleep(0.0005)
                    holders.remove(number)
                return True
            except ConfigError:
                time.sleep(0.001)
        return False

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(take, range(50)))
    assert most == [1] * 50
    assert_free(tmp_path)


def test_processes_never_hold_it_two_at_a_time(tmp_path):
    processes = [program(RACE, tmp_path) for _ in range(8)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert os.listdir(tmp_path) == []
