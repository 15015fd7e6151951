"""Turns finished chunks into what a run leaves behind: CSV rows, checkpoints, progress, plots."""

import math
import time
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import jax

from qmix_jax.checkpoint import BEST, FINAL, Checkpoints, checkpoint_name
from qmix_jax.config import Config
from qmix_jax.progress import Progress
from qmix_jax.records import (
    DIAGNOSTIC_COLUMNS,
    EVALUATION_COLUMNS,
    TIMING_COLUMNS,
    CsvLog,
    EpisodeRows,
    concatenate_rows,
    diagnostic_row,
    evaluation_row,
    finished_episodes,
)
from qmix_jax.run_directory import RunDirectory
from qmix_jax.types import Array, EpisodeLog, Evaluation, Params


class Chunk(NamedTuple):
    """What one compiled call left on the device."""

    env_steps: int  # environment steps by its end
    log: EpisodeLog  # arrays [C, E]
    params: Params
    updates: Array  # int32[], gradient updates made so far
    evaluation: Evaluation | None  # greedy policy at the chunk's end, None where none was due


class Recorder:
    """Writes one run's files, chunk by chunk. Use it as a context: leaving it closes the files and the bar."""

    def __init__(self, config: Config, directory: RunDirectory, extra_columns: tuple[str, ...]) -> None:
        self.evaluation: Evaluation | None = None  # the latest, on the host
        self._config = config
        self._directory = directory
        self._started = time.perf_counter()
        self._open = ExitStack()
        self._training_log = self._open.enter_context(CsvLog(directory.training_log, EpisodeRows._fields))
        self._evaluation_log = self._open.enter_context(
            CsvLog(directory.evaluation_log, EVALUATION_COLUMNS + extra_columns)
        )
        self._diagnostics_log = self._open.enter_context(CsvLog(directory.diagnostics_log, DIAGNOSTIC_COLUMNS))
        self._timing = self._open.enter_context(CsvLog(directory.timing, TIMING_COLUMNS))
        self._checkpoints = self._open.enter_context(Checkpoints(directory.models))
        self._progress = self._open.enter_context(Progress(config.env_steps))
        self._env_steps = 0
        self._episodes = 0
        self._best_score = -math.inf
        self._rows: list[EpisodeRows] = []
        self._evaluations: list[dict[str, float]] = []
        self._diagnostics: list[dict[str, float]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def start(self) -> None:
        """Say that compilation is over."""
        self._progress.start()

    def record(self, chunk: Chunk) -> None:
        """Write what the next chunk of the run did."""
        env_steps, log, params, updates, evaluation = jax.device_get(chunk)
        rows = finished_episodes(log, self._episodes)
        saves_due = (self._episodes + len(rows.episode)) // self._config.save_interval
        save = saves_due > self._episodes // self._config.save_interval
        self._env_steps = env_steps
        self._episodes += len(rows.episode)

        self._training_log.write(rows)
        self._rows.append(rows)
        row = self._record_evaluation(evaluation, params) if evaluation is not None else None
        self._record_diagnostics(int(updates), log)
        if save:
            self._checkpoints.save(checkpoint_name(self._episodes), params)
        seconds = time.perf_counter() - self._started
        self._timing.write_row((self._env_steps, int(updates), self._episodes, seconds))
        self._progress.update(env_steps, log, rows, row)

    def finish(self, params: Params) -> None:
        """Write the final model."""
        self._checkpoints.save(FINAL, jax.device_get(params))

    def plot(self, title: str, baseline: Evaluation | None) -> None:
        """Draw what was recorded; nothing before the first chunk."""
        # matplotlib's import should not delay the first progress
        from qmix_jax.plots import plot_diagnostics, plot_training

        if not self._rows:
            return
        plot_training(
            self._directory.plots,
            title,
            concatenate_rows(self._rows),
            self._evaluations,
            math.nan if self.evaluation is None else float(self.evaluation.best_return),
            math.nan if baseline is None else float(baseline.mean_return),
        )
        plot_diagnostics(self._directory.diagnostics_plots, title, self._diagnostics, self._config.max_grad_norm)

    def _record_diagnostics(self, updates: int, log: EpisodeLog) -> None:
        # The same in every evaluation, since their starts are the same; unknown before the first.
        q_bound = math.nan if self.evaluation is None else float(self.evaluation.q_bound)
        row = diagnostic_row(self._env_steps, updates, log, q_bound)
        self._diagnostics.append(row)
        self._diagnostics_log.write_row(row.values())

    def _record_evaluation(self, evaluation: Evaluation, params: Params) -> dict[str, float]:
        row = evaluation_row(self._env_steps, self._episodes, evaluation)
        self.evaluation = evaluation
        self._evaluations.append(row)
        self._evaluation_log.write_row(row.values())
        score = row["mean_return"] if math.isnan(row["optimality"]) else row["optimality"]
        if score > self._best_score:
            self._best_score = score
            self._checkpoints.replace(BEST, params)
        return row
