"""The compiled functions of a group of members, and its training in chunks; `runs.loop` is that of one run."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.experiments.plan import Group, member_values
from qmix_jax.runs.compilation import chunk_options, donated, naming_faults, snapshot
from qmix_jax.runs.loop import Chunk, chunk_ends, evaluation_due
from qmix_jax.runs.signals import StopSignal
from qmix_jax.storage.resume_point import STATE, state_arrays
from qmix_jax.training.evaluation import evaluation_key
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.population import is_shared, make_population
from qmix_jax.types import EpisodeLog, Evaluation, Progression, TrainState


class GroupPrograms(NamedTuple):
    """Compiled functions, bound to the members' settings and keys. Groups of equal shape share the compiled code."""

    init: Any  # () -> TrainState
    train_chunk: Any  # TrainState (donated) -> (TrainState, EpisodeLog)
    evaluate: Any  # Params -> Evaluation
    snapshot: Any  # LearnerState -> Progression
    shardings: Any  # TrainState of each array's sharding
    rows: int  # members, padded to a multiple of the devices


def compile_group(group: Group, environment: Environment) -> GroupPrograms:
    """Compile a group's functions for all local devices, or for as many as there are members."""
    devices = min(len(group.members), jax.local_device_count())
    # Every device needs the same number of members: copies of the last one fill up.
    filled = group._replace(members=group.members + group.members[-1:] * (-len(group.members) % devices))
    members = make_population(group.members[0].config, environment, group.names, devices)
    settings = {name: jnp.array(values, jnp.float32) for name, values in member_values(filled).items()}
    keys = jnp.stack([seed_key(member.config.seed) for member in filled.members])
    eval_keys = jnp.stack([evaluation_key(seed_key(member.config.seed)) for member in filled.members])

    init = jax.jit(members.init).lower(settings, keys).compile()
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(members.init, settings, keys),
        init.output_shardings,
    )
    shardings, options = init.output_shardings, chunk_options(devices)
    chunk = jax.jit(members.train_chunk, donate_argnums=donated(1)).lower(settings, state).compile(options)
    evaluate = jax.jit(members.evaluate).lower(settings, state.learner.params, eval_keys).compile()
    chunk_settings, eval_settings, eval_keys = jax.device_put(
        (settings, settings, eval_keys),
        (chunk.input_shardings[0][0], evaluate.input_shardings[0][0], evaluate.input_shardings[0][2]),
    )
    init, chunk, evaluate = map(naming_faults, (init, chunk, evaluate))
    return GroupPrograms(
        init=lambda: init(settings, keys),
        train_chunk=lambda state: chunk(chunk_settings, state),
        evaluate=lambda params: evaluate(eval_settings, params, eval_keys),
        snapshot=jax.jit(snapshot).lower(state.learner).compile(),
        shardings=shardings,
        rows=len(filled.members),
    )


class GroupChunk(NamedTuple):
    """Results of one compiled call for all members, fetched to the host while the next call runs."""

    env_steps: int  # of every member, at its end
    log: EpisodeLog  # [M, C, E]
    progression: Progression  # [M], but for `updates`
    evaluation: Evaluation | None  # [M], None where none was due
    state: dict[str, np.ndarray] | None  # TrainState of all, where checkpoints are due
    diverged: np.ndarray  # bool[M], at the last chunk: members stopped by updates that were not finite

    def of_member(self, member: int) -> Chunk:
        """Return one member's part, of a chunk on the host."""
        log, evaluation, (params, updates, faults) = self.log, self.evaluation, self.progression
        own_log, own_evaluation, own_params, own_faults = jax.tree.map(
            lambda leaf: leaf[member], (log, evaluation, params, faults)
        )
        state = None if self.state is None else member_state(self.state, member)
        progression = Progression(own_params, updates, own_faults)
        return Chunk(self.env_steps, own_log, progression, own_evaluation, state, bool(self.diverged[member]))


class GroupLoop:
    """Trains all members chunk by chunk. Each chunk is handed over while the next one runs.

    Args:
        config: settings that the members have in common.
        programs: the group's compiled functions.
        state: the members' training state.
        size: how many rows of the state are members, not padding.
        episodes: how many episodes all members together have finished so far.
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

        A checkpoint is due whenever the members have finished `save_interval` more episodes on average.
        """
        config, programs, pending = self._config, self._programs, None
        interval = config.save_interval * self._size
        for end in chunk_ends(config, int(self.state.vector_step)):
            self.state, log = programs.train_chunk(self.state)
            progression = programs.snapshot(self.state.learner)
            evaluation = programs.evaluate(progression.params) if evaluation_due(config, end) else None
            if pending is not None:
                yield jax.device_get(pending)
            # The host waits for the chunk here. The next one donates the state, so a checkpoint copies it now.
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
    """Return the arrays of one member's checkpoint, from `state_arrays` of all members."""
    return {name: array if is_shared(name.removeprefix(STATE)) else array[member] for name, array in arrays.items()}
