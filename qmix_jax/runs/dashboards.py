"""Scalars for dashboards in addition to the CSV logs: TensorBoard and Weights & Biases, each an optional extra."""

import math
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any, Protocol, Self

import numpy as np

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError, RunError, missing, warn_on_failure
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import replacing
from qmix_jax.storage.logs import EpisodeRows

EXTRAS = ("tensorboard", "wandb")  # each is a setting, a package and an extra
_COUNTERS = ("env_steps", "episode")  # columns that are not written: the x-axis is environment steps


class Sink(Protocol):
    """Destination of scalars."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars by 'group/name' after `step` environment steps."""

    def close(self) -> None:
        """Flush and close."""


def check_dashboards(config: Config) -> None:
    """Refuse a dashboard whose package is not installed.

    Raises:
        ConfigError: naming the flag and the extra.
    """
    for name in EXTRAS:
        if getattr(config, name) and find_spec(name) is None:
            raise ConfigError(f"--{name} true: {missing(name, name)}")


class Dashboards:
    """The sinks that a run's settings enable, if any, as a context that closes them.

    Args:
        config: the run's.
        directory: the run's.
        env_steps: environment steps at which the run resumes; scalars written beyond them are void.
    """

    def __init__(self, config: Config, directory: RunDirectory, env_steps: int) -> None:
        self._open = ExitStack()
        self._sinks: dict[str, Sink] = {}
        if config.tensorboard:
            self._add("tensorboard", TensorBoard(directory, env_steps))
        if config.wandb:
            self._add("wandb", WeightsAndBiases(config, directory))

    def _add(self, name: str, sink: Sink) -> None:
        def close() -> None:
            with warn_on_failure(f"--{name} true"):
                sink.close()

        self._open.callback(close)
        self._sinks[name] = sink

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def write(
        self, step: int, rows: EpisodeRows, evaluation: Mapping[str, float] | None, diagnostics: Mapping[str, float]
    ) -> None:
        """Write one chunk: means over its episodes, and its rows of the other logs.

        Args:
            step: environment steps by its end.
            rows: its finished episodes.
            evaluation: row of evaluation_log.csv, None without an evaluation.
            diagnostics: row of diagnostics_log.csv.
        """
        if not self._sinks:
            return
        groups = {"training": _means(rows), "evaluation": evaluation or {}, "diagnostics": diagnostics}
        scalars = {
            f"{group}/{name}": float(value)
            for group, columns in groups.items()
            for name, value in columns.items()
            if name not in _COUNTERS and math.isfinite(value)
        }
        for name in list(self._sinks):
            with warn_on_failure(f"--{name} true: no longer written"):  # a service may fail; the run continues
                sink = self._sinks.pop(name)
                sink.write(step, scalars)
                self._sinks[name] = sink


def _means(rows: EpisodeRows) -> dict[str, float]:
    """Average each column over the episodes with a finite value; omit columns without any."""
    known = {name: column[np.isfinite(column)] for name, column in rows._asdict().items()}
    return {name: float(np.mean(column)) for name, column in known.items() if len(column)}


class TensorBoard:
    """A new event file in the run's tensorboard/."""

    def __init__(self, directory: RunDirectory, env_steps: int) -> None:
        # Takes seconds, so only on demand. torch.utils.tensorboard uses the same writer.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(directory.tensorboard))
        # Readers discard this and later steps of earlier files.
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=env_steps + 1, session_log=start))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """See `Sink`."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        """See `Sink`."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run named after the run's folder, configured by WANDB_MODE, WANDB_PROJECT and W&B's other variables.

    W&B's files are in a folder wandb/ next to the run: they contain links, which a resumable run must not.
    """

    def __init__(self, config: Config, directory: RunDirectory) -> None:
        import wandb

        try:
            self._run = wandb.init(
                dir=directory.path.parent,
                name=directory.path.name,
                id=_earlier_id(directory),
                resume="allow",
                config=asdict(config),
                reinit="create_new",  # a sweep has several runs open
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise RunError(f"--wandb true: {reason}; WANDB_MODE=offline needs no account") from None
        with replacing(directory.wandb_id) as temporary:
            temporary.write_text(f"{self._run.id}\n")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """See `Sink`. W&B drops steps that an earlier process already wrote."""
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


def _earlier_id(directory: RunDirectory) -> str | None:
    """Return the id from an earlier process, or None for a new run."""
    if not directory.wandb_id.is_file():
        return None
    text = directory.wandb_id.read_text(errors="replace").strip()
    if not re.fullmatch(r"\w{1,64}", text):
        raise DamagedError(f"{directory.wandb_id} must hold a Weights & Biases id")
    return text
