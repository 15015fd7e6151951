"""What a run says at its end, and what a program says that is stopped before it has anything to save."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from qmix_jax.command import run_command
from qmix_jax.conclusion import conclusion_lines
from qmix_jax.flags import FlagParser
from qmix_jax.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
FINAL = SimpleNamespace(mean_return=1.9, optimality=0.8, solved=0.5)


def run_with(folder, rows):
    directory = RunDirectory(folder)
    lines = ["env_steps,episode,mean_return,optimality,solved,mean_length,foods_collected"]
    lines += [f"{steps},0,{returned},{optimality},0,0,0" for steps, returned, optimality in rows]
    directory.evaluation_log.write_text("\n".join(lines) + "\n")
    return directory


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(100, 2.0, 0.84), (200, 1.9, 0.8)], []),
        (
            [(100, 2.1, 0.9), (200, 1.9, 0.8)],
            ["its best was optimality 0.900 at 100 environment steps: models/best_model, --checkpoint best"],
        ),
        (
            [(100, -1.0, ""), (200, -2.0, "")],
            ["its best was mean_return -1.000 at 100 environment steps: models/best_model, --checkpoint best"],
        ),
    ],
)
def test_a_clearly_better_policy_on_the_way_is_named(tmp_path, rows, told):
    lines = conclusion_lines(FINAL, run_with(tmp_path, rows))
    assert lines == ["final policy: return 1.900 (80.0% of the best possible), solved 50%", *told]


def test_ctrl_c_is_one_line(capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    assert run_command(FlagParser("", [], prog="report"), [], interrupted) == 130
    assert capsys.readouterr().err == "report: stopped\n"


def test_a_python_without_the_dependencies_is_told_where_they_are():
    found = subprocess.run([sys.executable, "-S", "train.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("train.py: error: this Python has no jax; `make install` puts it into .venv")
    assert found.stderr.count("\n") == 1
