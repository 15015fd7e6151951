"""Scalars for dashboards beside the CSV files: TensorBoard's event files, and Weights & Biases. Each is an extra."""

import math
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any, Protocol, Self

import numpy as np

from qmix_jax.config import Config, ConfigError
from qmix_jax.errors import RunError, sparing
from qmix_jax.settings import DamagedError
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import replacing
from qmix_jax.storage.logs import EpisodeRows

EXTRAS = ("tensorboard", "wandb")  # a setting, a package and an extra each
_COUNTERS = ("env_steps", "episode")  # columns that are no scalars: steps are what the others are drawn over


class Sink(Protocol):
    """Where scalars go."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Scalars by 'group/name', after `step` environment steps."""

    def close(self) -> None:
        """Nothing more will come."""


def check_dashboards(config: Config) -> None:
    """Refuse a dashboard whose package is missing.

    Raises:
        ConfigError: naming the flag and the extra.
    """
    for name in EXTRAS:
        if getattr(config, name) and find_spec(name) is None:
            raise ConfigError(f"--{name} true: needs {name}: pip install -e '.[{name}]'")


class Dashboards:
    """The sinks that a run's settings ask for, maybe none. Use it as a context: leaving it closes them.

    Args:
        config: the run's.
        directory: where it writes.
        env_steps: environment steps that an earlier process left; what it wrote of later ones counts no more.
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
            with sparing(f"--{name} true"):
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
        """Hand on what a chunk of the run did: means over its episodes, and its rows of the other logs.

        Args:
            step: environment steps by its end.
            rows: its finished episodes.
            evaluation: row of evaluation_log.csv, None where none was due.
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
            with sparing(f"--{name} true: is written no more"):  # a service may fail; the run goes on without it
                sink = self._sinks.pop(name)
                sink.write(step, scalars)
                self._sinks[name] = sink


def _means(rows: EpisodeRows) -> dict[str, float]:
    """Means over episodes, of those that have the number; names without one are left out."""
    known = {name: column[np.isfinite(column)] for name, column in rows._asdict().items()}
    return {name: float(np.mean(column)) for name, column in known.items() if len(column)}


class TensorBoard:
    """A new event file in the run's tensorboard/."""

    def __init__(self, directory: RunDirectory, env_steps: int) -> None:
        # Seconds: only when it is asked for. This is the writer of torch.utils.tensorboard, too.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(directory.tensorboard))
        # Readers forget what earlier files say of this step and later ones.
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
    """A run by its folder's name; WANDB_MODE, WANDB_PROJECT and W&B's other variables say how and where.

    W&B's own files are in a folder wandb/ beside the run's: they hold links, which a run that is resumed must not.
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
                reinit="create_new",  # a sweep has several at once
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise RunError(f"--wandb true: {reason}; WANDB_MODE=offline needs no account") from None
        with replacing(directory.wandb_id) as temporary:
            temporary.write_text(f"{self._run.id}\n")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """See `Sink`. Steps that an earlier process already wrote are dropped by W&B itself."""
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


def _earlier_id(directory: RunDirectory) -> str | None:
    """The id that an earlier process was given; None for a new run."""
    if not directory.wandb_id.is_file():
        return None
    text = directory.wandb_id.read_text(errors="replace").strip()
    if not re.fullmatch(r"\w{1,64}", text):
        raise DamagedError(f"{directory.wandb_id} does not hold an id of Weights & Biases")
    return text
