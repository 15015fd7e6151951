"""Groups of runs by the settings in which they differ, on one task or on several."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from qmix_jax.config import Config
from qmix_jax.settings import as_text

TASK_SETTINGS = ("env", "env_args", "env_mode", "layout_seed", "max_steps_per_ep")  # they make a task
_IGNORED = ("seed", "results_dir")


def differing_settings(configs: Sequence[Config], tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each run its values of the settings in which runs on one task differ, in the order of `Config`.

    Seeds, folders, and settings that leave training unchanged make no difference. Nor does what differs only from task
    to task, such as the number of steps: it belongs to the task.

    Args:
        configs: the runs' settings.
        tasks: the task of each run, see `tasks.task_names`.
    """
    several = len(set(tasks)) > 1
    names = []
    for declared in fields(Config):
        name = declared.name
        if name in _IGNORED or declared.metadata["changeable"] or (several and name in TASK_SETTINGS):
            continue
        values = {(task, getattr(config, name)) for task, config in zip(tasks, configs, strict=True)}
        if len(values) > len(set(tasks)):
            names.append(name)
    return [{name: getattr(config, name) for name in names} for config in configs]


def settings_name(settings: Mapping[str, Any]) -> str:
    """Return settings as text, such as 'lr=0.001 gamma=0.95'; of none of them 'all seeds'."""
    return " ".join(f"{name}={as_text(value, 'x')}" for name, value in settings.items()) or "all seeds"
