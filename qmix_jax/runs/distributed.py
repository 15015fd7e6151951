"""One run over several processes, on as many machines: how they find each other. JAX's own runtime does the rest.

What it imports at the top must stay light, see `train`.
"""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from qmix_jax.settings import ConfigError

FLAGS = {
    "coordinator": (
        "HOST:PORT|auto",
        "one run, or sweep, by several processes: where the first listens; auto: ask SLURM, MPI, TPU",
    ),
    "num_processes": ("N", "with --coordinator HOST:PORT: how many processes there are"),
    "process_id": ("N", "with --coordinator HOST:PORT: which of them this is, from 0"),
}
HEARTBEAT_SECONDS = 30  # a process that is silent for so long is taken for dead, and the others end
_AGREED = (0, 3, 130, 143)  # exit statuses that all processes end with: done, diverged, asked to stop
_LOOPBACK = ("127.0.0.1", "localhost")


class Machines(NamedTuple):
    """The processes of a run as one of them was told of them."""

    coordinator: str  # "auto": what SLURM, MPI or the TPU's own service knows
    num_processes: int | None  # None with "auto"
    process_id: int | None


def take_machines(arguments: dict[str, Any]) -> Machines | None:
    """Take the flags of this module out of `arguments`, texts by name. None: this is the run's only process.

    Raises:
        ConfigError: one of them is missing or is not accepted.
    """
    given = {name: arguments.pop(name) for name in FLAGS if name in arguments}
    if not given:
        return None
    wanted = ("coordinator",) if given.get("coordinator") == "auto" else tuple(FLAGS)
    for name in FLAGS:
        if (name in given) != (name in wanted):
            raise ConfigError(
                f"--{name}{f' {given[name]}' if name in given else ''}: --coordinator auto stands alone; "
                "--coordinator HOST:PORT, --num_processes and --process_id come together"
            )
    if wanted == ("coordinator",):
        return Machines("auto", None, None)
    host, _, port = given["coordinator"].rpartition(":")
    if not host or not _is_number(port, 1, 65_535):
        raise ConfigError(f"--coordinator {given['coordinator']}: must be auto or HOST:PORT, such as 10.0.0.1:29500")
    count = _read_number(given, "num_processes", 1, 1024)
    return Machines(given["coordinator"], count, _read_number(given, "process_id", 0, count - 1))


def local_devices(machines: Machines | None, num_devices: int) -> int:
    """How many of the run's devices are this process's, where the user says how many processes there are.

    Raises:
        ConfigError: processes cannot have as many each.
    """
    processes = 1 if machines is None or machines.num_processes is None else machines.num_processes
    if num_devices % processes:
        raise ConfigError(f"--num_devices {num_devices}: must be a multiple of --num_processes {processes}")
    return num_devices // processes


def join(machines: Machines) -> None:
    """Wait for the other processes; afterwards JAX's devices are those of all. Only the first goes on printing.

    It changes JAX's global state before JAX first looks for devices, so it is for programs to call.

    Raises:
        ConfigError: nothing says where the others are, or they did not come.
    """
    import jax

    host = machines.coordinator.rpartition(":")[0]
    listens = machines.coordinator if host in _LOOPBACK else None  # None: on all of the machine's addresses
    where = None if machines.coordinator == "auto" else machines.coordinator
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from `signals`
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
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


def leave() -> None:
    """Shut down the connection that `join` made. All joined processes have to call it, and cannot use JAX after it."""
    import jax

    jax.distributed.shutdown()


def end_joined(act: Callable[[], int]) -> int:
    """The exit status that `act` returns, but a process that was joined to others ends here if it fails by itself.

    An ordinary exit would wait for the others, who wait for this one.
    """
    try:
        status = act()
    except Exception as error:
        if not _is_joined():
            raise
        if isinstance(error, sys.modules["jax"].errors.JaxRuntimeError):
            reason = " ".join(str(error).split())[:200]
            print(
                f"error: another process of the run seems to have ended ({reason}); --resume goes on", file=sys.stderr
            )
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
