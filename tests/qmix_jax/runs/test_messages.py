"""What a run says at its end, and what a program says that is stopped before it has anything to save."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.learning.faults import init_faults
from qmix_jax.runs.messages import conclusion_lines, too_many_skipped
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.types import Evaluation, Progression

BEST = "its best was return {} at 100 environment steps: models/best_model, --checkpoint best"
WORTHLESS = "warning: no evaluation was better than random actions, whose return is -29.900"
ROOT = Path(__file__).parents[3]
NAN = float("nan")
FINAL = Evaluation(1.9, 2.375, 2.375, 0.8, 0.5, 7.0, {})


def progression(updates=900, skipped=0):
    return Progression({}, updates, init_faults().replace(skipped=skipped))


def run_with(folder, rows):
    directory = RunDirectory(folder)
    lines = ["env_steps,episode,mean_return,optimality,solved,mean_length,foods_collected"]
    lines += [f"{steps},0,{returned},{optimality},0,0,0" for steps, returned, optimality in rows]
    directory.evaluation_log.write_text("\n".join(lines) + "\n")
    return directory


@pytest.mark.parametrize(
    ("random_return", "rows", "told"),
    [
        (-0.5, [(100, 2.0, 0.84), (200, 1.9, 0.8)], []),
        (-0.5, [(100, 2.0, 0.84), (200, "", "")], [BEST.format("2.000")]),
        (-0.5, [(100, 2.1, 0.9), (200, 1.9, 0.8)], [BEST.format("2.100")]),
        (-5.0, [(100, -1.0, ""), (200, -2.0, "")], [BEST.format("-1.000")]),
        (-20.0, [(100, -3.0, 0.1), (200, -27.1, 3.0)], [BEST.format("-3.000")]),
        (-29.9, [(100, -29.9, ""), (200, -30.0, "")], [WORTHLESS]),
        (-30.0, [(100, -29.0, ""), (200, -29.04, "")], []),  # it lacks 4 % of what it has gained on random actions
        (-30.0, [(100, -29.0, ""), (200, -29.06, "")], [BEST.format("-29.000")]),
        (NAN, [(100, 2.0, ""), (200, 1.99, "")], [BEST.format("2.000")]),
        (
            NAN,
            [(100, "", ""), (200, "", "")],
            ["warning: no evaluation has a finite return: the environment's rewards are not finite"],
        ),
    ],
)
def test_a_clearly_better_policy_on_the_way_is_named(tmp_path, random_return, rows, told):
    lines = conclusion_lines(FINAL, run_with(tmp_path, rows), random_return, progression())
    assert lines == ["final policy: return 1.900 (80.0% of the best possible), success rate 50%", *told]


@pytest.mark.parametrize(
    ("best_return", "told"),
    [(-1.5, " (regret 0.500, best possible -1.500)"), (0.0, " (regret 2.000, best possible 0.000)"), (NAN, "")],
)
def test_where_no_share_of_the_best_return_makes_sense_the_distance_to_it_is_said(tmp_path, best_return, told):
    final = FINAL._replace(mean_return=-2.0, best_return=best_return, optimality=NAN)
    (line,) = conclusion_lines(final, run_with(tmp_path, [(100, -2.0, "")]), -3.0, progression())
    assert line == f"final policy: return -2.000{told}, success rate 50%"


def test_an_environment_without_success_has_no_success_rate(tmp_path):
    final = FINAL._replace(solved=np.float32(NAN))
    (line,) = conclusion_lines(final, run_with(tmp_path, [(100, 1.9, 0.8)]), 0.0, progression())
    assert line == "final policy: return 1.900 (80.0% of the best possible)"


def test_skipped_updates_are_said_and_more_than_a_tenth_are_too_many(tmp_path):
    run = run_with(tmp_path, [(100, 1.9, 0.8)])
    _, line = conclusion_lines(FINAL, run, 0.0, progression(skipped=90))
    assert line.startswith("warning: 90 of 900 updates skipped: their loss or gradient was not finite. ")
    assert too_many_skipped(progression(skipped=90)) is None
    assert too_many_skipped(progression(updates=0)) is None
    assert too_many_skipped(progression(skipped=91)).startswith("91 of 900 updates skipped, more than 10%: ")


def test_ctrl_c_is_one_line(capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    assert run_command(FlagParser("report", ""), [], interrupted) == 130
    assert capsys.readouterr().err == "report: stopped\n"


def test_a_python_without_the_dependencies_is_told_where_they_are():
    found = subprocess.run([sys.executable, "-S", "train.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("train.py: error: this Python has no jax; `make install` puts it into .venv")
    assert found.stderr.count("\n") == 1
