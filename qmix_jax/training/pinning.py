"""Pinned JAX settings: a run depends on its configuration, not on JAX_* variables of the shell.

Training uses 32 bits and threefry, whatever JAX_ENABLE_X64, JAX_DEFAULT_PRNG_IMPL, JAX_THREEFRY_PARTITIONABLE and
JAX_RANDOM_SEED_OFFSET are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp

from qmix_jax.types import Array

PRNG_IMPL = "threefry2x32"
SETTINGS = {"jax_enable_x64": False, "jax_threefry_partitionable": True, "jax_default_prng_impl": PRNG_IMPL}


@contextmanager
def pinned() -> Iterator[None]:
    """Trace, compile and run under the pinned settings, as a context or decorator. Changes no global state."""
    with jax.enable_x64(False), jax.threefry_partitionable(True), jax.default_prng_impl(PRNG_IMPL):
        yield


def seed_key(seed: int) -> Array:
    """Return the key[] of `jax.random.key(seed)` under JAX's default settings."""
    return wrap_key(jnp.array([0, seed], jnp.uint32))


def wrap_key(data: Array) -> Array:
    """Convert `jax.random.key_data`, uint32[..., 2], to typed keys [...]."""
    return jax.random.wrap_key_data(data, impl=PRNG_IMPL)
