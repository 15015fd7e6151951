"""QMIX in JAX, fused into one jitted program. Importing this package does not import JAX; using it does."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qmix_jax.config import TRACEABLE, Config
from qmix_jax.errors import ConfigError
from qmix_jax.presets import preset_config

if TYPE_CHECKING:
    from qmix_jax.analysis.stats import estimate, estimate_difference, make_band
    from qmix_jax.reports.assessment import assess, record_episodes
    from qmix_jax.reports.scores import score_episodes, score_table
    from qmix_jax.reports.training import resume_run, run
    from qmix_jax.runs.policy import TrainedPolicy, load_policy
    from qmix_jax.runs.runner import RunResult
    from qmix_jax.storage.checkpoint import load_params
    from qmix_jax.training.inspection import inspect
    from qmix_jax.training.program import RunMetrics, make_train
    from qmix_jax.training.trainer import Trainer, make_trainer

__version__ = "0.1.0"

__all__ = [
    "TRACEABLE",
    "Config",
    "ConfigError",
    "RunMetrics",
    "RunResult",
    "TrainedPolicy",
    "Trainer",
    "assess",
    "estimate",
    "estimate_difference",
    "inspect",
    "load_params",
    "load_policy",
    "make_band",
    "make_train",
    "make_trainer",
    "preset_config",
    "record_episodes",
    "resume_run",
    "run",
    "score_episodes",
    "score_table",
]

_HOMES = {
    "RunMetrics": "qmix_jax.training.program",
    "RunResult": "qmix_jax.runs.runner",
    "TrainedPolicy": "qmix_jax.runs.policy",
    "Trainer": "qmix_jax.training.trainer",
    "assess": "qmix_jax.reports.assessment",
    "estimate": "qmix_jax.analysis.stats",
    "estimate_difference": "qmix_jax.analysis.stats",
    "inspect": "qmix_jax.training.inspection",
    "load_params": "qmix_jax.storage.checkpoint",
    "load_policy": "qmix_jax.runs.policy",
    "make_band": "qmix_jax.analysis.stats",
    "make_train": "qmix_jax.training.program",
    "make_trainer": "qmix_jax.training.trainer",
    "record_episodes": "qmix_jax.reports.assessment",
    "resume_run": "qmix_jax.reports.training",
    "run": "qmix_jax.reports.training",
    "score_episodes": "qmix_jax.reports.scores",
    "score_table": "qmix_jax.reports.scores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
