"""Which policy a run keeps as its best, also after it was resumed."""

from pathlib import Path

import numpy as np
import pytest

from qmix_jax.config import Config
from qmix_jax.learning.faults import init_faults
from qmix_jax.runs.loop import Chunk
from qmix_jax.runs.recorder import Recorder
from qmix_jax.storage.checkpoint import load_params
from qmix_jax.storage.directory import make_run_directory
from qmix_jax.storage.resume_point import Notes, ResumePoint, Saved
from qmix_jax.types import EpisodeLog, EpisodeMetrics, Evaluation, Progression, UpdateMetrics

SETTINGS = Config(num_envs=8, total_episodes=16, max_steps_per_ep=20, eval_interval=80, save_interval=8)
NONE = np.full((1, 1), np.nan, np.float32)
LOG = EpisodeLog(
    finished=np.zeros((1, 1), bool),
    episode_return=NONE,
    episode_length=NONE,
    epsilon=NONE[0],
    updates=EpisodeMetrics(*[NONE] * len(EpisodeMetrics._fields)),
    step_updates=UpdateMetrics(*[NONE[0]] * len(UpdateMetrics._fields)),
    num_updates=np.zeros((1, 1), np.int32),
    num_step_updates=np.zeros(1, np.int32),
)


def chunk(number, mean_return):
    """Return the run's chunk of this number, at the end of which its only weight is the number."""
    evaluation = Evaluation(*np.float32([mean_return, np.nan, np.nan, np.nan, 0, 1]), {})
    progression = Progression({"weight": np.float32([number])}, np.int32(number), init_faults())
    return Chunk(80 * number, LOG, progression, evaluation, None, diverged=False)


@pytest.mark.parametrize(
    ("returns", "best"), [([-9.1], 2), ([-9.0], 4), ([-9.050001], 2), ([np.nan, -9.0], 5), ([-9.0, -9.0], 4)]
)
def test_a_resumed_run_goes_on_from_the_highest_return_in_its_log(tmp_path, returns, best):
    """Older versions noted another score, the optimality: where the best return is negative, the worst policy's."""
    run = make_run_directory(tmp_path, "--run_directory")
    with Recorder(SETTINGS, run, (), quiet=True) as recorder:
        recorder.start({"weight": np.float32([0])}, {})
        recorder.record(chunk(1, -27.1))
        recorder.record(chunk(2, -9.05))
        sizes = {log.name: log.stat().st_size for log in run.logs}
        recorder.record(chunk(3, -1.0))  # which came after the checkpoint
    notes = Notes(160, episodes=0, best_score=3.0, q_bound=None, seconds=1.0, replay=True, log_bytes=sizes)
    point = ResumePoint(Path(), Saved(None, {"weight": np.float32([2])}), notes, skipped=[])
    with Recorder(SETTINGS, run, (), point, quiet=True) as recorder:
        recorder.start({"weight": np.float32([9])}, None)
        for number, mean_return in enumerate(returns, start=4):
            recorder.record(chunk(number, mean_return))
    assert load_params(run.path, "best_model")["weight"] == best
