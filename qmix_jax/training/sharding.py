"""Data parallelism over several devices: environments, replay and batch are sharded, the learner is replicated.

Every device steps its share of the environments, stores their transitions, and draws its share of each batch from them.
Gradients are averaged over the devices, so all replicas make the same update. Evaluation episodes are sharded too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flashbax.buffers.trajectory_buffer import TrajectoryBufferState
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qmix_jax.errors import ConfigError
from qmix_jax.learning.devices import AXIS
from qmix_jax.types import Array, CutReplay, EpisodeLog, Evaluation, Params, TrainState

_COPIED = PartitionSpec()
_BY_ENVIRONMENT = PartitionSpec(AXIS)
_LOG_BY_ENVIRONMENT = PartitionSpec(None, AXIS)  # [C, E]

_BUFFER = TrajectoryBufferState(experience=_BY_ENVIRONMENT, current_index=_COPIED, is_full=_COPIED)
_parts: dict[str, Any] = {
    "key": _COPIED,
    "vector_step": _COPIED,
    "env_state": _BY_ENVIRONMENT,
    "time_step": _BY_ENVIRONMENT,
    "replay_start": _COPIED,
    "replay": _BUFFER,
    "exploration": _BY_ENVIRONMENT,
    "memory": _BY_ENVIRONMENT,
    "learner": _COPIED,
    "episodes": _BY_ENVIRONMENT,
}
_STATE = TrainState(**_parts)
_CUT_STATE = replace(_STATE, replay=CutReplay(_BUFFER, _BY_ENVIRONMENT))  # type: ignore[arg-type]
_columns: dict[str, Any] = {
    "finished": _LOG_BY_ENVIRONMENT,
    "episode_return": _LOG_BY_ENVIRONMENT,
    "episode_length": _LOG_BY_ENVIRONMENT,
    "epsilon": _COPIED,
    "updates": _LOG_BY_ENVIRONMENT,
    "num_updates": _LOG_BY_ENVIRONMENT,
    "step_updates": _COPIED,
    "num_step_updates": _COPIED,
}
_LOG = EpisodeLog(**_columns)

Chunk = Callable[[TrainState], tuple[TrainState, EpisodeLog]]
Evaluate = Callable[[Params, Array], Evaluation]


def split_state(state: TrainState, num_devices: int) -> TrainState:
    """Shard a state over the first `num_devices` devices; call it under jit."""
    if num_devices == 1:
        return state
    mesh = _mesh(num_devices)

    def place(spec: PartitionSpec, part: Any) -> Any:
        return jax.lax.with_sharding_constraint(part, NamedSharding(mesh, spec))

    layout = _layout(isinstance(state.replay, CutReplay))
    return jax.tree.map(place, layout, state, is_leaf=lambda node: isinstance(node, PartitionSpec))


def over_devices(chunk: Chunk, num_devices: int, bootstraps_at_limit: bool) -> Chunk:
    """Run `chunk` on every device's share of the state, with local shapes: E / `num_devices` environments.

    `bootstraps_at_limit`: whether the state's replay is a `CutReplay`.
    """
    if num_devices == 1:
        return chunk
    layout = _layout(bootstraps_at_limit)
    # Without check_vma gradients stay local: we average them as one vector, in a single collective.
    return jax.shard_map(chunk, mesh=_mesh(num_devices), in_specs=(layout,), out_specs=(layout, _LOG), check_vma=False)


def evaluated_by_devices(evaluate: Evaluate, num_devices: int) -> Evaluate:
    """Run `evaluate` on every device with its `own_share` of the episodes, returning means over all of them."""
    if num_devices == 1:
        return evaluate
    inputs = (_COPIED, _COPIED)
    return jax.shard_map(evaluate, mesh=_mesh(num_devices), in_specs=inputs, out_specs=_COPIED, check_vma=False)


def check_devices(num_devices: int) -> None:
    """Refuse more devices than exist; several processes must use all of theirs.

    Raises:
        ConfigError: naming the flag.
    """
    if num_devices > jax.device_count():
        raise ConfigError(
            f"--num_devices {num_devices}: must be at most {jax.device_count()}, "
            f"the number of devices of JAX's backend {jax.default_backend()}"
        )
    if jax.process_count() > 1 and num_devices != jax.device_count():
        raise ConfigError(
            f"--num_devices {num_devices}: must be {jax.device_count()} or all, the number of devices of "
            f"the {jax.process_count()} processes"
        )


def _layout(with_final_steps: bool) -> TrainState:
    return _CUT_STATE if with_final_steps else _STATE


def _mesh(num_devices: int) -> Mesh:
    check_devices(num_devices)
    return Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))
