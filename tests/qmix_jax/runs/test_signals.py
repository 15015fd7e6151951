"""Ctrl-C and SIGTERM, sent to programs of a few lines."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from qmix_jax.errors import StoppedError
from qmix_jax.runs import signals
from qmix_jax.runs.signals import StopRequest, leaving_at_once

ROOT = Path(__file__).parents[3]
START = """
import hashlib, signal, sys, tempfile, time
from qmix_jax.runs.signals import StopRequest

with StopRequest() as stop:
    print("entered", flush=True)
"""
PYTHON_LOOP = """
    while stop.signal_number is None:
        time.sleep(0.001)
    print(stop.signal_number, flush=True)
    while True:
        pass
"""
C_CALL = """
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # an hour in which Python runs no handlers
"""
both_signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@pytest.fixture
def start():
    """Start a program and wait until its handlers are in place."""
    processes = []

    def run(body):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen([sys.executable, "-c", START + body], cwd=ROOT, **pipes))
        assert processes[-1].stdout.readline() == "entered\n"
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def answer(process):
    """Return what the process says to its first signal."""
    return process.stderr.readline()


@both_signals
@pytest.mark.parametrize("body", [PYTHON_LOOP, C_CALL], ids=["in Python", "in C"])
def test_the_first_signal_is_a_request_and_the_second_an_order(start, number, body):
    process = start(body)
    process.send_signal(number)
    assert answer(process) == f"{number.name}: saving after the current chunk; repeat to exit immediately\n"
    if body == PYTHON_LOOP:
        assert int(process.stdout.readline()) == number
    time.sleep(0.15)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(10) == 128 + number


@both_signals
@pytest.mark.parametrize("program", ["train.py", "qmix-jax train"])
def test_a_signal_during_compilation_ends_the_process_at_once(start, number, program):
    """It says how to continue as a stopped command does, and takes its lock along."""
    process = start(
        "    from pathlib import Path\n"
        "    from qmix_jax.cli import command\n"
        "    from qmix_jax.runs.signals import leaving_at_once\n"
        "    from qmix_jax.storage.lock import RunLock\n"
        f"    command._program = {program!r}\n"
        "    folder = Path(tempfile.mkdtemp())\n"
        "    with RunLock(folder), leaving_at_once(folder, '0 of 80 environment steps'):\n"
        "        print(folder, flush=True)\n" + C_CALL.replace("    hashlib", "        hashlib")
    )
    folder = Path(process.stdout.readline().strip())
    assert [path.name for path in folder.iterdir()] == ["lock"]
    sent = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert time.monotonic() - sent < 2
    expected = f"stopped at 0 of 80 environment steps; to continue: {program} --resume {folder}\n"
    assert process.stderr.read() == expected
    assert list(folder.iterdir()) == []


def test_a_signal_before_compilation_stops_it_there_and_after_it_is_a_request():
    with leaving_at_once(Path("run"), "0 of 8"), StopRequest() as stop:  # nobody leaves without a request
        with leaving_at_once(Path("run"), "0 of 8"):
            pass
        signal.raise_signal(signal.SIGTERM)
        while stop.signal_number is None:
            time.sleep(0.01)
        with pytest.raises(StoppedError, match="stopped at 0 of 8") as stopped, leaving_at_once(Path("run"), "0 of 8"):
            raise AssertionError
    assert stopped.value.exit_status == 143


def test_the_second_signal_may_be_another(start):
    process = start(PYTHON_LOOP)
    process.send_signal(signal.SIGINT)
    answer(process)
    time.sleep(0.15)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143


@pytest.mark.parametrize(("seconds_between", "statuses"), [(0.05, []), (0.2, [143])])
def test_signals_that_come_together_are_one_request(monkeypatch, seconds_between, statuses):
    """GNU timeout sends its signal twice."""
    clock, left, acts = iter([100.0, 100.0 + seconds_between]), [], []
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(os, "_exit", left.append)
    with StopRequest(last_act=lambda: acts.append("last act")) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert stop.signal_number == signal.SIGTERM
    assert left == statuses
    assert acts == ["last act"] * len(statuses)


def test_a_process_that_another_one_ends_does_not_leave_by_itself(monkeypatch):
    """A signal to all processes reaches it twice, the second time passed on."""
    clock, left = iter([100.0, 100.2, 100.4]), []
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(os, "_exit", left.append)
    with StopRequest(leaves=False) as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
    assert (stop.signal_number, left) == (signal.SIGTERM, [])


@pytest.mark.parametrize("lost", ["sys.stderr.close()", "sys.stderr = None"])
def test_a_request_needs_no_stderr(start, lost):
    process = start(f"    {lost}\n    print(flush=True)\n" + PYTHON_LOOP)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert int(process.stdout.readline()) == signal.SIGINT
    time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


@pytest.fixture
def python_interrupt():
    """Python's own handler of SIGINT, also where the tests run in the background of a shell, which ignores it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("python_interrupt")
def test_everything_is_as_before_after_leaving():
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    open_files = os.listdir("/proc/self/fd")
    for stopped in (False, True):
        with StopRequest() as stop:
            assert not set(handlers) & {signal.getsignal(number) for number in numbers}
            if stopped:
                signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == (signal.SIGTERM if stopped else None)
        assert [signal.getsignal(number) for number in numbers] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert os.listdir("/proc/self/fd") == open_files
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_other_signals_are_no_request():
    previous = signal.signal(signal.SIGUSR1, lambda *_: None)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, previous)
    assert stop.signal_number is None
