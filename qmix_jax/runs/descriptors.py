"""The limit on open files of this process, and the number of runs that fit in it."""

import resource

from qmix_jax.config import Config
from qmix_jax.runs.dashboards import EXTRAS

_RUN = 5  # per run: four logs and its lock
_RESERVE = 64  # Python, JAX and one checkpoint at a time: 20 when measured, plus room for libraries


def raise_limit() -> None:
    """Raise the limit of this process and its children to the maximum. For programs, not libraries."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass  # macOS reports a limit that it does not grant


def needed_descriptors(config: Config, runs: int) -> int:
    """Return the number of open files of a process that trains `runs` runs at once."""
    return _RESERVE + runs * (_RUN + sum(bool(getattr(config, name)) for name in EXTRAS))


def fitting_runs(config: Config) -> float:
    """Return the number of runs of this configuration that the limit allows."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return max(0, limit - _RESERVE) // (needed_descriptors(config, 1) - _RESERVE)
