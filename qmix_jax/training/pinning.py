"""JAX's settings that would change numbers, pinned: a run depends on its configuration, not on the shell's JAX_*.

Training is in 32 bits and its random numbers are threefry's, whatever JAX_ENABLE_X64, JAX_DEFAULT_PRNG_IMPL,
JAX_THREEFRY_PARTITIONABLE and JAX_RANDOM_SEED_OFFSET say.
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
    """Trace, compile and run under the pinned settings. A context and a decorator; nothing global is changed."""
    with jax.enable_x64(False), jax.threefry_partitionable(True), jax.default_prng_impl(PRNG_IMPL):
        yield


def seed_key(seed: int) -> Array:
    """Return the key[] that `jax.random.key(seed)` is where no shell has changed JAX's settings."""
    return wrap_key(jnp.array([0, seed], jnp.uint32))


def wrap_key(data: Array) -> Array:
    """Return the typed keys [...] of `jax.random.key_data`, uint32[..., 2]."""
    return jax.random.wrap_key_data(data, impl=PRNG_IMPL)
