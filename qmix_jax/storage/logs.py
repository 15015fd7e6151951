"""CSV logs of a run: rows of episodes, evaluations, diagnostics and timing, and the files themselves."""

import io
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from qmix_jax.errors import DamagedError
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
    "central_loss",
    "skipped",
)
EVALUATION_COLUMNS = ("env_steps", "episode", "mean_return", "optimality", "solved", "mean_length")
TIMING_COLUMNS = ("env_steps", "updates", "episodes", "seconds")
_NUMBER = "%.7g"


class EpisodeRows(NamedTuple):
    """Finished episodes, one array per column of training_log.csv: by vector step, then by environment."""

    episode: np.ndarray  # int64, from 0
    episode_return: np.ndarray  # float32, discounted team return
    episode_length: np.ndarray  # int32, steps
    epsilon: np.ndarray  # float32, mean exploration rate over the environments when it ended
    loss: np.ndarray  # float32, mean over the updates made while it ran, NaN without any; likewise the next two
    td_error: np.ndarray  # float32
    q_value: np.ndarray  # float32


def finished_episodes(log: EpisodeLog, first_episode: int) -> EpisodeRows:
    """Return the rows of a chunk's log, arrays [C, E]; `first_episode` is the number of the first."""
    log = jax.tree.map(np.asarray, log)
    steps, environments = np.nonzero(log.finished)
    saw_updates = log.num_updates[steps, environments] > 0
    columns: Any = (
        first_episode + np.arange(len(steps)),
        log.episode_return[steps, environments],
        log.episode_length[steps, environments],
        log.epsilon[steps],
        *(np.where(saw_updates, metric[steps, environments], np.array(np.nan, np.float32)) for metric in log.updates),
    )
    return EpisodeRows(*columns)


def diagnostic_row(
    env_steps: int, updates: int, skipped: int, log: EpisodeLog, q_bound: float, unmeasured: Sequence[str] = ()
) -> dict[str, float]:
    """Return a row of diagnostics_log.csv, in the order of its columns.

    Args:
        env_steps: environment steps by the end of the chunk.
        updates: gradient updates by then, skipped ones too.
        skipped: updates by then that were skipped as not finite.
        log: the chunk's log, arrays [C, E]; metrics are means over its vector steps with updates, NaN without any.
            `central_loss` is also NaN if an update of the central value network was not finite.
        q_bound: mean best possible return from the evaluation's starts at --gamma, NaN if unknown.
        unmeasured: meaningless metrics, see `learner.unmeasured`; they become NaN.
    """
    row: dict[str, float] = {"env_steps": env_steps, "updates": updates, "skipped": skipped, "q_bound": q_bound}
    made = log.num_step_updates > 0
    for name, values in log.step_updates._asdict().items():
        is_known = made.any() and name not in unmeasured
        row[name] = float(np.mean(values[made], dtype=np.float64)) if is_known else math.nan
    return {name: row[name] for name in DIAGNOSTIC_COLUMNS}


def fetch_evaluation(evaluation: Evaluation) -> Evaluation:
    """Copy an evaluation to the host, with NaN for unknown values; traced code uses None, because of JAX_DEBUG_NANS."""
    unknown = np.array(np.nan, np.float32)
    fetched = jax.tree.map(
        lambda value: unknown if value is None else jax.device_get(value), evaluation, is_leaf=_is_none
    )
    return fetched if fetched.best_return > 0.0 else fetched._replace(optimality=unknown)


def evaluation_row(env_steps: int, episodes: int, evaluation: Evaluation) -> dict[str, float]:
    """Return a row of evaluation_log.csv: the fixed columns, then the environment's own; NaN for unknown values."""
    columns = {name: float(getattr(evaluation, name)) for name in EVALUATION_COLUMNS[2:]}
    extra = {name: float(value) for name, value in evaluation.extra.items()}
    return {"env_steps": env_steps, "episode": episodes, **columns, **extra}


def logged(value: float) -> float:
    """Round a number as the logs do, see `CsvLog.write`."""
    return float(_NUMBER % value)


class CsvLog:
    """An append-only CSV file, flushed after every write.

    Args:
        path: the file, which must not exist unless `size` is given.
        columns: its header.
        size: bytes of an existing file to keep and append to.

    Raises:
        DamagedError: the existing file has another header.
    """

    def __init__(self, path: Path, columns: Sequence[str], size: int | None = None) -> None:
        header = ",".join(columns) + "\n"
        self._file = path.open("x" if size is None else "r+", encoding="ascii", newline="")
        if size is None:
            self._file.write(header)
        else:
            if self._file.readline() != header:
                self._file.close()
                raise DamagedError(f"{path}: must begin with {header.strip()}")
            self._file.seek(size)
            self._file.truncate()
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def sync(self) -> int:
        """Sync the file to disk and return its size in bytes."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def write(self, columns: Iterable[Any]) -> None:
        """Append rows given as equally long columns: integers in full, floats with 7 digits, NaN as an empty field."""
        arrays = [np.asarray(column) for column in columns]
        formats = ["%d" if np.issubdtype(array.dtype, np.integer) else _NUMBER for array in arrays]
        line = ",".join(formats) + "\n"
        # One pass over Python tuples: half a million episodes take about a second.
        text = "".join(line % row for row in zip(*(array.tolist() for array in arrays), strict=True))
        self._file.write(text.replace("nan", ""))
        self._file.flush()

    def write_row(self, values: Iterable[float]) -> None:
        """Append one row."""
        self.write([value] for value in values)


def read_log(path: Path, columns: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read the columns of a `CsvLog` file by name. float64, NaN for empty fields.

    Args:
        path: the file.
        columns: required columns.

    Raises:
        DamagedError: it is not such a file.
    """
    try:
        header, _, text = path.read_text(encoding="ascii").partition("\n")
        names = header.split(",")
        for missing in (name for name in columns if name not in names):
            raise ValueError(f"has no column {missing}")
        filled = re.sub(r"(?<![^,\n])(?=[,\n])", "nan", text)
        numbers = np.loadtxt(io.StringIO(filled), delimiter=",", ndmin=2) if text else np.zeros((0, len(names)))
        return dict(zip(names, numbers.T, strict=True))
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from None


def _is_none(value: Any) -> bool:
    return value is None
