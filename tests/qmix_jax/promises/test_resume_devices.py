"""A run that goes on with other devices than it began with: the same state, from which it goes its own way."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import quick_compilation, small_config
from probes import Corridor

from qmix_jax.errors import ConfigError, StoppedError
from qmix_jax.runs import runner
from qmix_jax.runs.resume import resumed_config
from qmix_jax.storage.arrays import named_arrays
from qmix_jax.storage.checkpoint import checkpoints
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import read_config

ROOT = Path(__file__).parents[3]
LOGS = ("training_log.csv", "evaluation_log.csv", "diagnostics_log.csv", "timing.csv")
CONFIG = small_config(
    num_devices=2,
    num_envs=8,
    total_steps=480,
    eval_interval=160,
    eval_episodes=4,
    save_interval=1000,
    buffer_capacity=320,
    min_buffer_size=40,
    batch_size=8,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run on two devices that was stopped after the first of its three chunks."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch, quick_compilation():
        for name in ("choose_environment", "same_environment"):
            patch.setattr(runner, name, lambda *_: Corridor(max_steps=4))
        with pytest.raises(StoppedError, match="stopped at 160 of 480 environment steps"):
            runner.run(CONFIG, lambda: signal.SIGTERM, folder)
    return folder


@pytest.mark.parametrize("num_devices", [1, 4])
def test_a_run_goes_on_with_other_devices(stopped, tmp_path, monkeypatch, capsys, num_devices):
    run, taken_up = tmp_path / "run", []
    shutil.copytree(stopped, run)
    restore = runner.restore_state

    def restore_and_look(*arguments):
        state = restore(*arguments)
        taken_up.append((named_arrays(state), state.episodes.length.addressable_shards))
        return state

    for name in ("choose_environment", "same_environment"):
        monkeypatch.setattr(runner, name, lambda *_: Corridor(max_steps=4))
    monkeypatch.setattr(runner, "restore_state", restore_and_look)
    with np.load(checkpoints(run / "models")[0] / "resume.npz") as file:
        saved = dict(file)
    before = {name: (run / name).read_bytes() for name in LOGS}
    with quick_compilation():
        runner.resume_run(run, {"num_devices": num_devices})

    (arrays, shards), *_ = taken_up
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, saved[f"state/{name}"])
    assert [shard.data.shape for shard in shards] == [(8 // num_devices,)] * num_devices
    assert f"notice: --num_devices {num_devices}, not 2: " in capsys.readouterr().out
    for name in LOGS:
        rows = (run / name).read_bytes()
        assert rows.startswith(before[name])
        assert len(rows) > len(before[name])
    with np.load(checkpoints(run / "models")[0] / "resume.npz") as file:
        assert file["state/vector_step"] == 60
        assert file["state/learner/updates"] == CONFIG.total_updates == 110
    assert read_config(RunDirectory(run).hparams).num_devices == num_devices


def test_devices_that_cannot_share_the_run_are_refused(stopped):
    with pytest.raises(ConfigError, match="--num_envs 8: must be a multiple of --num_devices 3"):
        resumed_config(RunDirectory(stopped), {"num_devices": 3})


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [4, 8])
def test_many_devices_leave_the_same_bytes_twice(tmp_path, num_devices):
    flags = (
        f"--num_devices {num_devices} --num_envs 16 --total_episodes 32 --max_steps_per_ep 20 --min_buffer_size 100 "
        "--batch_size 16 --hidden_sizes 8 --mixing_size 8 --hypernet_size 8 "
        "--eval_interval 160 --eval_episodes 8 --buffer_capacity 800"
    )
    environ = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    for _ in range(2):
        command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *flags.split()]
        subprocess.run(command, cwd=tmp_path, env=environ, check=True)
    first, second = tmp_path / "results" / "run_1", tmp_path / "results" / "run_2"
    for name in LOGS[:3]:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "training_log.csv").read_text().count("\n") > 32
