"""Groups of runs by the settings in which they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from qmix_jax.config import Config
from qmix_jax.settings import as_text

_IGNORED = ("seed", "results_dir")


def differing_settings(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """Return for each run its values of the settings in which the runs differ, in the order of `Config`.

    Seeds, folders, and settings that leave training unchanged make no difference.
    """
    candidates = [
        declared.name
        for declared in fields(Config)
        if declared.name not in _IGNORED and not declared.metadata["changeable"]
    ]
    names = [name for name in candidates if len({getattr(config, name) for config in configs}) > 1]
    return [{name: getattr(config, name) for name in names} for config in configs]


def settings_name(settings: Mapping[str, Any]) -> str:
    """Return settings as text, such as 'lr=0.001 gamma=0.95'; of none of them 'all seeds'."""
    return " ".join(f"{name}={as_text(value, 'x')}" for name, value in settings.items()) or "all seeds"
