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
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

import pytest
from resumed import assert_same_run

from qmix_jax import sweep
from qmix_jax.experiments.launcher import Job
from qmix_jax.experiments.ray_launcher import RayLauncher, Slots, connected

ROOT = Path(__file__).parents[3]
MODULE = "job_of_ray"
# Notes each start in the experiment's folder, then does what its text says.
PROGRAM = """
import os, signal, sys
folder, does = sys.argv[1], sys.stdin.readline().strip()
path = os.path.join(folder, does)
print("started", os.getpid(), file=open(path, "a"), flush=True)
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
if does in ("saves", "hangs"):
    sys.stdin.read()
"""

# A worker whose runs wait at 480 of 2,880 steps, when they get there first.
WORKER = """
import sys, time
from qmix_jax.experiments import worker
from qmix_jax.runs.recorder import Recorder

record = Recorder.record

def record_and_wait(self, chunk):
    record(self, chunk)
    waiting = self._directory.path / "waiting"
    if chunk.env_steps >= 480 and not waiting.exists():
        waiting.touch()
        sweep = self._directory.path.parents[1]
        while not (sweep / "stop").exists() and not (sweep / "waited").exists():
            time.sleep(0.1)

Recorder.record = record_and_wait
sys.exit(worker.main())
"""


@pytest.fixture(scope="module")
def programs():
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # pytest's own are too long for Ray's sockets
    (folder / f"{MODULE}.py").write_text(PROGRAM)
    (folder / "patient.py").write_text(WORKER)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def environ(programs):
    """The variables of processes that find the programs and may connect: else whoever reaches the port could."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in token.items():
            patch.setenv(name, value)
        yield {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(programs)])}


@contextmanager
def node(environ, *words):
    """A node of Ray. Ended by its id, as if its machine were lost: `ray stop` would end every other Ray here too."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
    process = subprocess.Popen(command, env=environ, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def head(programs, environ, processors):
    """The address of a new Ray."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--head", f"--port={port}", f"--temp-dir={programs}", "--include-dashboard=false"]
    with node(environ, *words, f"--num-cpus={processors}") as process:
        wait_for(partial(listens, port), process)
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def address(programs, environ):
    with head(programs, environ, 2) as found:
        yield found


def wait_for(condition, process=None):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


def has_gone(number):
    return not Path(f"/proc/{number}").exists()


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "configs").mkdir()
    return tmp_path


def jobs(path, *names):
    return [Job(name, [str(path)], name) for name in names]


@pytest.fixture
def connection(address):
    with connected(address) as slots:
        assert slots == Slots(2, 0)
        yield


def train(path, *names, stop_signal=lambda: None):
    with RayLauncher(path, MODULE, 0) as launcher:
        outcomes = {outcome.job.name: outcome[1:] for outcome in launcher.train(jobs(path, *names), stop_signal)}
    return outcomes, {name: (path / name).read_text().count("started") for name in names if (path / name).exists()}


@pytest.mark.usefixtures("connection")
def test_a_killed_job_is_started_again_and_a_failed_one_is_not(folder):
    outcomes, starts = train(folder, "ends", "killed_once", "task_killed_once", "always_killed", "fails")
    assert outcomes == {
        "ends": (0, ""),
        "killed_once": (0, ""),
        "task_killed_once": (0, ""),
        "always_killed": (1, ": error: ended by SIGKILL, 4 times"),
        "fails": (1, "qmix-jax: error: reason"),
    }
    assert starts == {"ends": 1, "killed_once": 2, "task_killed_once": 2, "always_killed": 4, "fails": 1}


@pytest.mark.usefixtures("connection")
def test_a_stop_reaches_running_jobs_and_a_launcher_ends_those_it_leaves(folder):
    begun = folder / "saves"
    outcomes, starts = train(folder, "saves", stop_signal=lambda: signal.SIGINT if begun.exists() else None)
    assert (outcomes, starts) == ({"saves": (143, "")}, {"saves": 1})
    assert not (folder / "stop").exists()
    with RayLauncher(folder, MODULE, 0) as launcher:  # another one in this connection, as for each rung of a search
        outcomes = launcher.train(jobs(folder, "ends", "hangs"), lambda: None)
        assert next(outcomes).job.name == "ends"
        wait_for((folder / "hangs").exists)
        number = int((folder / "hangs").read_text().split()[1])
    wait_for(lambda: has_gone(number))


@pytest.mark.usefixtures("connection")
def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path):
    outcomes, _ = train(tmp_path, "ends")
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
    "--num_envs 8 --total_steps 2880 --max_steps_per_ep 20 --min_buffer_size 100 --batch_size 8 --hidden_sizes 16 "
    "--hypernet_size 8 --eval_interval 80 --eval_episodes 4 --save_interval 8 --buffer_capacity 2000 --report false"
).split()
# Every run has a program of its own, so that groups do not depend on the number of cores.
GRID = ["--grid", "mixing_size=8,4", *TINY]
SEARCH = ["--optuna", "2", "--ranges", "mixing_size=2:40", *TINY]
PATIENT = "import sys; from qmix_jax import sweep; from qmix_jax.experiments import start; start._WORKER = 'patient'; "


@pytest.fixture(scope="module")
def local(environ, tmp_path_factory):
    """The folders of a sweep and of a search as the local launcher trains them."""
    folder = tmp_path_factory.mktemp("local")
    for flags in (GRID, SEARCH):
        subprocess.run([sys.executable, "-m", "qmix_jax.sweep", *flags], env=environ, cwd=folder, check=True)
    return [folder / "results" / "sweep_1", folder / "results" / "sweep_2"]


@pytest.fixture
def patient(environ, tmp_path):
    """Starts sweeps on Ray whose runs wait, each a process with a group of its own; returns it and its folder."""
    command = [sys.executable, "-c", f"{PATIENT}sys.exit(sweep.main())", "--launcher", "ray"]
    started = []

    def start(*flags):
        started.append(subprocess.Popen([*command, *flags], env=environ, cwd=tmp_path, start_new_session=True))
        return started[-1], tmp_path / "results" / "sweep_1"

    yield start
    for process in started:
        process.kill()


def waiting(path):
    """Process numbers of the runs that have come to wait, by their folders."""
    runs = (waits.parent for waits in path.glob("*/seed_0/waiting"))
    return {run: json.loads((run / "lock").read_text())["pid"] for run in runs}


def assert_same_sweep(path, expected):
    names = sorted(run.relative_to(expected) for run in expected.glob("*/seed_0"))
    assert sorted(run.relative_to(path) for run in path.glob("*/seed_0")) == names
    for name in names:
        assert_same_run(path / name, expected / name)


@pytest.mark.slow  # the same with programs of a few lines is quick
def test_a_search_whose_run_is_killed_is_that_of_the_local_launcher(address, local, patient):
    process, path = patient(*SEARCH, "--ray_address", address)
    wait_for(partial(waiting, path), process)
    (number,) = waiting(path).values()  # in the second rung
    os.kill(number, signal.SIGKILL)
    assert process.wait() == 0
    assert_same_sweep(path, local[1])


@pytest.mark.slow
def test_runs_stopped_by_ctrl_c_are_resumed_exactly(local, patient):
    process, path = patient(*GRID)
    wait_for(partial(waiting, path), process)
    numbers = waiting(path).values()
    os.killpg(process.pid, signal.SIGINT)  # a terminal's reaches all processes, those of Ray too
    assert process.wait() == 128 + signal.SIGINT
    assert all(map(has_gone, numbers))
    assert not list(path.glob("*/seed_0/models/final_model"))
    (path / "waited").touch()
    assert patient("--resume", str(path))[0].wait() == 0
    assert_same_sweep(path, local[0])


@pytest.mark.slow
def test_the_run_of_a_lost_node_goes_on_at_another(programs, environ, local, patient):
    with head(programs, environ, 1) as address:
        with node(environ, "--address", address, "--num-cpus=1"):
            process, path = patient(*GRID, "--ray_address", address)
            wait_for(lambda: len(waiting(path)) == 2, process)
            numbers = waiting(path).values()
        wait_for(lambda: any(map(has_gone, numbers)), process)
        (path / "waited").touch()
        assert process.wait() == 0
    assert_same_sweep(path, local[0])
