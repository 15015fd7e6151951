"""Functions run in a fresh process each: what one of them compiled or allocated is not there in the next."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def run_alone(function: Callable[..., Any], *arguments: Any, cache: str | None = None) -> Any:
    """`function(*arguments)` in a process of its own; `cache` is JAX's compilation cache, by default none."""
    context = multiprocessing.get_context("spawn")
    environment = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    if cache is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache  # JAX reads it when the child imports it
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
        if environment is not None:
            os.environ["JAX_COMPILATION_CACHE_DIR"] = environment
