"""The chunks of a group of members one after another, see `loop` for those of one run."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from qmix_jax.config import Config
from qmix_jax.experiments.group_programs import GroupPrograms
from qmix_jax.runs.loop import Chunk, chunk_ends, evaluation_due
from qmix_jax.runs.signals import StopSignal
from qmix_jax.storage.resume_point import STATE, state_arrays
from qmix_jax.training.population import is_shared
from qmix_jax.types import EpisodeLog, Evaluation, Progression, TrainState


class GroupChunk(NamedTuple):
    """What one compiled call left of all members, on the host once the next call runs."""

    env_steps: int  # of every member, by its end
    log: EpisodeLog  # [M, C, E]
    progression: Progression  # [M], but for `updates`
    evaluation: Evaluation | None  # [M], None where none was due
    state: dict[str, np.ndarray] | None  # TrainState of all, where checkpoints are due
    diverged: np.ndarray  # bool[M], at the end: whose updates were not finite, so that they stand still

    def of_member(self, member: int) -> Chunk:
        """One member's part; call it on what `jax.device_get` returns."""
        log, evaluation, (params, updates, faults) = self.log, self.evaluation, self.progression
        own_log, own_evaluation, own_params, own_faults = jax.tree.map(
            lambda leaf: leaf[member], (log, evaluation, params, faults)
        )
        state = None if self.state is None else member_state(self.state, member)
        progression = Progression(own_params, updates, own_faults)
        return Chunk(self.env_steps, own_log, progression, own_evaluation, state, bool(self.diverged[member]))


class GroupLoop:
    """Chunks of all members, each handed over when the next one already runs.

    Args:
        config: what the members have in common.
        programs: their functions.
        state: where they stand.
        size: how many of the state's rows are members.
        episodes: how many they have finished by then, all together.
    """

    def __init__(self, config: Config, programs: GroupPrograms, state: TrainState, size: int, episodes: int) -> None:
        self._config = config
        self._programs = programs
        self._size = size
        self._episodes = episodes
        self.state = state
        self.stopped_by: int | None = None

    def chunks(self, stop_signal: StopSignal) -> Iterator[GroupChunk]:
        """Train to the members' end, or until `stop_signal` gives a number.

        Checkpoints are due when the members have finished `save_interval` more episodes, in the mean.
        """
        config, programs, pending = self._config, self._programs, None
        interval = config.save_interval * self._size
        for end in chunk_ends(config, int(self.state.vector_step)):
            self.state, log = programs.train_chunk(self.state)
            progression = programs.snapshot(self.state.learner)
            evaluation = programs.evaluate(progression.params) if evaluation_due(config, end) else None
            if pending is not None:
                yield jax.device_get(pending)
            # Here the host waits for the chunk; before the next one takes the state away, it is copied if need be.
            before, self._episodes = self._episodes, self._episodes + self._finished(log)
            self.stopped_by = stop_signal()
            ends = end == config.env_steps
            last = ends or self.stopped_by is not None
            save = last or self._episodes // interval > before // interval
            state = state_arrays(self.state, config.checkpoint_replay) if save else None
            diverged = np.asarray(progression.faults.streak) >= config.max_bad_updates
            pending = GroupChunk(end, log, progression, evaluation, state, diverged & ends)
            if last:
                break
        if pending is not None:
            yield jax.device_get(pending)

    def _finished(self, log: Any) -> int:
        return int(np.sum(jax.device_get(log.finished)[: self._size]))


def member_state(arrays: dict[str, np.ndarray], member: int) -> dict[str, np.ndarray]:
    """What a checkpoint of one member holds, from `state_arrays` of all."""
    return {name: array if is_shared(name.removeprefix(STATE)) else array[member] for name, array in arrays.items()}
