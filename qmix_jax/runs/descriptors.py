"""How many files this process may hold open at once, and how many runs that is enough for."""

import resource

from qmix_jax.config import Config
from qmix_jax.runs.dashboards import EXTRAS

_RUN = 5  # of a run: four logs and its lock
_RESERVE = 64  # Python, JAX and one checkpoint at a time: 20 where they were counted, and room for libraries


def raise_limit() -> None:
    """Raise this process's limit, and that of the processes that it starts, as far as it may. For programs to call."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass  # macOS names a limit that it does not grant


def needed_descriptors(config: Config, runs: int) -> int:
    """Files that a process has open which trains so many runs at once."""
    return _RESERVE + runs * (_RUN + sum(bool(getattr(config, name)) for name in EXTRAS))


def fitting_runs(config: Config) -> float:
    """How many runs of this configuration a process has files for."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return float("inf")
    return max(0, limit - _RESERVE) // (needed_descriptors(config, 1) - _RESERVE)
