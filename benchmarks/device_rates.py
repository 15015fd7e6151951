"""What a device can do by itself: rates of a large product and a large copy, and the cost of a loop's iteration."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from measuring import Options, spread

from qmix_jax.types import Array

_LONG_ENOUGH = 0.05  # seconds of a product or copy that are not the cost of starting it


def describe_device() -> dict[str, Any]:
    """Return what is known of the device that JAX finds."""
    device = jax.local_devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "devices": jax.local_device_count(),
        "memory_mib": (device.memory_stats() or {}).get("bytes_limit", 0) / 2**20 or None,
        "runtime": device.client.platform_version,
    }


def measure_device(product: int, copy: int, turns: int, options: Options) -> dict[str, Any]:
    """Measure the device's ceilings: products, copies, and iterations of loops.

    Args:
        product: largest side of the matrices that are multiplied.
        copy: largest number of float32 that are copied.
        turns: iterations of the loops.
        options: repetitions, and five times the seconds of one.
    """
    options = options._replace(seconds=options.seconds / 5)
    figures: dict[str, Any] = {"device": describe_device()}
    for precision in ("default", "highest"):
        figures[f"product_{precision}"] = product_rate(product, precision, options)
    figures["copy"] = copy_rate(copy, options)
    for name, is_known in (("known", True), ("unknown", False)):
        work = loop_work(turns, is_known)
        rates = options.interleave({name: work})[name]
        figures[f"loop_{name}"] = spread(1 / rate for rate in rates)
    return figures


def product_rate(largest: int, precision: str, options: Options) -> dict[str, Any]:
    """Measure operations/s of the product of two square float32 matrices, at the size where they are highest.

    Sizes double until one product takes long, or to `largest`.
    """
    best: dict[str, Any] = {}
    side = min(512, largest)
    while side <= largest:
        left, right = jax.random.normal(jax.random.key(0), (2, side, side))
        work = call_work(jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision)), (left, right), 2 * side**3)
        rate = spread(options.interleave({"": work})[""])
        if not best or rate.median > best["per_second"].median:
            best = {"side": side, "per_second": rate}
        if 2 * side**3 / rate.median > _LONG_ENOUGH:
            break
        side *= 2
    return best


def copy_rate(largest: int, options: Options) -> dict[str, Any]:
    """Measure the bytes/s that are read and written together, of the largest array that does not take long."""
    add_one = jax.jit(lambda x: x + 1.0, donate_argnums=0)  # in place: a CPU would also have to find new memory
    size = min(2**22, largest)
    while True:
        array = jnp.zeros(size)

        def work() -> float:
            nonlocal array
            array = jax.block_until_ready(add_one(array))
            return 2 * array.nbytes

        rate = spread(options.interleave({"": work})[""])
        if 2 * size > largest or 2 * array.nbytes / rate.median > _LONG_ENOUGH:
            return {"mib": array.nbytes / 2**20, "per_second": rate}
        size *= 2


def call_work(function: Callable[..., Any], arguments: tuple[Any, ...], amount: float) -> Callable[[], float]:
    """Call a function and wait for it, which is `amount` of work."""

    def work() -> float:
        jax.block_until_ready(function(*arguments))
        return amount

    return work


def loop_work(turns: int, is_known: bool) -> Callable[[], float]:
    """Run `turns` iterations of a loop around a small product; XLA knows their number, or learns it on the device."""
    matrix = jnp.eye(64)

    def body(_: Array, carry: Array) -> Array:
        return jnp.matmul(carry, carry)

    def call(matrix: Array, count: Array) -> Array:
        return jax.lax.fori_loop(0, turns if is_known else count, body, matrix)

    return call_work(jax.jit(call), (matrix, jnp.int32(turns)), turns)
