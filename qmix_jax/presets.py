"""Named sets of settings: where a user starts from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from qmix_jax.config import Config, ConfigError

_BUDGETS = ("total_episodes", "total_steps")


class Preset(NamedTuple):
    """What a preset is for, and what it sets; everything else keeps its default."""

    summary: str
    settings: Mapping[str, Any]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "default": Preset("one fixed layout, learnt in two waves of episodes", {}),
        "random": Preset(
            "a new layout every episode: one policy for every start",
            {
                "env_mode": "random",
                "total_steps": 10_000_000,
                "share_parameters": True,
                "hidden_sizes": (128, 128),
            },
        ),
    }
)


def preset_config(name: str, **settings: Any) -> Config:
    """The preset's configuration with `settings` in place of its own; a budget replaces the preset's budget.

    Raises:
        ConfigError: there is no such preset, or a setting cannot work.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: must be one of {', '.join(PRESETS)}")
    preset = dict(PRESETS[name].settings)
    if any(budget in settings for budget in _BUDGETS):
        preset = {key: value for key, value in preset.items() if key not in _BUDGETS}
    return Config(**{**preset, **settings})
