"""Reads finished runs for comparison: their evaluations, wall times, speed and skipped updates."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from qmix_jax.errors import DamagedError
from qmix_jax.learning.faults import skips_too_many
from qmix_jax.storage.checkpoint import DIVERGED, FINAL
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import replacing
from qmix_jax.storage.logs import EVALUATION_COLUMNS, TIMING_COLUMNS, read_log

_COLUMNS = ("env_steps", "seconds", "mean_return", "optimality", "solved", "mean_length")


class RunRecord(NamedTuple):
    """One of several runs."""

    group: str  # what seeds have in common, such as the algorithm's name
    seed: int
    evaluations: Mapping[str, np.ndarray]  # columns of evaluation_log.csv and 'seconds', float64[M]
    started: float  # seconds until the end of its first chunk, most of them compilation
    steps_per_second: float  # median over its chunks after the first, NaN without any
    updates: int  # gradient updates, skipped ones included
    skipped: int  # updates skipped because they were not finite
    diverged: bool
    random_return: float = float("nan")  # return of random actions from its evaluations' starts; NaN: not measured


def has_finished(directory: RunDirectory) -> bool:
    """Return whether the run was trained to its end."""
    return (directory.models / FINAL).is_dir()


def has_diverged(directory: RunDirectory) -> bool:
    """Return whether updates that were not finite stopped the run, or too many of them were skipped.

    Raises:
        DamagedError: diagnostics_log.csv is not one that a run writes.
        OSError: it cannot be read.
    """
    if not has_finished(directory):
        return _stands_still(directory)
    updates, skipped = count_updates(directory)
    return skips_too_many(skipped, updates)


def has_ended(directory: RunDirectory) -> bool:
    """Return whether nothing is left to train."""
    return has_finished(directory) or _stands_still(directory)


def count_updates(directory: RunDirectory) -> tuple[int, int]:
    """Return a run's gradient updates, and how many of them were skipped. Errors as for `has_diverged`."""
    log = read_log(directory.diagnostics_log, ("updates", "skipped"))
    updates, skipped = (np.append(0.0, log[name])[-1] for name in ("updates", "skipped"))
    return int(updates), int(skipped)


def _stands_still(directory: RunDirectory) -> bool:
    """Return whether the run stopped after too many bad updates in a row. Resuming it would end the same way."""
    return any(directory.models.glob(f"{DIVERGED}*"))


def read_record(group: str, seed: int, directory: RunDirectory) -> RunRecord:
    """Read a run's logs.

    An evaluation's seconds are those of timing.csv, including compilation and the time of earlier processes.

    Raises:
        DamagedError: a log is not one that a run writes.
        OSError: a log cannot be read.
    """
    evaluations = read_log(directory.evaluation_log, EVALUATION_COLUMNS)
    timing = read_log(directory.timing, TIMING_COLUMNS)
    at = np.searchsorted(timing["env_steps"], evaluations["env_steps"])  # evaluations are at ends of chunks
    seconds = np.append(timing["seconds"], np.nan)[at]
    started = float(timing["seconds"][0]) if len(timing["seconds"]) else 0.0
    rates = np.diff(timing["env_steps"]) / np.diff(timing["seconds"])  # compilation falls into the first chunk
    speed = float(np.median(rates)) if len(rates) else float("nan")
    updates, skipped = count_updates(directory)
    return RunRecord(
        group,
        seed,
        {**evaluations, "seconds": seconds},
        started,
        speed,
        updates,
        skipped,
        diverged=skips_too_many(skipped, updates) if has_finished(directory) else _stands_still(directory),
    )


def score_name(records: Sequence[RunRecord]) -> str:
    """Return the column of the displayed score: optimality, or mean_return where unknown. Rankings do not use it."""
    known = all(np.isfinite(record.evaluations["optimality"]).all() for record in records)
    return "optimality" if known else "mean_return"


def write_evaluations(
    path: Path, group_column: str, records: Sequence[RunRecord], folders: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write all evaluations of all runs as one CSV in long form: group, seed, a column for each figure.

    The last column holds the groups' `folders`, by name, if there are any.

    Raises:
        DamagedError: a run lacks a column that another one has.
    """
    extras = [name for name in records[0].evaluations if name not in (*EVALUATION_COLUMNS, "seconds")]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([group_column, "seed", *_COLUMNS, *extras, *(["folder"] if folders else [])])
        for record in records:
            for missing in (name for name in extras if name not in record.evaluations):
                raise DamagedError(
                    f"{record.group}, seed {record.seed}: its evaluation_log.csv has no column {missing}"
                )
            columns = (record.evaluations[name] for name in (*_COLUMNS, *extras))
            for row in zip(*columns, strict=True):
                writer.writerow(
                    [record.group, record.seed, *map(csv_number, row), *([folders[record.group]] if folders else [])]
                )


def csv_number(value: float) -> str:
    """Format a number as `CsvLog` does: integers in full, others to 7 digits, NaN as nothing."""
    if np.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:.7g}"
