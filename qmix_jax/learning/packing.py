"""Parameters as one vector, the form in which updates change them: the optimiser's arithmetic is then a few kernels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from qmix_jax.types import Array, CentralValue, LearnerState, Params

State = TypeVar("State", LearnerState, CentralValue)


class Packing(NamedTuple):
    """The two directions between a tree of parameters and a vector of its P numbers, in the order of its leaves."""

    pack: Callable[[Params], Array]  # params -> float32[P]
    unpack: Callable[[Array], Params]  # float32[P] -> params


def make_packing(init: Callable[[Array], Params]) -> Packing:
    """Build the packing of the parameters that `init` makes of a key."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(init, jax.random.key(0)))
    ends = np.cumsum([leaf.size for leaf in leaves])

    @jax.named_scope("parameters")
    def pack(params: Params) -> Array:
        parts = [leaf.reshape(-1) for leaf in jax.tree.leaves(params)]
        return jnp.concatenate(parts) if parts else jnp.zeros(0)

    @jax.named_scope("parameters")
    def unpack(vector: Array) -> Params:
        parts = jnp.split(vector, ends[:-1])
        return jax.tree.unflatten(structure, [x.reshape(y.shape) for x, y in zip(parts, leaves, strict=True)])

    return Packing(pack, unpack)


def change_parameters(state: State, change: Callable[[Any], Any]) -> State:
    """Apply one direction of a packing to the parameters and target parameters of a state, if it has these."""
    target_params = None if state.target_params is None else change(state.target_params)
    return replace(state, params=change(state.params), target_params=target_params)
