"""Run functions in fresh processes, so that no compilation or allocation of one affects the next."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")
_LONGEST_WAIT = 1_800  # seconds
_barriers: list[Barrier] = []  # of this process, if it is one of several


def run_alone(function: Callable[..., Any], *arguments: Any, cache: str | None = None) -> Any:
    """Run `function(*arguments)` in its own process; `cache` is JAX's compilation cache, by default none."""
    with _compilation_cache(cache), ProcessPoolExecutor(1, mp_context=_SPAWN) as pool:
        return pool.submit(function, *arguments).result()


def run_side_by_side(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run `function` with each of `calls` at once, a process each; in them, `wait_for_others` waits for all."""
    barrier = _SPAWN.Barrier(len(calls))
    pool = ProcessPoolExecutor(len(calls), mp_context=_SPAWN, initializer=_keep, initargs=(barrier,))
    with _compilation_cache(None), pool:
        return [future.result() for future in [pool.submit(function, *arguments) for arguments in calls]]


def wait_for_others() -> None:
    """Wait until every process of `run_side_by_side` has reached this call."""
    _barriers[0].wait(_LONGEST_WAIT)


def _keep(barrier: Barrier) -> None:
    _barriers.append(barrier)


@contextmanager
def _compilation_cache(folder: str | None) -> Iterator[None]:
    """Set JAX's compilation cache in processes that are started now, by default none."""
    name = "JAX_COMPILATION_CACHE_DIR"  # JAX reads it when the child imports it
    before = os.environ.pop(name, None)
    if folder is not None:
        os.environ[name] = folder
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def run_within(seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run `function(*arguments)` in its own process, which is ended after `seconds`.

    Raises:
        TimeoutError: it took longer.
        RuntimeError: it raised, whose type and first line are the message, or its process ended.
    """
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_send_result, args=(sender, function, arguments))
    with _compilation_cache(None):
        process.start()
    sender.close()  # only the child's end is left: if it closes, the child has ended
    try:
        if not receiver.poll(max(0.0, seconds)):
            raise TimeoutError(f"not finished after {seconds:.0f} s")
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"its process ended with exit status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if error is not None:
        raise RuntimeError(error)
    return result


def _send_result(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        sender.send((function(*arguments), None))
    except Exception as error:  # as text: not every exception can be sent
        sender.send((None, describe_error(error)))


def describe_error(error: Exception) -> str:
    """Return an exception's type and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]
