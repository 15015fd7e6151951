"""A whole run: once for real, from the command line, and the host's loop alone around programs that compute nothing."""

import csv
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import qmix_jax
from qmix_jax.analysis.run_record import has_diverged, has_ended
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DivergedError
from qmix_jax.learning.faults import init_faults
from qmix_jax.runs import loop, runner
from qmix_jax.runs.compilation import Programs
from qmix_jax.storage.checkpoint import load_params
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.training.evaluation import BaselineReturns, share_of_best
from qmix_jax.types import EpisodeLog, EpisodeMetrics, Evaluation, Progression, UpdateMetrics

ROOT = Path(__file__).parents[3]
FLAGS = (
    "--num_envs 8 --total_episodes 16 --max_steps_per_ep 20 --min_buffer_size 100 --batch_size 8 --hidden_sizes 16 "
    "--mixing_size 8 --hypernet_size 8 --eval_interval 80 --eval_episodes 4 --save_interval 8 --results_dir results"
)
SETTINGS = Config(
    num_envs=8,
    total_episodes=16,
    max_steps_per_ep=20,
    min_buffer_size=100,
    batch_size=8,
    hidden_sizes=(16,),
    mixing_size=8,
    hypernet_size=8,
    eval_interval=80,
    eval_episodes=4,
    save_interval=8,
)


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train twice with the same flags, no warning ignored, no key used twice, compiled as users do.

    (working directory, both outcomes); the second run reads the programs that the first compiled.
    """
    folder = tmp_path_factory.mktemp("trained")
    strict = {
        "JAX_DEBUG_KEY_REUSE": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    }
    command = [sys.executable, "-W", "error", str(ROOT / "train.py"), *FLAGS.split()]
    environ = os.environ | strict
    outcomes = [
        subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False) for _ in range(2)
    ]
    return folder, outcomes


@pytest.fixture(scope="module")
def first(trained):
    """Directory of the first run."""
    return trained[0] / "results" / "run_1"


def test_it_says_what_trains_and_where_it_went(trained):
    for number, outcome in enumerate(trained[1], start=1):
        assert outcome.returncode == 0, outcome.stderr
        assert outcome.stderr == ""  # no terminal, no bar
        lines = outcome.stdout.splitlines()
        assert lines.pop(0) == f"writing to results/run_{number}"
        assert lines[0] == "QMIX on GridWorld25v0: 8 environments x 40 steps = 320 environment steps, 55 updates"
        assert lines[1].startswith("replay: 100000 transitions of ")
        assert lines[2].startswith("device: ")
        assert any(line.startswith("final policy: return ") for line in lines[3:-1])
        assert lines[-1] == f"run directory: results/run_{number}"


def test_the_run_directory_is_complete(first):
    assert sorted(path.name for path in first.iterdir()) == [
        "configs",
        "diagnostics_log.csv",
        "diagnostics_plots.png",
        "evaluation_log.csv",
        "models",
        "timing.csv",
        "training_log.csv",
        "training_plots.png",
    ]
    models = {path.name for path in (first / "models").iterdir()}
    assert models == {"best_model", "final_model", "checkpoint_ep0", "checkpoint_ep8", "checkpoint_ep16"}


def test_one_row_per_finished_episode(first):
    rows = read(first / "training_log.csv")
    assert [int(row["episode"]) for row in rows] == list(range(16))  # too short to be solved: all last 20 steps
    assert {row["episode_length"] for row in rows} == {"20"}
    assert all(row["loss"] and row["td_error"] and row["q_value"] for row in rows)


def test_evaluations_at_their_intervals_and_at_the_end(first):
    rows = read(first / "evaluation_log.csv")
    assert list(rows[0])[-1] == "foods_collected"
    assert [int(row["env_steps"]) for row in rows] == [80, 160, 240, 320]
    assert [int(row["episode"]) for row in rows] == [0, 8, 8, 16]


def test_diagnostics_of_every_chunk(first):
    rows = read(first / "diagnostics_log.csv")
    assert [int(row["env_steps"]) for row in rows] == [80, 160, 240, 320]
    assert [int(row["updates"]) for row in rows] == [0, 15, 35, 55]
    evaluated = read(first / "evaluation_log.csv")[-1]  # at 0.95, which is also --gamma's default
    best_return = float(evaluated["mean_return"]) / float(evaluated["optimality"])
    assert [float(row.pop("q_bound")) for row in rows] == pytest.approx([best_return] * 4, rel=1e-5)
    assert {row.pop("skipped") for row in rows} == {"0"}
    assert {row.pop("central_loss") for row in rows} == {""}  # no such network here
    assert set(list(rows[0].values())[2:]) == {""}  # no updates yet
    assert all(value for row in rows[1:] for value in row.values())
    assert all(0 <= float(row["clipped"]) <= 1 for row in rows[1:])


def test_timing_counts_steps_updates_and_episodes(first):
    rows = read(first / "timing.csv")
    assert [int(row["env_steps"]) for row in rows] == [80, 160, 240, 320]
    assert [int(row["updates"]) for row in rows] == [0, 15, 35, 55]
    assert [int(row["episodes"]) for row in rows] == [0, 8, 8, 16]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_hparams_hold_every_setting_and_where_it_ran(first):
    hparams = json.loads((first / "configs" / "hparams.json").read_text())
    for name, value in asdict(SETTINGS).items():
        assert hparams[name] == (list(value) if isinstance(value, tuple) else value)
    assert hparams["derived"]["vector_steps"] == 40
    assert hparams["derived"]["total_updates"] == 55
    assert hparams["derived"]["replay_capacity"] == 100_000
    assert hparams["derived"]["replay_bytes"] == 100_000 * hparams["derived"]["replay_bytes_per_transition"]
    assert hparams["versions"]["jax"] == jax.__version__
    assert {"python", "jaxlib", "flax", "optax", "flashbax", "orbax-checkpoint", "numpy"} <= hparams["versions"].keys()
    assert hparams["device"]["backend"] == jax.default_backend()


def test_the_same_flags_leave_the_same_bytes(trained):
    one, two = (trained[0] / "results" / f"run_{i}" for i in (1, 2))
    for name in ("training_log.csv", "evaluation_log.csv", "diagnostics_log.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    jax.tree.map(np.testing.assert_array_equal, load_params(one), load_params(two))


def test_the_final_model_is_the_last_checkpoint(first):
    jax.tree.map(np.testing.assert_array_equal, load_params(first), load_params(first, "checkpoint_ep16"))


@struct.dataclass
class IdleState:
    learner: np.ndarray
    vector_step: np.ndarray
    replay: None


class IdlePrograms:
    """Programs that only count: every chunk finishes one episode, and the only weight is the number of chunks."""

    def __init__(self, config, scores):
        self.config, self.scores = config, iter(scores)

    def compile(self, trainer, *keys):
        return Programs(self.init, self.train_chunk, self.evaluate, self.snapshot, None)

    def init(self):
        return IdleState(learner=np.int32(0), vector_step=np.int32(0), replay=None)

    def train_chunk(self, state):
        chunks = state.learner + 1
        numbers = np.full((self.config.chunk_length, self.config.num_envs), chunks, np.float32)
        finished = np.zeros(numbers.shape, bool)
        finished[0, 0] = True
        per_step = numbers[:, 0]
        updates = EpisodeMetrics(*[numbers] * len(EpisodeMetrics._fields))
        step_updates = UpdateMetrics(*[per_step] * len(UpdateMetrics._fields))
        log = EpisodeLog(finished, numbers, numbers, per_step, updates, numbers, step_updates, per_step)
        step = np.minimum(state.vector_step + self.config.chunk_length, self.config.vector_steps)
        return IdleState(learner=chunks, vector_step=step, replay=None), log

    def snapshot(self, learner):
        return Progression({"weight": np.float32([learner])}, np.int32(learner), init_faults())

    def evaluate(self, params):
        score = next(self.scores)
        if score is None:
            raise KeyboardInterrupt
        return Evaluation(*np.float32([score, 1, 2, score, 0, 1]), {"foods_collected": np.float32(0)})


@pytest.fixture
def run_idle(monkeypatch, tmp_path):
    """Run a loop of four chunks of ten vector steps, evaluated with the given scores."""

    def run(scores, **settings):
        config = replace(SETTINGS, results_dir=str(tmp_path), save_interval=3, **settings)
        monkeypatch.setattr(runner, "compile_programs", IdlePrograms(config, scores).compile)
        monkeypatch.setattr(runner, "play_baselines", lambda config, environment: BaselineReturns(0.0, -30.0))
        return qmix_jax.run(config)

    return run


def test_the_best_model_is_the_first_of_the_best_evaluations(run_idle):
    result = run_idle([0.1, 0.5, 0.5, 0.3])
    assert load_params(result.directory, "best_model")["weight"] == 2.0
    assert load_params(result.directory)["weight"] == 4.0
    assert result.params["weight"] == 4.0
    assert result.evaluation.optimality == np.float32(0.3)


def test_without_a_best_possible_return_the_mean_return_decides(run_idle, monkeypatch):
    blind = IdlePrograms.evaluate
    monkeypatch.setattr(IdlePrograms, "evaluate", lambda *a: blind(*a)._replace(optimality=np.float32(np.nan)))
    result = run_idle([-3.0, -1.0, -2.0, -4.0])
    assert load_params(result.directory, "best_model")["weight"] == 2.0
    assert [row["optimality"] for row in read(result.directory / "evaluation_log.csv")] == [""] * 4


def test_where_the_best_possible_return_is_negative_the_best_model_is_still_that_of_the_highest_return(
    run_idle, monkeypatch, capsys
):
    """The quotient of the worst policy is the largest: 3, where the best one's is 1."""
    blind = IdlePrograms.evaluate
    monkeypatch.setattr(IdlePrograms, "evaluate", lambda *a: with_costs(blind(*a)))
    result = run_idle([-27.1, -20.0, -9.05, -9.05])
    assert load_params(result.directory, "best_model")["weight"] == 3.0
    assert [row["optimality"] for row in read(result.directory / "evaluation_log.csv")] == [""] * 4
    *_, told, last = capsys.readouterr().out.splitlines()
    assert told == "final policy: return -9.050 (regret 0.000, best possible -9.050), success rate 0%"
    assert last.startswith("run directory: ")


def with_costs(evaluation):
    """The same with the best possible return of an environment whose every step costs."""
    best = jnp.float32(-9.05)
    return evaluation._replace(best_return=best, optimality=share_of_best(evaluation.mean_return, best))


@pytest.mark.parametrize(("skipped", "status"), [(4, None), (5, 3)])
def test_a_run_that_skipped_more_than_a_tenth_of_its_updates_is_whole_and_counts_as_diverged(
    run_idle, monkeypatch, tmp_path, capsys, skipped, status
):
    monkeypatch.setattr(
        IdlePrograms,
        "snapshot",
        lambda self, learner: Progression(
            {"weight": np.float32([learner])}, np.int32(10 * learner), init_faults().replace(skipped=np.int32(skipped))
        ),
    )
    with pytest.raises(DivergedError, match=f"{skipped} of 40 updates") if status else nullcontext() as error:
        run_idle([0.1, 0.2, 0.3, 0.4])
    assert error is None or error.value.exit_status == status
    run = RunDirectory(tmp_path / "run_1")
    assert load_params(run.path)["weight"] == 4.0
    assert run.plots.exists()
    assert f"\nwarning: {skipped} of 40 updates skipped: " in capsys.readouterr().out
    assert has_ended(run)
    assert has_diverged(run) == (status is not None)


def test_checkpoints_when_enough_episodes_have_finished(run_idle):
    models = run_idle([0.0] * 4).directory / "models"
    assert sorted(path.name for path in models.iterdir()) == [
        "best_model",
        *(f"checkpoint_ep{n}" for n in (0, 3, 4)),
        "final_model",
    ]


def test_rows_of_every_chunk_in_order(run_idle):
    rows = read(run_idle([0.0] * 4).directory / "training_log.csv")
    assert [(int(row["episode"]), float(row["loss"])) for row in rows] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_diagnostics_know_the_bound_from_the_first_evaluation_on(run_idle, monkeypatch):
    monkeypatch.setattr("qmix_jax.config._LONGEST_CHUNK", 80)
    rows = read(run_idle([0.0, 0.0], eval_interval=160).directory / "diagnostics_log.csv")
    assert [row["q_bound"] for row in rows] == ["", "2", "2", "2"]
    assert [float(row["grad_norm"]) for row in rows] == [1, 2, 3, 4]


def test_one_evaluation_where_the_last_is_due_anyway(run_idle):
    rows = read(run_idle([0.25], eval_interval=100_000).directory / "evaluation_log.csv")
    assert [int(row["env_steps"]) for row in rows] == [320]


def test_an_interrupted_run_leaves_what_there_is(run_idle, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        run_idle([0.1, 0.2, None])
    directory = tmp_path / "run_1"
    assert capsys.readouterr().out.splitlines()[-1] == f"run directory: {directory}"
    assert len(read(directory / "training_log.csv")) == 1  # the second chunk was still to be collected
    assert (directory / "training_plots.png").exists()
    assert (directory / "diagnostics_plots.png").exists()
    assert load_params(directory, "best_model")["weight"] == 1.0
    assert not (directory / "models" / "final_model").exists()


def test_a_reader_that_is_gone_does_not_end_a_run(run_idle, monkeypatch):
    """As with `| head`: all lines of a run, from the first to the last, and what is flushed at the process's end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert load_params(run_idle([0.1] * 4).directory)["weight"] == 4.0


def test_dashboards_get_what_the_logs_get(run_idle):
    directory = run_idle([0.1, 0.5, 0.5, 0.3], tensorboard=True).directory
    reader = EventAccumulator(str(directory / "tensorboard"))
    reader.Reload()
    for log in ("evaluation", "diagnostics"):
        columns = read(directory / f"{log}_log.csv")
        for name in columns[0].keys() - {"env_steps", "episode"}:
            if columns[0][name] == "":  # this run does not measure it
                assert f"{log}/{name}" not in reader.Tags()["scalars"]
                continue
            found = [(event.step, event.value) for event in reader.Scalars(f"{log}/{name}")]
            assert found == [(int(row["env_steps"]), pytest.approx(float(row[name]))) for row in columns]
    assert [event.value for event in reader.Scalars("training/loss")] == [1, 2, 3, 4]


def test_the_report_comes_last(run_idle, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr("qmix_jax.reports.report.report_run", lambda run, *_: made.append(list(run.models.iterdir())))
    directory = run_idle([0.1] * 4, report=True).directory
    assert directory / "models" / "final_model" in made[0]
    run_idle([0.1] * 4)
    assert len(made) == 1


def test_what_fails_after_the_final_model_is_a_warning(run_idle, monkeypatch, capsys):
    def refuse(*_):
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.draw", refuse)
    monkeypatch.setattr("qmix_jax.reports.report.report_run", refuse)
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.EventFileWriter.close", refuse)
    directory = run_idle([0.1] * 4, report=True, tensorboard=True).directory
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"run directory: {directory}"
    assert out.splitlines()[-2].startswith("final policy: ")
    files = [directory / name for name in ("training_plots.png", "diagnostics_plots.png", "report.html")]
    causes = [*files[:2], "--tensorboard true", files[2]]
    assert err.splitlines() == [f"warning: {cause}: RuntimeError: no fonts" for cause in causes]
    assert load_params(directory)["weight"] == 4.0


def test_replay_beyond_the_memory_is_refused(tmp_path):
    config = replace(SETTINGS, buffer_capacity=2**31 - 8, num_envs=2**10, results_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"--buffer_capacity \d+: needs \d+.\d GiB, but only"):
        runner.run(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interval", [1, 79, 80, 90, 120, 200, 1_000])
def test_evaluations_at_the_chunk_ends_nearest_to_the_interval(interval):
    config = replace(SETTINGS, total_episodes=160, eval_interval=interval)
    ends = np.array(loop.chunk_ends(config))
    multiples = np.arange(interval, config.env_steps + 1, interval)
    nearest = {int(ends[np.abs(ends - multiple).argmin()]) for multiple in multiples}
    assert {end for end in ends.tolist() if loop.evaluation_due(config, end)} == nearest | {config.env_steps}
