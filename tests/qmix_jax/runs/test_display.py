"""Progress in a terminal of any width, in a pipe, and where nobody may see it."""

import fcntl
import os
import pty
import struct
import sys
import termios
import time
from contextlib import suppress
from io import StringIO
from types import SimpleNamespace

import pytest

from qmix_jax.runs import display as module
from qmix_jax.runs.display import Display, fitting, is_watched

FIELDS = ["return 1.50", "optimality 96%", "success rate 50%", "epsilon 0.50", "loss 0.12"]


@pytest.fixture
def terminal(monkeypatch):
    """Show on a terminal of so many columns; returns what it shows, redraw by redraw."""

    def show(columns, act, rows=24):
        reading, writing = pty.openpty()
        fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with os.fdopen(writing, "w") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            act()
            stderr.flush()
            os.set_blocking(reading, False)
            drawn = b""
            with suppress(BlockingIOError):
                while True:
                    drawn += os.read(reading, 4096)
        os.close(reading)
        return [line.strip("\n") for line in drawn.decode().split("\r") if line.strip()]

    return show


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (20, ""),
        (30, "400k/1.00M steps"),
        (60, "400k/1.00M steps, 40.0k/s, ETA 00:15"),
        (70, "400k/1.00M steps, 40.0k/s, ETA 00:15, return 1.50"),
        (80, "400k/1.00M steps, 40.0k/s, ETA 00:15, return 1.50, optimality 96%"),
        (120, "400k/1.00M steps, 40.0k/s, ETA 00:15, " + ", ".join(FIELDS)),
        (200, "400k/1.00M steps, 40.0k/s, ETA 00:15, " + ", ".join(FIELDS)),
    ],
)
def test_fields_drop_from_the_right_where_the_line_is_too_narrow(terminal, clock, capsys, columns, shown):
    def train():
        with Display(1_000_000) as display:
            display.start()
            clock[0] = 10.0
            display.update(400_000, FIELDS, is_news=False)

    drawn = terminal(columns, train)
    assert max(map(len, drawn)) <= columns
    assert drawn[-1].startswith(" 40% ")
    assert drawn[-1].rstrip().endswith(f" {shown}".rstrip())
    assert capsys.readouterr().out == ""


def test_a_terminal_without_a_size_has_eighty_columns(terminal, monkeypatch):
    """Such as that of `docker exec -t` or of `script`."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", StringIO())  # has no size either

    def train():
        with Display(1_000) as display:
            display.start()
            display.update(400, FIELDS, is_news=False)

    drawn = terminal(0, train, rows=0)
    assert drawn[-1].startswith(" 40% ")
    assert 60 < len(drawn[-1]) < 80


def test_compilation_shows_its_seconds(terminal, monkeypatch):
    monkeypatch.setattr(module, "_TICK", 0.01)
    clock = iter(range(1_000_000))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    def compile_slowly():
        with Display(1_000):
            time.sleep(0.2)

    drawn = terminal(60, compile_slowly)
    seconds = [int(line.rpartition("compiling, ")[2].removesuffix(" s")) for line in drawn]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) > 2


def test_a_line_at_least_every_half_minute_even_within_a_chunk(capsys, monkeypatch, clock):
    monkeypatch.setattr(module, "_TICK", 0.001)
    told = []
    with Display(1_000, look=lambda: told.append(capsys.readouterr().out)) as display:

        def wait_until(seconds):
            clock[0] = seconds
            count = len(told)
            while len(told) < count + 3:
                time.sleep(0.001)

        wait_until(29.0)
        assert "".join(told) == "compiling\n"
        wait_until(30.0)
        wait_until(59.0)
        assert "".join(told) == "compiling\ncompiling, 30 s\n"
        display.start()
        wait_until(69.0)
        told.clear()
        display.update(100, FIELDS[:1], is_news=False)
        wait_until(99.0)
        slow = "100 of 1,000 steps (10%), 10 steps/s, ETA 01:00, last chunk 30 s ago, return 1.50\n"
        assert "".join(told) == slow
        display.update(1_000, FIELDS[:1], is_news=True)
        wait_until(129.0)
    assert "".join(told).endswith(
        ", ETA 00:00, return 1.50\n1,000 of 1,000 steps (100%), writing the results, return 1.50\n"
    )


def test_the_speed_is_that_of_the_last_minute(capsys, clock):
    with Display(100_000) as display:
        display.start()
        for second in range(0, 200, 10):
            clock[0] = float(second)
            display.update(10 * second if second < 100 else 100 * second, (), is_news=second == 190)
        assert "19,000 of 100,000 steps (19%), 100 steps/s, ETA 13:30" in capsys.readouterr().out
        clock[0] = 200.0
        display.update(100_000, (), is_news=True)
        clock[0] = 229.0
        display.update(100_000, (), is_news=True)  # the results are written meanwhile
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_a_reader_that_is_gone_does_not_end_a_run(monkeypatch):
    monkeypatch.setattr(sys, "stderr", StringIO())
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", pipe)
    with Display(1_000) as display:
        display.update(10, FIELDS, is_news=True)
        display.say("a run has ended")
    pipe.close()  # as at the end of the process: nothing is left to write


def test_fields_as_text():
    assert fitting(FIELDS, 11) == "return 1.50"
    assert fitting(FIELDS, 10) == ""
    assert fitting(FIELDS, 27) == "return 1.50, optimality 96%"
    assert fitting([], 5) == ""


@pytest.mark.parametrize(
    ("terminal", "shell", "watched"),
    [
        (True, None, True),
        (False, None, False),
        (False, SimpleNamespace(config={"IPKernelApp": {}}), True),
        (False, SimpleNamespace(config={}), False),
    ],
    ids=["terminal", "pipe", "notebook", "ipython in a pipe"],
)
def test_who_watches(monkeypatch, terminal, shell, watched):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_watched() is watched
