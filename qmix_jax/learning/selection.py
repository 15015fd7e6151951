"""Selection between two pytrees, whole or row by row."""

from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

from qmix_jax.types import Array

Tree = TypeVar("Tree")


def select(flags: Array, on_true: Tree, on_false: Tree) -> Tree:
    """Select row e of every leaf from `on_true` where `flags[e]`, else from `on_false`: bool[E], leaves [E, ...].

    A scalar flag, bool[], selects whole trees.
    """
    chex.assert_type(flags, jnp.bool_)

    def choose(one: Array, other: Array) -> Array:
        return jnp.where(jnp.expand_dims(flags, tuple(range(flags.ndim, one.ndim))), one, other)

    return jax.tree.map(choose, on_true, on_false)
