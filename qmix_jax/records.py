"""What a run writes down: rows of finished episodes and evaluations, and the CSV files that keep them."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from qmix_jax.types import EpisodeLog, Evaluation

DIAGNOSTIC_COLUMNS = (
    "env_steps",
    "updates",
    "q_value",
    "q_bound",
    "target_lag",
    "grad_norm",
    "clipped",
    "td_error_std",
)
EVALUATION_COLUMNS = ("env_steps", "episode", "mean_return", "optimality", "solved", "mean_length")
TIMING_COLUMNS = ("env_steps", "updates", "episodes", "seconds")


class EpisodeRows(NamedTuple):
    """Finished episodes, one array per column of training_log.csv: by vector step, then by environment."""

    episode: np.ndarray  # int64, from 0
    episode_return: np.ndarray  # float32, discounted team return
    episode_length: np.ndarray  # int32, steps
    epsilon: np.ndarray  # float32, share of random actions over all environments when it ended
    loss: np.ndarray  # float32, mean over the updates made while it ran, NaN without any; so are the next two
    td_error: np.ndarray  # float32
    q_value: np.ndarray  # float32


def finished_episodes(log: EpisodeLog, first_episode: int) -> EpisodeRows:
    """Rows of a chunk's log, arrays [C, E]; `first_episode` is the number of the first one."""
    log = jax.tree.map(np.asarray, log)
    steps, environments = np.nonzero(log.finished)
    columns: Any = (
        first_episode + np.arange(len(steps)),
        log.episode_return[steps, environments],
        log.episode_length[steps, environments],
        log.epsilon[steps],
        *(metric[steps, environments] for metric in log.updates),
    )
    return EpisodeRows(*columns)


def concatenate_rows(parts: Sequence[EpisodeRows]) -> EpisodeRows:
    """All rows of several chunks; `parts` must not be empty."""
    return EpisodeRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def diagnostic_row(env_steps: int, updates: int, log: EpisodeLog, q_bound: float) -> dict[str, float]:
    """One row of diagnostics_log.csv, in the order of its columns.

    Args:
        env_steps: environment steps by the end of the chunk.
        updates: gradient updates by then.
        log: the chunk's log, arrays [C, E]; metrics are means over its vector steps with updates, NaN without any.
        q_bound: mean best possible return of the evaluation's starts at --gamma, NaN where unknown.
    """
    row: dict[str, float] = {"env_steps": env_steps, "updates": updates, "q_bound": q_bound}
    for name, values in log.step_updates._asdict().items():
        known = values[~np.isnan(values)]
        row[name] = float(np.mean(known, dtype=np.float64)) if len(known) else math.nan
    return {name: row[name] for name in DIAGNOSTIC_COLUMNS}


def evaluation_row(env_steps: int, episodes: int, evaluation: Evaluation) -> dict[str, float]:
    """One row of evaluation_log.csv: the fixed columns, then the environment's own."""
    columns = {name: float(getattr(evaluation, name)) for name in EVALUATION_COLUMNS[2:]}
    extra = {name: float(value) for name, value in evaluation.extra.items()}
    return {"env_steps": env_steps, "episode": episodes, **columns, **extra}


class CsvLog:
    """A CSV file that grows by rows; what was written survives a crash of the process."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = path.open("x", encoding="ascii", newline="")
        self._file.write(",".join(columns) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, columns: Iterable[Any]) -> None:
        """Append rows given as columns: equally long arrays, integers in full, floats to 7 digits, NaN as nothing."""
        arrays = [np.asarray(column) for column in columns]
        formats = ["%d" if np.issubdtype(array.dtype, np.integer) else "%.7g" for array in arrays]
        line = ",".join(formats) + "\n"
        # One pass over Python tuples: half a million episodes take about a second.
        text = "".join(line % row for row in zip(*(array.tolist() for array in arrays), strict=True))
        self._file.write(text.replace("nan", ""))
        self._file.flush()

    def write_row(self, values: Iterable[float]) -> None:
        """Append one row."""
        self.write([value] for value in values)
