"""Turns finished chunks into what a run leaves behind: CSV rows, checkpoints, progress, plots."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

import jax
import numpy as np

from qmix_jax.config import Config
from qmix_jax.errors import sparing
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
    """Writes one run's files, chunk by chunk. Use it as a context: leaving it closes the files and the bar.

    Args:
        config: the run's.
        directory: where it writes.
        extra_columns: what the environment adds to evaluation_log.csv.
        point: what an earlier process left; None for a new run.
        visible: whether it shows its bar, see `Progress`.
        writer: the thread that writes checkpoints, see `Checkpoints`.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        extra_columns: tuple[str, ...],
        point: ResumePoint | None = None,
        visible: bool | None = None,
        writer: ThreadPoolExecutor | None = None,
    ) -> None:
        self.evaluation: Evaluation | None = None  # the latest of this process, on the host
        self._config = config
        self._directory = directory
        notes = _NOTHING_YET if point is None else point.notes
        self._started = time.perf_counter() - notes.seconds
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
        # From the log, which was cut back to where the run goes on: older versions noted another score.
        returns = read_log(directory.evaluation_log, EVALUATION_COLUMNS)["mean_return"]
        self._best_return = float(np.max(returns, initial=-math.inf, where=~np.isnan(returns)))
        self._checkpoints = self._open.enter_context(Checkpoints(directory.models, config.keep_resumable, writer))
        self._dashboards = self._open.enter_context(Dashboards(config, directory, self._env_steps))
        self._progress = self._open.enter_context(Progress(config.env_steps, self._env_steps, self._episodes, visible))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def start(self, params: Params, state: Any) -> None:
        """Compilation is over. Make what an earlier process left whole, or write the first checkpoint."""
        self._progress.start()
        if self._best is None:
            self._best = params
            self._save(checkpoint_name(0), params, state)
        elif self._best_return > -math.inf:
            self._checkpoints.save(BEST, self._best)

    def wait(self) -> None:
        """Wait until the checkpoints that were begun are on disk."""
        self._checkpoints.wait()

    def record(self, chunk: Chunk) -> None:
        """Write what the next chunk of the run did."""
        if not self._env_steps:
            self.wait()  # a run that has rows can be resumed
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
        self._progress.update(env_steps, log, rows, row, diagnostics)

    def finish(self, params: Params, evaluation: Evaluation) -> None:
        """Write the final model."""
        self.evaluation = fetch_evaluation(evaluation)
        self._checkpoints.save(FINAL, params)

    def plot(self, title: str, baseline_return: float = math.nan, baseline_name: str = "baseline") -> None:
        """Draw what was recorded; nothing before the first chunk. A plot that fails costs a warning."""
        if not self._env_steps:
            return
        # matplotlib's import should not delay the first progress
        with sparing(self._directory.plots):
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
        with sparing(self._directory.diagnostics_plots):
            from qmix_jax.runs.plots import plot_diagnostics

            diagnostics = read_log(self._directory.diagnostics_log, DIAGNOSTIC_COLUMNS)
            plot_diagnostics(self._directory.diagnostics_plots, title, diagnostics, self._config.max_grad_norm)

    def _record_evaluation(self, evaluation: Evaluation, params: Params) -> dict[str, float]:
        row = evaluation_row(self._env_steps, self._episodes, evaluation)
        self.evaluation = evaluation
        self._q_bound = float(evaluation.q_bound)  # the same each time, since the starts are the same
        self._evaluation_log.write_row(row.values())
        mean_return = logged(row["mean_return"])  # so that a run that is resumed finds the same best
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
        return time.perf_counter() - self._started


class Follower:
    """Stands in the recorder's place in all but the first of a run's processes: it only keeps the latest evaluation."""

    def __init__(self) -> None:
        self.evaluation: Evaluation | None = None

    def start(self, params: Params, state: Any) -> None:
        """The first process writes its first checkpoint now."""

    def record(self, chunk: Chunk) -> None:
        """The first process writes a chunk's rows and checkpoint now."""
        if chunk.evaluation is not None:
            self.evaluation = chunk.evaluation

    def finish(self, params: Params, evaluation: Evaluation) -> None:
        """The first process writes the final model now."""
        self.evaluation = evaluation

    def plot(self, title: str, baseline_return: float = math.nan, baseline_name: str = "baseline") -> None:
        """The first process draws now."""
