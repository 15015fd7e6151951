"""What a stopped program says of how to go on, and processes of a comparison that are asked to stop twice."""

import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from qmix_jax import train as cli
from qmix_jax.cli import command
from qmix_jax.config import Config
from qmix_jax.errors import StoppedError
from qmix_jax.experiments.jobs import group_jobs
from qmix_jax.experiments.plan import Group, Member

ROOT = Path(__file__).parents[3]
# A comparison's process, whose run, trained alone, saves for a second once it is asked to stop. Nothing is compiled.
SHARE = """
import runpy, sys, time
from pathlib import Path
from types import ModuleType
from qmix_jax.errors import StoppedError
from qmix_jax.runs import shell

def run(config, stop_signal, directory):
    print("trains", flush=True)
    while stop_signal() is None:
        time.sleep(0.01)
    time.sleep(1.0)
    print("saved", flush=True)
    raise StoppedError(Path("results/run_1"), stop_signal(), "8 of 10 environment steps")

sys.modules["qmix_jax.reports.training"] = ModuleType("qmix_jax.reports.training")
sys.modules["qmix_jax.reports.training"].run = run
sys.modules["qmix_jax.reports.training"].resume_run = None
shell.prepare_libraries = lambda: None
sys.argv[1:] = ["--folder=nowhere"]
runpy.run_module("qmix_jax.experiments.worker", run_name="__main__")
"""
JOB = group_jobs(Path("nowhere"), [Group((), (Member(0, 0, Config(keep_resumable=1), "vdn/seed_0"),))])[0].text


@pytest.fixture
def share():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SHARE], cwd=ROOT, **pipes) as process:
        process.stdin.write(f"{JOB}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "trains\n"
        yield process
        process.kill()


def test_a_process_of_a_comparison_saves_although_a_signal_reaches_it_twice(share):
    """By the batch system, which sends it to all, and passed on."""
    for _ in range(2):
        share.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    assert share.stdout.read() == "saved\n"
    assert share.wait() == 128 + signal.SIGTERM
    assert "stopped at 8 of 10 environment steps" in share.stderr.read()


def test_a_process_of_a_comparison_ends_with_the_one_that_started_it(share):
    share.stdin.close()
    assert share.wait(timeout=30) == 1
    assert share.stdout.read() == ""


@pytest.mark.parametrize(
    ("main", "script", "found", "expected"),
    [
        ("qmix_jax.train", "/home/me/qmix_jax/train.py", None, "python -m qmix_jax.train"),
        ("qmix_jax.__main__", "/home/me/qmix_jax/__main__.py", None, "python -m qmix_jax train"),
        (None, "train.py", None, "python train.py"),
        (None, "../my code/train.py", None, "python '../my code/train.py'"),
        (None, "/opt/bin/qmix-train", "/opt/bin/qmix-train", "qmix-train"),
        (None, "/opt/venv/bin/qmix-train", None, "/opt/venv/bin/qmix-train"),
        ("ipykernel_launcher", "/opt/ipykernel_launcher.py", None, "qmix-jax train"),
    ],
)
def test_the_command_that_goes_on_is_one_that_the_user_has(monkeypatch, capsys, main, script, found, expected):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", main and ModuleSpec(main, None))
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.setattr(command.shutil, "which", lambda name: found)
    monkeypatch.setattr(cli, "_train", stop)
    assert cli.main() == 130
    assert capsys.readouterr().err == f"stopped at 8; to continue: {expected} --resume 'results/run 1'\n"


def test_a_caller_in_python_gets_a_command_of_the_shell(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_train", stop)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "stopped at 8; to continue: qmix-jax train --resume 'results/run 1'\n"


def stop(arguments):
    raise StoppedError(Path("results/run 1"), signal.SIGINT, "8")


def test_as_a_module_errors_name_the_command():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "qmix_jax.train", "--lr", "2"]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("python -m qmix_jax.train: error: --lr 2: ")
