"""Sweeps on an environment of the user's own, whose processes import it too; comparisons are the same engine."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from own_module import NAME, TINY, write_module

from qmix_jax.storage.hparams import read_config

ROOT = Path(__file__).parents[3]
ENV = f"{NAME}:Agree"


def qmix_jax(folder, command, *words):
    """Run a command as its users do, in another folder than the package's; return status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"qmix_jax.{command}", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path):
    write_module(tmp_path)
    return tmp_path


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_over_its_arguments(folder):
    words = ["--env", ENV, "--grid", "env_args.actions=3,4", "--workers", "2", "--algorithm", "vdn", *TINY]
    status, _, err = qmix_jax(folder, "sweep", *words)
    assert status == 0, err
    sweep = folder / "results" / "sweep_1"
    for actions in ("3", "4"):
        config = read_config(sweep / f"env_args.actions={actions}" / "seed_0" / "configs" / "hparams.json")
        assert (config.env, config.env_args) == (ENV, (f"actions={actions}",))
    assert {row["settings"] for row in rows(sweep / "summary.csv")} == {"env_args.actions=3", "env_args.actions=4"}
    assert f"--env {ENV}" in (sweep / "sweep.md").read_text()
    assert "on Agree (" in (sweep / "sweep.md").read_text()
    (sweep / "sweep.md").unlink()
    status, _, err = qmix_jax(folder, "sweep", "--resume", "results/sweep_1")
    assert (status, err.count("\n")) == (2, 1)
    assert f"error: --env {ENV}: must be given again" in err
    assert qmix_jax(folder, "sweep", "--resume", "results/sweep_1", "--env", ENV)[0] == 0
    assert (sweep / "sweep.md").exists()
