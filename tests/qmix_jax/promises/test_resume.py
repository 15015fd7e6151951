"""A run that was stopped, killed or damaged, and goes on: as if nothing had happened."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import quick_compilation, small_config
from probes import Corridor
from resumed import EXACT, assert_same_run, saved_state, wait_until

from qmix_jax.errors import ConfigError, StoppedError
from qmix_jax.runs import runner
from qmix_jax.runs.resume import resumed_config, saved_template
from qmix_jax.storage.checkpoint import checkpoints
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import SUMS
from qmix_jax.storage.resume_point import find_resume_point
from qmix_jax.training.environments import make_environment
from qmix_jax.training.trainer import make_trainer

ROOT = Path(__file__).parents[3]
FLAGS = (
    "--num_envs 8 --total_episodes 64 --max_steps_per_ep 20 --min_buffer_size 100 --batch_size 8 --hidden_sizes 16 "
    "--mixing_size 8 --hypernet_size 8 --eval_interval 80 --eval_episodes 4 --save_interval 8 --buffer_capacity 4000"
).split()
KILLS = [10, pytest.param(20, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


def start(folder, *arguments, kibibytes="unlimited", environment=()):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    limited = ["bash", "-c", f'ulimit -f {kibibytes}; exec "$@"', "bash"]
    command = [*limited, sys.executable, "-W", "error", str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **dict(environment)}, **pipes)


def train(folder, *arguments, status=0, **options):
    """Return stdout and stderr of a run that ends with `status`."""
    process = start(folder, *arguments, **options)
    out, err = process.communicate()
    assert process.returncode == status, err
    return out, err


@pytest.fixture(scope="module")
def whole(folder):
    """A run that nothing interrupted."""
    train(folder, *FLAGS, "--results_dir", "whole")
    return folder / "whole" / "run_1"


def test_a_whole_run_keeps_the_newest_states_and_all_parameters(whole):
    found = checkpoints(whole / "models")
    assert len(found) == 9
    assert [path.name for path in found][-1] == "checkpoint_ep0"
    assert [(path / "resume.npz").exists() for path in found] == [True] * 3 + [False] * 6
    assert not (whole / "lock").exists()


@pytest.mark.parametrize("kills", KILLS)
def test_kills_at_any_moment_change_nothing(folder, whole, kills):
    run = folder / f"killed_{kills}" / "run_1"
    kill_often(folder, FLAGS, run, kills)
    assert_same_run(run, whole)


def kill_often(folder, flags, run, kills):
    """Train to the end, killed in between, half of the times while a checkpoint is being written."""
    generator = random.Random(0)
    process = start(folder, *flags, "--results_dir", run.parent.name)
    wait_until(process, (run / "configs" / "hparams.json").exists)  # from here on it can be resumed
    for number in range(kills):
        if number % 2:
            time.sleep(generator.uniform(0.0, 6.0))
        else:
            known = set((run / "models").glob("*.writing*"))
            wait_until(process, lambda known=known: set((run / "models").glob("*.writing*")) - known)
            time.sleep(generator.uniform(0.0, 0.05))
        process.kill()
        process.communicate()
        if process.returncode == 0:  # it was through: take it back to an earlier checkpoint
            for path in checkpoints(run / "models")[:2]:
                shutil.rmtree(path)
        process = start(folder, "--resume", str(run))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "cannot be used" not in out


def has_rows(log):
    return log.exists() and log.read_text().count("\n") > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_well(folder, whole, number):
    run = folder / number.name / "run_1"
    process = start(folder, *FLAGS, "--results_dir", number.name)
    wait_until(process, lambda: has_rows(run / "timing.csv"))
    process.send_signal(signal.SIGSTOP)  # so that it does not end meanwhile
    out, err = train(folder, "--resume", str(run), status=2)
    assert f"must not be in use, but process {process.pid} on host " in err
    assert out == ""
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert f"{number.name}: saving after the current chunk; repeat to exit immediately" in err
    stopped, continued = err.splitlines()[-1].split("; to continue: ")
    steps = int(re.fullmatch(r"stopped at (\d+) of 1280 environment steps", stopped)[1])
    assert steps in range(80, 1280, 80)
    assert continued == f"python {ROOT / 'train.py'} --resume {number.name}/run_1"
    assert not (run / "lock").exists()
    assert (run / "training_plots.png").exists()
    out, _ = train(folder, "--resume", f"{number.name}/run_1")
    assert f": {steps} of 1280 environment steps are done" in out
    assert_same_run(run, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_during_compilation_ends_a_run_at_once(folder, whole, number):
    run = folder / f"compiling_{number.name}" / "run_1"
    process = start(folder, *FLAGS, "--results_dir", run.parent.name, environment={"JAX_ENABLE_COMPILATION_CACHE": "0"})
    said = list(iter(process.stdout.readline, "compiling\n"))
    assert said[0] == f"writing to {run.parent.name}/run_1\n"
    assert said[1].startswith("QMIX on GridWorld25v0")
    time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate()
    assert time.monotonic() - sent < 2
    assert process.returncode == 128 + number
    assert (out, err) == (
        "",
        f"stopped at 0 of 1280 environment steps; to continue: python {ROOT / 'train.py'} "
        f"--resume {run.parent.name}/run_1\n",
    )
    assert {path.name for path in run.iterdir()} == {"configs", "models", *(log.name for log in RunDirectory(run).logs)}
    assert list((run / "models").iterdir()) == []
    out, _ = train(folder, "--resume", str(run))
    assert "resuming" not in out  # from the start
    assert_same_run(run, whole)


def test_a_second_signal_leaves_at_once_and_spoils_nothing(folder, whole):
    run = folder / "twice" / "run_1"
    process = start(folder, *FLAGS, "--results_dir", "twice")
    wait_until(process, lambda: has_rows(run / "timing.csv"))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert time.monotonic() - sent < 2
    train(folder, "--resume", str(run))
    assert_same_run(run, whole)


def copy_of(whole, folder, name):
    return Path(shutil.copytree(whole, folder / name / "run_1"))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("file", ["resume.npz", "resume.json", SUMS, "manifest.ocdbt"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(folder, whole, damage, file):
    run = copy_of(whole, folder, f"{damage.__name__}_{file}")
    damage(run / "models" / "checkpoint_ep64" / file)
    if (damage, file) != (cut, "resume.npz"):  # one of them goes on to the end
        point = find(run)
        assert point.checkpoint.name == "checkpoint_ep56"
        (line,) = point.skipped
        assert line.startswith("checkpoint_ep64 cannot be used: ")
        return
    out, _ = train(folder, "--resume", str(run))
    assert "notice: checkpoint_ep64 cannot be used: 'resume.npz' does not match its checksum" in out
    assert "resuming checkpoint_ep56: 1120 of 1280 environment steps are done" in out
    assert (run / "models" / "checkpoint_ep64.damaged").exists()
    assert_same_run(run, whole)


def find(run):
    directory = RunDirectory(run)
    config = resumed_config(directory, {})
    return find_resume_point(directory, saved_template(make_trainer(config, make_environment(config))))


def test_a_larger_budget_goes_on_from_where_the_schedules_stand(folder, whole):
    run = copy_of(whole, folder, "larger")
    out, _ = train(folder, "--resume", str(run), "--total_episodes", "96", "--eval_interval", "160")
    assert "notice: 455 updates instead of 295: the learning rate decay continues from its current value" in out
    hparams = json.loads((run / "configs" / "hparams.json").read_text())
    assert (hparams["total_episodes"], hparams["eval_interval"]) == (96, 160)
    assert hparams["epsilon_decay_steps"] == 1280  # as it fell before
    for name in EXACT[:1]:
        assert (run / name).read_bytes().startswith((whole / name).read_bytes())
    assert (run / "training_log.csv").read_text().count("\n") == 97
    _, state = saved_state(run)
    schedule = {name: state[f"state/learner/schedule/{name}"] for name in ("start", "left", "end")}
    assert schedule == {"start": 295, "left": 0.0, "end": 455}
    assert state["state/learner/updates"] == 455


def test_without_replay_a_run_refills_it_and_says_so(folder):
    out, _ = train(folder, *FLAGS, "--results_dir", "light", "--checkpoint_replay", "false")
    assert "notice: --checkpoint_replay false: a resumed run refills its replay" in out
    run = folder / "light" / "run_1"
    shutil.rmtree(run / "models" / "checkpoint_ep64")
    _, state = saved_state(run)
    assert not any(name.startswith("state/replay/") for name in state)
    before = int(state["state/learner/updates"])
    out, _ = train(folder, "--resume", str(run))
    assert "notice: it has no replay, so the next 100 environment steps refill it without updates" in out
    _, state = saved_state(run)
    assert state["state/replay_start"] == 140  # vector steps
    assert state["state/learner/updates"] == before + 16  # of 40: 12 of 20 vector steps were for the replay


ON_POLICY = small_config(
    replay="none",
    target="q_lambda",
    sequence_length=8,
    agent="gru",
    num_envs=8,
    batch_size=4,
    total_steps=480,
    eval_interval=160,
    eval_episodes=4,
    save_interval=1000,
)


def test_a_rollout_that_was_cut_by_a_stop_is_learned_from_as_a_whole(folder, monkeypatch):
    """Without replay, a checkpoint holds the rollout so far and the hidden states that it began with."""
    for name in ("choose_environment", "same_environment"):
        monkeypatch.setattr(runner, name, lambda *_: Corridor(max_steps=4))
    with quick_compilation():
        runner.run(ON_POLICY, run_directory=folder / "on_policy_whole")
        with pytest.raises(StoppedError, match="stopped at 160 of 480 environment steps"):  # after 20 steps each
            runner.run(ON_POLICY, lambda: signal.SIGTERM, folder / "on_policy")
        runner.resume_run(folder / "on_policy", {})
    _, state = saved_state(folder / "on_policy")
    assert state["state/learner/updates"] == ON_POLICY.total_updates == 7 * 4 * 2
    assert not any("target_params" in name for name in state)
    _, expected = saved_state(folder / "on_policy_whole")
    assert {name: array.tobytes() for name, array in state.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    for log in EXACT:
        assert (folder / "on_policy" / log).read_bytes() == (folder / "on_policy_whole" / log).read_bytes()


@pytest.mark.slow
def test_kills_without_replay_change_nothing(folder):
    flags = [*FLAGS, "--replay", "none", "--target", "q_lambda", "--sequence_length", "8"]
    for name in ("min_buffer_size", "buffer_capacity"):
        at = flags.index(f"--{name}")
        del flags[at : at + 2]
    train(folder, *flags, "--results_dir", "none_whole")
    whole, run = folder / "none_whole" / "run_1", folder / "none_killed" / "run_1"
    kill_often(folder, flags, run, kills=6)
    assert_same_run(run, whole)


@pytest.mark.parametrize("kibibytes", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_run_in_one_line(folder, whole, kibibytes):
    """Files larger than the limit cannot be written, a stand-in for a disk that is full."""
    run = copy_of(whole, folder, f"full_{kibibytes}")
    shutil.rmtree(run / "models" / "checkpoint_ep64")
    before = saved_state(run)[0]
    out, err = train(folder, "--resume", str(run), status=4, kibibytes=kibibytes)
    assert err.splitlines()[-1].startswith("train.py: error: cannot write ")
    assert "Traceback" not in err
    assert out.splitlines()[-1] == f"run directory: {run}"
    assert saved_state(run)[0] == before
    assert find(run).skipped == []
    train(folder, "--resume", str(run))
    assert_same_run(run, whole)


def test_a_file_where_a_folder_belongs(folder, whole):
    run = copy_of(whole, folder, "file")
    shutil.rmtree(run / "models")
    (run / "models").write_text("in the way")
    with pytest.raises(ConfigError, match="must have an intact checkpoint"):
        find(run)
