"""QMIX in JAX, fused into one jitted program. Importing this package does not import JAX; using it does."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qmix_jax.config import Config, ConfigError
from qmix_jax.presets import preset_config

if TYPE_CHECKING:
    from qmix_jax.reports.training import resume_run, run
    from qmix_jax.runs.policy import TrainedPolicy, load_policy
    from qmix_jax.runs.runner import RunResult
    from qmix_jax.storage.checkpoint import load_params
    from qmix_jax.training.program import RunMetrics, make_train
    from qmix_jax.training.trainer import Trainer, make_trainer

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "RunMetrics",
    "RunResult",
    "TrainedPolicy",
    "Trainer",
    "load_params",
    "load_policy",
    "make_train",
    "make_trainer",
    "preset_config",
    "resume_run",
    "run",
]

_HOMES = {
    "RunMetrics": "qmix_jax.training.program",
    "RunResult": "qmix_jax.runs.runner",
    "TrainedPolicy": "qmix_jax.runs.policy",
    "Trainer": "qmix_jax.training.trainer",
    "load_params": "qmix_jax.storage.checkpoint",
    "load_policy": "qmix_jax.runs.policy",
    "make_train": "qmix_jax.training.program",
    "make_trainer": "qmix_jax.training.trainer",
    "resume_run": "qmix_jax.reports.training",
    "run": "qmix_jax.reports.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
