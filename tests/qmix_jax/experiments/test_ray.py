"""Jobs as tasks of a real Ray on this machine, most of them programs of a few lines."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

import pytest
from resumed import assert_same_run, wait_until

from qmix_jax import sweep
from qmix_jax.experiments.launcher import Job
from qmix_jax.experiments.ray_launcher import RayLauncher, Slots, connect

ROOT = Path(__file__).parents[3]
MODULE = "job_of_ray"
# Notes each start in the experiment's folder, then does what its text says.
PROGRAM = """
import os, signal, sys
folder, does = sys.argv[1], sys.stdin.readline().strip()
path = os.path.join(folder, does)
print("started", file=open(path, "a"), flush=True)
starts = open(path).read().count("started")
if does == "killed_once" and starts == 1 or does == "always_killed":
    os.kill(os.getpid(), signal.SIGKILL)
if does == "task_killed_once" and starts == 1:
    os.kill(os.getppid(), signal.SIGKILL)
    sys.stdin.read()  # until whoever started it has ended
if does == "fails":
    sys.exit("qmix-jax: error: reason")
if does == "saves":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address():
    """A Ray with two processors, whose processes find the program."""
    folder = tempfile.mkdtemp(prefix="ray")  # pytest's own are too long for Ray's sockets
    Path(folder, f"{MODULE}.py").write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), folder]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",  # else whoever reaches the port could run programs here
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    words = ["--head", "--block", "--num-cpus=2", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words]
    # Ended by its id: `ray stop` would end every other Ray of the machine too.
    ray = subprocess.Popen(command, env=environ, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            patch.setenv(name, environ[name])
        wait_until(ray, partial(listens, port))
        yield f"127.0.0.1:{port}"
    os.killpg(ray.pid, signal.SIGKILL)
    ray.wait()
    shutil.rmtree(folder, ignore_errors=True)


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "configs").mkdir()
    return tmp_path


def jobs(path, *names):
    return [Job(name, [str(path)], name) for name in names]


def train(address, path, *names, stop_signal=lambda: None):
    assert connect(address) == Slots(2, 0)
    with RayLauncher(path, MODULE, 0) as launcher:
        outcomes = {outcome.job.name: outcome[1:] for outcome in launcher.train(jobs(path, *names), stop_signal)}
    return outcomes, {name: (path / name).read_text().count("started") for name in names if (path / name).exists()}


def test_a_killed_job_is_started_again_and_a_failed_one_is_not(address, folder):
    outcomes, starts = train(address, folder, "ends", "killed_once", "task_killed_once", "always_killed", "fails")
    assert outcomes == {
        "ends": (0, ""),
        "killed_once": (0, ""),
        "task_killed_once": (0, ""),
        "always_killed": (1, ": error: ended by SIGKILL, 4 times"),
        "fails": (1, "qmix-jax: error: reason"),
    }
    assert starts == {"ends": 1, "killed_once": 2, "task_killed_once": 2, "always_killed": 4, "fails": 1}


def test_a_stop_reaches_running_jobs_and_starts_no_others(address, folder):
    begun = folder / "saves"
    outcomes, starts = train(address, folder, "saves", stop_signal=lambda: signal.SIGINT if begun.exists() else None)
    assert (outcomes, starts) == ({"saves": (143, "")}, {"saves": 1})
    assert not (folder / "stop").exists()


def test_a_folder_that_a_node_does_not_see_is_refused(address, tmp_path):
    outcomes, _ = train(address, tmp_path, "ends")
    status, message = outcomes["ends"]
    assert status == 2
    assert f"{tmp_path}: must be in a folder that all nodes see, but " in message


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--ray_address auto", "--ray_address auto: must come with --launcher ray"),
        ("--launcher slurm", "--launcher slurm: must be one of local, ray"),
        ("--launcher ray --workers 2", "--workers 2: cannot be given with --launcher ray"),
        ("--launcher ray --ray_address 127.0.0.1:1", "--ray_address 127.0.0.1:1: cannot be reached: "),
        ("--launcher ray --ray_address here", "--ray_address here: cannot be reached: "),
    ],
)
def test_what_cannot_be_launched_is_refused_in_one_line(tmp_path, monkeypatch, capsys, flags, line):
    monkeypatch.chdir(tmp_path)
    assert sweep.main(flags.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert line in err
    assert not list(tmp_path.iterdir())


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert sweep.main(["--launcher", "ray"]) == 2
    assert "--launcher ray: needs ray: install the extra 'ray'" in capsys.readouterr().err


TINY = (
    "--grid lr=1e-3,5e-4 --num_envs 8 --total_steps 2880 --max_steps_per_ep 20 --min_buffer_size 100 --batch_size 8 "
    "--hidden_sizes 16 --mixing_size 8 --hypernet_size 8 --eval_interval 80 --eval_episodes 4 --save_interval 8 "
    "--buffer_capacity 2000"
).split()
FOLDERS = ("lr=0.001/seed_0", "lr=0.0005/seed_0")


@pytest.mark.slow  # the same with programs of a few lines is quick
def test_runs_whose_process_is_killed_are_those_of_the_local_launcher(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sweep.main([*TINY, "--results_dir", "local", "--workers", "2"]) == 0
    command = [sys.executable, "-m", "qmix_jax.sweep", *TINY, "--results_dir", "ray"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--launcher", "ray", "--ray_address", address], env=environ)
    path, killed = tmp_path / "ray" / "sweep_1", set()
    while process.poll() is None:
        time.sleep(0.01)
        for folder in set(FOLDERS) - killed:
            with suppress(OSError, ValueError):
                if (path / folder / "evaluation_log.csv").read_text().count("\n") > 3:
                    os.kill(json.loads((path / folder / "lock").read_text())["pid"], signal.SIGKILL)
                    killed.add(folder)
    assert process.returncode == 0
    assert killed
    for folder in FOLDERS:
        assert_same_run(path / folder, tmp_path / "local" / "sweep_1" / folder)
    assert (path / "sweep.md").exists()
