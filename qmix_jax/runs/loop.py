"""The host loop over a run's chunks, overlapping host and device work."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from qmix_jax.config import Config
from qmix_jax.runs.collectives import max_over_processes
from qmix_jax.runs.compilation import Programs
from qmix_jax.runs.signals import StopSignal
from qmix_jax.storage.arrays import gather
from qmix_jax.storage.resume_point import state_arrays
from qmix_jax.types import EpisodeLog, Evaluation, Progression, TrainState


class Chunk(NamedTuple):
    """Results of one compiled chunk, and whether to save its state. A population's have a leading axis [M]."""

    env_steps: int  # environment steps by its end, of every member
    log: EpisodeLog  # arrays [C, E]
    progression: Progression
    evaluation: Evaluation | None  # greedy policy at the chunk's end, None if not due
    state: dict[str, np.ndarray] | None  # the TrainState at its end, on the host, if a checkpoint is due
    diverged: np.ndarray  # bool[], whether that state is to be inspected, not resumed from


def chunk_ends(config: Config, done: int = 0) -> list[int]:
    """Return the environment steps at the end of each chunk after `done` vector steps."""
    ends = [*range(done + config.chunk_length, config.vector_steps, config.chunk_length), config.vector_steps]
    return [end * config.num_envs for end in ends if end > done]


def evaluation_due(config: Config, env_steps: int) -> bool:
    """Whether the chunk that ends at `env_steps` is the one nearest to a multiple of `eval_interval`, or the last."""
    chunk, interval = config.chunk_length * config.num_envs, config.eval_interval
    # A multiple within half a chunk: one in (env_steps - chunk / 2, env_steps + chunk / 2].
    nearest = (2 * env_steps + chunk) // (2 * interval) > (2 * env_steps - chunk) // (2 * interval)
    return nearest or env_steps == config.env_steps


class Loop:
    """Iterator over the chunks of a run or of a vmapped population. Each is yielded while the next one runs.

    Args:
        config: of the run, or what the population's members have in common.
        programs: the compiled functions.
        state: where training stands.
        episodes: how many were finished by then, by all members together.
        members: how many rows of a population's state are members, not padding; None for one run.
        until: environment steps of each run after whose chunk to stop early, with a checkpoint; None for none.
    """

    def __init__(
        self,
        config: Config,
        programs: Programs,
        state: TrainState,
        episodes: int,
        members: int | None = None,
        until: int | None = None,
    ) -> None:
        self._config = config
        self._programs = programs
        self.state = state
        self._episodes = episodes
        self._members = members
        self._until = config.env_steps if until is None else until
        self.stopped_by: int | None = None

    def chunks(self, stop_signal: StopSignal) -> Iterator[Chunk]:
        """Train to the end or `until`, until `stop_signal` returns a number, or until all members have diverged.

        A checkpoint is due whenever `save_interval` more episodes have finished, in a population on average.
        """
        config, programs, pending = self._config, self._programs, None
        interval = config.save_interval * (self._members or 1)
        for end in chunk_ends(config, int(self.state.vector_step)):
            if end - config.chunk_length * config.num_envs >= self._until:
                break
            self.state, log = programs.train_chunk(self.state)
            progression = programs.snapshot(self.state.learner)
            evaluation = programs.evaluate(progression.params) if evaluation_due(config, end) else None
            if pending is not None:
                yield pending
            # Here the host waits for the chunk, and copies the state if needed before the next one donates it.
            log = jax.tree.map(gather, log)
            before, self._episodes = self._episodes, self._episodes + self._finished(log)
            self.stopped_by = max_over_processes(stop_signal())
            diverged = np.asarray(progression.faults.streak) >= config.max_bad_updates
            ends = end == config.env_steps or bool(np.all(diverged))
            leaves = ends or self.stopped_by is not None or end >= self._until
            save = leaves or self._episodes // interval > before // interval
            with_replay = config.checkpoint_replay or bool(np.all(diverged))
            state = state_arrays(self.state, with_replay) if save else None
            pending = Chunk(end, log, progression, evaluation, state, diverged & ends)
            if leaves:
                break
        if pending is not None:
            yield pending

    def _finished(self, log: EpisodeLog) -> int:
        finished = jax.device_get(log.finished)
        return int(np.sum(finished if self._members is None else finished[: self._members]))
