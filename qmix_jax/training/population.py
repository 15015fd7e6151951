"""A population of runs as one program: seeds and traceable settings along a leading axis of M members.

Shared counters have no such axis: if loop lengths differed between members, `vmap` would run every iteration for all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import Trainer, make_trainer
from qmix_jax.types import Array, EpisodeLog, Evaluation, Params, TrainState

AXIS = "members"
_SHARED = (
    "vector_step",
    "replay_start",
    "replay/current_index",
    "replay/running_index",
    "replay/is_full",
    "learner/updates",
    "learner/schedule",
)

Settings = Mapping[str, Array]  # float32[M] by name, for `Config.traced`


class Population(NamedTuple):
    """M vmapped runs as pure functions; see `Trainer` for a single run."""

    init: Callable[[Settings, Array], TrainState]  # (settings, keys [M]) -> state
    train_chunk: Callable[[Settings, TrainState], tuple[TrainState, EpisodeLog]]
    evaluate: Callable[[Settings, Params, Array], Evaluation]  # (settings, params, keys [M]) -> [M] each


def make_population(
    config: Config, environment: Environment, names: tuple[str, ...], num_devices: int = 1
) -> Population:
    """Build the population's functions from what its members share.

    Args:
        config: their settings, except those in `names`.
        environment: what they train on.
        names: settings that differ between members.
        num_devices: devices that train M / `num_devices` members each, without communication.
    """

    def trainer(settings: Settings) -> Trainer:
        return make_trainer(config.traced(settings), environment)

    def init(settings: Settings, key: Array) -> TrainState:
        return trainer(settings).init(key)

    axes = _member_axes(jax.eval_shape(init, {name: jnp.float32(0) for name in names}, seed_key(0)))
    return Population(
        init=_for_each(init, (0, 0), axes, num_devices),
        train_chunk=_for_each(
            lambda settings, state: trainer(settings).train_chunk(state), (0, axes), (axes, 0), num_devices
        ),
        evaluate=_for_each(
            lambda settings, params, key: trainer(settings).evaluate(params, key), (0, 0, 0), 0, num_devices
        ),
    )


def is_shared(name: str) -> bool:
    """Whether all members share the leaf of the state with this path, see `storage.arrays.named_arrays`."""
    return name.replace("replay/buffer/", "replay/").startswith(_SHARED)  # the path within `CutReplay`


def stack_states(states: Sequence[TrainState]) -> TrainState:
    """Stack the states of single runs at the same step: NumPy leaves and typed keys."""

    def stack(axis: int | None, *leaves: Any) -> Any:
        if axis is None:
            return leaves[0]
        return jnp.stack(leaves) if isinstance(leaves[0], jax.Array) else np.stack(leaves)

    return jax.tree.map(stack, _member_axes(states[0]), *states, is_leaf=_is_none)


def _member_axes(state: TrainState) -> Any:
    """Return 0 for leaves with a member axis and None for shared leaves."""

    def axis(path: Any, _: Any) -> int | None:
        return None if is_shared(jax.tree_util.keystr(path, simple=True, separator="/")) else 0

    return jax.tree_util.tree_map_with_path(axis, state)


def _for_each(function: Callable[..., Any], in_axes: Any, out_axes: Any, num_devices: int) -> Callable[..., Any]:
    """Map a function of one member over all members, each device over its share.

    Accelerators vmap. CPU cores loop: batched matrix products are slower there than one member's after another's.
    """
    mapped = (_one_by_one if jax.default_backend() == "cpu" else jax.vmap)(function, in_axes, out_axes)
    if num_devices == 1:
        return mapped
    mesh = Mesh(np.array(jax.local_devices()[:num_devices]), (AXIS,))
    in_specs, out_specs = (
        jax.tree.map(lambda axis: PartitionSpec() if axis is None else PartitionSpec(AXIS), tree, is_leaf=_is_none)
        for tree in (in_axes, out_axes)
    )
    return jax.shard_map(mapped, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _one_by_one(function: Callable[..., Any], in_axes: Any, out_axes: Any) -> Callable[..., Any]:
    """Return the equivalent of `jax.vmap` for axes 0 or None, as a loop over the members."""

    def mapped(*arguments: Any) -> Any:
        axes = _broadcast(in_axes, arguments)
        own = jax.tree.map(lambda axis, leaf: None if axis is None else leaf, axes, arguments, is_leaf=_is_none)

        def member(own: Any) -> Any:
            whole = jax.tree.map(
                lambda axis, mine, leaf: leaf if axis is None else mine, axes, own, arguments, is_leaf=_is_none
            )
            return function(*whole)

        results = jax.lax.map(member, own)
        return jax.tree.map(
            lambda axis, leaf: leaf if axis == 0 or leaf is None else leaf[0],
            _broadcast(out_axes, results),
            results,
            is_leaf=_is_none,
        )

    return mapped


def _broadcast(axes: Any, tree: Any) -> Any:
    """Expand prefix axes to every leaf of a tree."""
    return jax.tree.map(lambda axis, branch: jax.tree.map(lambda _: axis, branch), axes, tree, is_leaf=_is_none)


def _is_none(node: Any) -> bool:
    return node is None
