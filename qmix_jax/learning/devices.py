"""What one device of several does with its own share: rows, random numbers, and the mean with the others."""

import jax

from qmix_jax.types import Array

AXIS = "devices"


def own_share(rows: Array, num_devices: int) -> Array:
    """The device's part of [K, ...], K / `num_devices` rows. Inside `over_devices` or `evaluated_by_devices`."""
    if num_devices == 1:
        return rows
    size = rows.shape[0] // num_devices
    return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(AXIS) * size, size)


def first_environment(num_envs: int, num_devices: int) -> Array | int:
    """Number of a device's first environment, of which it has `num_envs`. Inside `over_devices`."""
    return 0 if num_devices == 1 else jax.lax.axis_index(AXIS) * num_envs


def own_key(key: Array, num_devices: int) -> Array:
    """A key of the device's own, from one that all have. Inside `over_devices`."""
    return key if num_devices == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def mean_over_devices(vector: Array, num_devices: int) -> Array:
    """Average of the devices' vectors. Inside `over_devices` or `evaluated_by_devices`."""
    return vector if num_devices == 1 else jax.lax.pmean(vector, AXIS)
