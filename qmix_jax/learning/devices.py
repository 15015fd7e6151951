"""Per-device helpers for runs over several devices: local rows, local random numbers, means over devices."""

import jax

from qmix_jax.types import Array

AXIS = "devices"


def own_share(rows: Array, num_devices: int) -> Array:
    """Return this device's K / `num_devices` rows of [K, ...]. Inside `over_devices` or `evaluated_by_devices`."""
    if num_devices == 1:
        return rows
    size = rows.shape[0] // num_devices
    return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(AXIS) * size, size)


def first_environment(num_envs: int, num_devices: int) -> Array | int:
    """Return the index of this device's first of `num_envs` environments. Inside `over_devices`."""
    return 0 if num_devices == 1 else jax.lax.axis_index(AXIS) * num_envs


def own_key(key: Array, num_devices: int) -> Array:
    """Derive this device's key from the shared one. Inside `over_devices`."""
    return key if num_devices == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def mean_over_devices(vector: Array, num_devices: int) -> Array:
    """Average a vector over the devices. Inside `over_devices` or `evaluated_by_devices`."""
    return vector if num_devices == 1 else jax.lax.pmean(vector, AXIS)
