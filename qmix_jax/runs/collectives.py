"""Communication between the processes of a run, outside compiled programs; none with a single process."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from qmix_jax.errors import RunError
from qmix_jax.training.pinning import wrap_key

_LONGEST = 4096  # bytes of a broadcast text


def is_first() -> bool:
    """Whether this process writes the run's files and prints."""
    return jax.process_index() == 0


def place(tree: Any, shardings: Any) -> Any:
    """Shard a tree that is the same in all processes over all their devices, like `jax.device_put`."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    return jax.tree.map(_place_leaf, tree, shardings)


def max_over_processes(number: int | None) -> int | None:
    """Return the largest of the processes' numbers; None if all are None."""
    if jax.process_count() == 1:
        return number
    found = int(np.max(multihost_utils.process_allgather(np.int32(-1 if number is None else number))))
    return None if found < 0 else found


def broadcast_from_first(act: Callable[[], str]) -> str:
    """Call `act` in the first process and return its result in all of them.

    Raises:
        RunError: in the other processes, if `act` failed; the first raises the exception of `act`.
    """
    if jax.process_count() == 1:
        return act()
    message = np.zeros(_LONGEST, np.uint8)
    failure = None
    if is_first():
        try:
            text = np.frombuffer(act().encode(errors="surrogateescape"), np.uint8)
            message[0], message[1 : 1 + text.size] = 1, text
        except Exception as error:
            failure = error
    message = np.asarray(multihost_utils.broadcast_one_to_all(message))
    if failure is not None:
        raise failure
    if not message[0]:
        raise RunError("the first process failed; its error message gives the reason")
    return bytes(message[1:]).rstrip(b"\0").decode(errors="surrogateescape")


def _place_leaf(leaf: Any, sharding: Any) -> Any:
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.device_put(leaf, sharding)
    # device_put moves typed keys only to devices of this process.
    return wrap_key(jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding))
