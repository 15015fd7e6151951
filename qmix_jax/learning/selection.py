"""Choice between two pytrees, as a whole or environment by environment."""

from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

from qmix_jax.types import Array

Tree = TypeVar("Tree")


def select(flags: Array, on_true: Tree, on_false: Tree) -> Tree:
    """Leaf by leaf, row e of `on_true` where `flags[e]`, else of `on_false`: bool[E], leaves [E, ...].

    A single flag, bool[], chooses all of one or of the other.
    """
    chex.assert_type(flags, jnp.bool_)

    def choose(one: Array, other: Array) -> Array:
        return jnp.where(jnp.expand_dims(flags, tuple(range(flags.ndim, one.ndim))), one, other)

    return jax.tree.map(choose, on_true, on_false)
