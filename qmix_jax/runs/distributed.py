"""One run over several processes or machines: flags and setup of `jax.distributed`.

Keep top-level imports light, see `train`.
"""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from qmix_jax.errors import ConfigError

FLAGS = {
    "coordinator": (
        "HOST:PORT|auto",
        "one run over several processes: address of the first; auto: from SLURM, MPI or TPU",
    ),
    "num_processes": ("N", "with --coordinator HOST:PORT: number of processes"),
    "process_id": ("N", "with --coordinator HOST:PORT: index of this process, from 0"),
}
HEARTBEAT_SECONDS = 30  # a process without a heartbeat for so long counts as dead, and the others end
_AGREED = (0, 3, 130, 143)  # exit statuses that all processes share: done, diverged, stopped by a signal
_LOOPBACK = ("127.0.0.1", "localhost")


class Machines(NamedTuple):
    """The processes of a run, as given by one process's flags."""

    coordinator: str  # "auto": as reported by SLURM, MPI or the TPU service
    num_processes: int | None  # None with "auto"
    process_id: int | None


def take_machines(arguments: dict[str, Any]) -> Machines | None:
    """Remove this module's flags from `arguments`, strings by name. None: this is the run's only process.

    Raises:
        ConfigError: a flag is missing or invalid.
    """
    given = {name: arguments.pop(name) for name in FLAGS if name in arguments}
    if not given:
        return None
    wanted = ("coordinator",) if given.get("coordinator") == "auto" else tuple(FLAGS)
    for name in FLAGS:
        if (name in given) != (name in wanted):
            raise ConfigError(
                f"--{name}{f' {given[name]}' if name in given else ''}: --coordinator auto excludes "
                "--num_processes and --process_id, --coordinator HOST:PORT requires both"
            )
    if wanted == ("coordinator",):
        return Machines("auto", None, None)
    host, _, port = given["coordinator"].rpartition(":")
    if not host or not _is_number(port, 1, 65_535):
        raise ConfigError(f"--coordinator {given['coordinator']}: must be auto or HOST:PORT, such as 10.0.0.1:29500")
    count = _read_number(given, "num_processes", 1, 1024)
    return Machines(given["coordinator"], count, _read_number(given, "process_id", 0, count - 1))


def local_devices(machines: Machines | None, num_devices: int) -> int:
    """Return the number of the run's devices that belong to this process.

    Raises:
        ConfigError: the devices cannot be divided evenly among the processes.
    """
    processes = 1 if machines is None or machines.num_processes is None else machines.num_processes
    if num_devices % processes:
        raise ConfigError(f"--num_devices {num_devices}: must be a multiple of --num_processes {processes}")
    return num_devices // processes


def join(machines: Machines) -> None:
    """Join the other processes, so that JAX sees the devices of all. Only the first keeps its standard output.

    For programs, not libraries: it changes JAX's global state, and must run before JAX's backend starts.

    Raises:
        ConfigError: the other processes are unknown or did not join.
    """
    import jax

    host = machines.coordinator.rpartition(":")[0]
    listens = machines.coordinator if host in _LOOPBACK else None  # None: all addresses of the machine
    where = None if machines.coordinator == "auto" else machines.coordinator
    jax.config.update("jax_enable_preemption_service", False)  # it would take over SIGTERM from `signals`
    try:
        jax.distributed.initialize(
            where,
            machines.num_processes,
            machines.process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            coordinator_bind_address=listens,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"--coordinator {machines.coordinator}: {str(error).splitlines()[0][:200]}") from None
    if jax.process_index() > 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def end_joined(act: Callable[[], int]) -> int:
    """Return the exit status of `act`; if this process alone fails, exit at once.

    An ordinary exit would deadlock: it waits for the other processes, which wait for this one.
    """
    try:
        status = act()
    except Exception as error:
        if not _is_joined():
            raise
        if isinstance(error, sys.modules["jax"].errors.JaxRuntimeError):
            reason = " ".join(str(error).split())[:200]
            print(f"error: lost connection to a peer ({reason}); continue with --resume", file=sys.stderr)
        else:
            traceback.print_exc()
        status = 1
    if status not in _AGREED and _is_joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _is_joined() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def _is_number(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdecimal() and least <= int(text[:10]) <= most


def _read_number(given: dict[str, str], name: str, least: int, most: int) -> int:
    if not _is_number(given[name], least, most):
        raise ConfigError(f"--{name} {given[name]}: must be a whole number, at least {least} and at most {most}")
    return int(given[name])
