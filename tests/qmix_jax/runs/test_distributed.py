"""One run over several processes: which flags are accepted, and two processes of two devices each on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from resumed import saved_state, wait_until

from qmix_jax import train as cli
from qmix_jax.runs.collectives import broadcast_from_first, max_over_processes
from qmix_jax.runs.distributed import HEARTBEAT_SECONDS, Machines, take_machines
from qmix_jax.storage.arrays import gather
from qmix_jax.storage.checkpoint import checkpoints, load_params

ROOT = Path(__file__).parents[3]
FLAGS = (
    "--num_devices 4 --num_envs 8 --max_steps_per_ep 20 --min_buffer_size 100 --batch_size 8 --hidden_sizes 16 "
    "--mixing_size 8 --hypernet_size 8 --eval_interval 80 --eval_episodes 4 --save_interval 8 --buffer_capacity 4000"
).split()
SHORT, LONG = ["--total_episodes", "64"], ["--total_episodes", "40000"]
EXCLUDES = "--coordinator auto excludes --num_processes and --process_id, --coordinator HOST:PORT requires both"


def test_flags_of_several_processes_are_taken_out():
    flags = {"coordinator": "10.0.0.1:29500", "num_processes": "4", "process_id": "3", "lr": "0.1"}
    assert take_machines(flags) == Machines("10.0.0.1:29500", 4, 3)
    assert flags == {"lr": "0.1"}
    assert take_machines(flags) is None
    assert take_machines({"coordinator": "auto"}) == Machines("auto", None, None)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--coordinator here:1", f"--num_processes: {EXCLUDES}"),
        ("--process_id 1", EXCLUDES),
        ("--coordinator auto --process_id 1", f"--process_id 1: {EXCLUDES}"),
        ("--coordinator here --num_processes 2 --process_id 1", "--coordinator here: must be auto or HOST:PORT"),
        ("--coordinator here:0 --num_processes 2 --process_id 1", "--coordinator here:0: must be auto or HOST:PORT"),
        (
            "--coordinator here:1 --num_processes 0 --process_id 0",
            "--num_processes 0: must be a whole number, at least 1",
        ),
        ("--coordinator here:1 --num_processes 2 --process_id 2", "--process_id 2: must be a whole number, at least 0"),
        (
            "--coordinator here:1 --num_processes 2 --process_id 1 --num_devices 1",
            "--num_devices 1: must be a multiple of --num_processes 2",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, monkeypatch, capsys, flags, line):
    monkeypatch.chdir(tmp_path)
    assert cli.main(flags.split()) == 2
    assert line in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_process_alone_has_nobody_to_ask():
    array = jax.numpy.arange(3)
    assert gather(array) is array
    assert (max_over_processes(None), max_over_processes(15)) == (None, 15)
    assert broadcast_from_first(lambda: "run_1") == "run_1"


def start(folder, *arguments):
    """Two processes of one run: (first, second)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    joined = ["--coordinator", coordinator, "--num_processes", "2", "--process_id"]
    command = [sys.executable, str(ROOT / "train.py"), *arguments, *joined]
    return [subprocess.Popen([*command, str(i)], cwd=folder, env=environ, **pipes) for i in range(2)]


def finish(processes, status):
    """Return stdout and stderr of both."""
    outcomes = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [status] * 2, outcomes
    return outcomes


def rows(run):
    return (run / "timing.csv").read_text().count("\n") if (run / "timing.csv").exists() else 0


@pytest.mark.slow
def test_two_processes_make_one_run_that_goes_on_after_a_kill(tmp_path):
    whole_run, run = tmp_path / "whole" / "run_1", tmp_path / "killed" / "run_1"
    (out, _), (silent, _) = finish(start(tmp_path, *FLAGS, *SHORT, "--results_dir", "whole"), 0)
    assert out.splitlines()[-1] == f"run directory: {whole_run.relative_to(tmp_path)}"
    assert silent == ""
    assert (whole_run / "training_log.csv").read_text().count("\n") > 64
    assert (whole_run / "evaluation_log.csv").read_text().count("\n") == 17
    name, state = saved_state(whole_run)
    assert state["state/replay/experience/actions"].shape[0] == 8
    assert state["state/vector_step"] == 160
    jax.tree.map(np.testing.assert_array_equal, load_params(whole_run), load_params(whole_run, name))

    processes = start(tmp_path, *FLAGS, *LONG, "--results_dir", "killed")
    wait_until(processes[0], lambda: rows(run) > 4)
    processes[1].kill()
    killed = time.monotonic()
    _, err = processes[0].communicate(timeout=3 * HEARTBEAT_SECONDS)
    assert processes[0].returncode != 0
    assert "lost connection to a peer" in err or "another task died" in err
    assert time.monotonic() - killed < 2 * HEARTBEAT_SECONDS
    processes[1].communicate()

    processes = start(tmp_path, "--resume", str(run))
    done = rows(run)
    wait_until(processes[0], lambda: rows(run) > done + 4)
    processes[1].send_signal(signal.SIGTERM)
    (out, _), _ = finish(processes, 143)
    assert "resuming checkpoint_ep" in out
    assert (checkpoints(run / "models")[0] / "resume.npz").exists()
