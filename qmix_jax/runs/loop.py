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
from qmix_jax.training.evaluation import evaluation_key
from qmix_jax.training.pinning import seed_key
from qmix_jax.types import EpisodeLog, Evaluation, Progression, TrainState


class Chunk(NamedTuple):
    """Results of one compiled chunk, and whether to save its state."""

    env_steps: int  # environment steps by its end
    log: EpisodeLog  # arrays [C, E]
    progression: Progression
    evaluation: Evaluation | None  # greedy policy at the chunk's end, None if not due
    state: dict[str, np.ndarray] | None  # the TrainState at its end, on the host, if a checkpoint is due
    diverged: bool  # whether that state is to be inspected, not resumed from


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
    """Iterator over a run's chunks. Each is yielded while the next one runs on the device."""

    def __init__(self, config: Config, programs: Programs, state: TrainState, episodes: int) -> None:
        self._config = config
        self._programs = programs
        self.state = state
        self._episodes = episodes
        self.stopped_by: int | None = None

    def chunks(self, stop_signal: StopSignal) -> Iterator[Chunk]:
        """Train to the run's end, or until `stop_signal` returns a number or the run diverges."""
        config, programs, pending = self._config, self._programs, None
        key = evaluation_key(seed_key(config.seed))
        for end in chunk_ends(config, int(self.state.vector_step)):
            self.state, log = programs.train_chunk(self.state)
            progression = programs.snapshot(self.state.learner)
            due = evaluation_due(config, end)
            evaluation = programs.evaluate(progression.params, jax.random.clone(key)) if due else None
            if pending is not None:
                yield pending
            # Here the host waits for the chunk, and copies the state if needed before the next one donates it.
            log = jax.tree.map(gather, log)
            before, self._episodes = self._episodes, self._episodes + int(np.sum(jax.device_get(log.finished)))
            self.stopped_by = max_over_processes(stop_signal())
            diverged = int(progression.faults.streak) >= config.max_bad_updates
            last = end == config.env_steps or self.stopped_by is not None or diverged
            save = last or self._episodes // config.save_interval > before // config.save_interval
            state = state_arrays(self.state, config.checkpoint_replay or diverged) if save else None
            pending = Chunk(end, log, progression, evaluation, state, diverged)
            if last:
                break
        if pending is not None:
            yield pending
