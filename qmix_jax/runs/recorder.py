"""Writes finished chunks of a run: CSV rows, checkpoints, dashboards, progress, plots."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

import jax
import numpy as np

from qmix_jax.config import Config
from qmix_jax.errors import warn_on_failure
from qmix_jax.learning.learner import unmeasured
from qmix_jax.runs.dashboards import Dashboards
from qmix_jax.runs.loop import Chunk
from qmix_jax.runs.progress import Progress
from qmix_jax.storage.checkpoint import BEST, DIVERGED, FINAL, Checkpoints, checkpoint_name
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import (
    DIAGNOSTIC_COLUMNS,
    EVALUATION_COLUMNS,
    TIMING_COLUMNS,
    CsvLog,
    EpisodeRows,
    diagnostic_row,
    evaluation_row,
    fetch_evaluation,
    finished_episodes,
    logged,
    read_log,
)
from qmix_jax.storage.resume_point import Notes, ResumePoint, resume_data
from qmix_jax.types import Evaluation, Params

_NOTHING_YET = Notes(0, 0, None, None, 0.0, replay=True, log_bytes={})


class Recorder:
    """Writer of a run's files, chunk by chunk, as a context that closes the files and the progress display.

    Args:
        config: the run's.
        directory: the run's.
        extra_columns: the environment's own columns of evaluation_log.csv.
        point: where the run resumes; None for a new run.
        quiet: whether to show no progress.
        writer: the thread that writes checkpoints, see `Checkpoints`.
        turns: runs that are trained in turn: of the time of all, this one counts its share.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        extra_columns: tuple[str, ...],
        point: ResumePoint | None = None,
        quiet: bool = False,
        writer: ThreadPoolExecutor | None = None,
        turns: int = 1,
    ) -> None:
        self.evaluation: Evaluation | None = None  # the latest of this process, on the host
        self._config = config
        self._directory = directory
        notes = _NOTHING_YET if point is None else point.notes
        self._before = notes.seconds
        self._started = time.perf_counter()
        self._turns = turns
        self._env_steps = notes.env_steps
        self._episodes = notes.episodes
        self._best: Params | None = None if point is None else point.saved.best
        self._q_bound = math.nan if notes.q_bound is None else notes.q_bound
        self._open = ExitStack()
        columns = (EpisodeRows._fields, EVALUATION_COLUMNS + extra_columns, DIAGNOSTIC_COLUMNS, TIMING_COLUMNS)
        self._logs = [
            self._open.enter_context(CsvLog(path, header, notes.log_bytes.get(path.name)))
            for path, header in zip(directory.logs, columns, strict=True)
        ]
        self._training_log, self._evaluation_log, self._diagnostics_log, self._timing = self._logs
        # From the log, truncated to the resume point: older versions noted another score.
        returns = read_log(directory.evaluation_log, EVALUATION_COLUMNS)["mean_return"]
        self._best_return = float(np.max(returns, initial=-math.inf, where=~np.isnan(returns)))
        self._checkpoints = self._open.enter_context(Checkpoints(directory.models, config.keep_resumable, writer))
        self._dashboards = self._open.enter_context(Dashboards(config, directory, self._env_steps))
        self._progress = self._open.enter_context(Progress(config.env_steps, self._env_steps, quiet))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def start(self, params: Params, state: Any) -> None:
        """Call after compilation: write the first checkpoint, or on resume restore best_model."""
        self._progress.start()
        if self._best is None:
            self._best = params
            self._save(checkpoint_name(0), params, state)
        elif self._best_return > -math.inf:
            self._checkpoints.save(BEST, self._best)

    def wait(self) -> None:
        """Wait until pending checkpoints are on disk."""
        self._checkpoints.wait()

    def record(self, chunk: Chunk) -> None:
        """Write the next chunk."""
        if not self._env_steps:
            self.wait()  # a run with log rows must be resumable
        env_steps, log, progression, evaluation = jax.device_get(chunk[:4])
        rows = finished_episodes(log, self._episodes)
        self._env_steps = env_steps
        self._episodes += len(rows.episode)

        self._training_log.write(rows)
        row = None
        if evaluation is not None:
            row = self._record_evaluation(fetch_evaluation(evaluation), progression.params)
        updates, skipped = int(progression.updates), int(progression.faults.skipped)
        diagnostics = diagnostic_row(env_steps, updates, skipped, log, self._q_bound, unmeasured(self._config))
        self._diagnostics_log.write_row(diagnostics.values())
        self._timing.write_row((env_steps, updates, self._episodes, self._seconds()))
        self._dashboards.write(env_steps, rows, row, diagnostics)
        if chunk.state is not None:
            name = f"{DIVERGED}{self._episodes}" if chunk.diverged else checkpoint_name(self._episodes)
            self._save(name, progression.params, chunk.state)
        self._checkpoints.check()
        self._progress.record(env_steps, log, rows, row, diagnostics)

    def finish(self, params: Params, evaluation: Evaluation) -> None:
        """Write the final model."""
        self.evaluation = fetch_evaluation(evaluation)
        self._checkpoints.save(FINAL, params)

    def plot(self, title: str, baseline_return: float = math.nan, baseline_name: str = "baseline") -> None:
        """Draw the plots, if there is a chunk. A plot that fails only causes a warning."""
        if not self._env_steps:
            return
        # imported here, so that matplotlib does not delay the first progress
        with warn_on_failure(self._directory.plots):
            from qmix_jax.runs.plots import plot_training

            episodes = read_log(self._directory.training_log, EpisodeRows._fields)
            plot_training(
                self._directory.plots,
                title,
                EpisodeRows(*(episodes[name] for name in EpisodeRows._fields)),
                read_log(self._directory.evaluation_log, EVALUATION_COLUMNS),
                math.nan if self.evaluation is None else float(self.evaluation.best_return),
                baseline_return,
                baseline_name,
            )
        with warn_on_failure(self._directory.diagnostics_plots):
            from qmix_jax.runs.plots import plot_diagnostics

            diagnostics = read_log(self._directory.diagnostics_log, DIAGNOSTIC_COLUMNS)
            plot_diagnostics(self._directory.diagnostics_plots, title, diagnostics, self._config.max_grad_norm)

    def _record_evaluation(self, evaluation: Evaluation, params: Params) -> dict[str, float]:
        row = evaluation_row(self._env_steps, self._episodes, evaluation)
        self.evaluation = evaluation
        self._q_bound = float(evaluation.q_bound)  # the same each time, since the starts are the same
        self._evaluation_log.write_row(row.values())
        mean_return = logged(row["mean_return"])  # so that a resumed run finds the same best
        if mean_return > self._best_return:
            self._best_return, self._best = mean_return, params
            self._checkpoints.save(BEST, params)
        return row

    def _save(self, name: str, params: Params, state: Any) -> None:
        assert self._best is not None
        notes = Notes(
            env_steps=self._env_steps,
            episodes=self._episodes,
            best_score=self._best_return if math.isfinite(self._best_return) else None,
            q_bound=self._q_bound if math.isfinite(self._q_bound) else None,
            seconds=self._seconds(),
            replay=self._config.checkpoint_replay,
            log_bytes={path.name: log.sync() for path, log in zip(self._directory.logs, self._logs, strict=True)},
        )
        self._checkpoints.save(name, params, resume_data(state, self._best, notes))

    def _seconds(self) -> float:
        return self._before + (time.perf_counter() - self._started) / self._turns


class Follower:
    """Replacement of `Recorder` in all but the first process of a run. It only keeps the latest evaluation."""

    def __init__(self) -> None:
        self.evaluation: Evaluation | None = None

    def start(self, params: Params, state: Any) -> None:
        """Do nothing: the first process writes the first checkpoint."""

    def record(self, chunk: Chunk) -> None:
        """Keep the evaluation: the first process writes rows and checkpoints."""
        if chunk.evaluation is not None:
            self.evaluation = chunk.evaluation

    def finish(self, params: Params, evaluation: Evaluation) -> None:
        """Keep the evaluation: the first process writes the final model."""
        self.evaluation = evaluation

    def plot(self, title: str, baseline_return: float = math.nan, baseline_name: str = "baseline") -> None:
        """Do nothing: the first process draws."""
