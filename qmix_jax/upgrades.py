"""How files of older versions are read: settings and names that have changed since."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# By the format of hparams.json: values, for its runs, of the settings that later versions added.
ADDED: Mapping[int, Mapping[str, Any]] = MappingProxyType(
    {
        4: {"time_limit": "terminal"},
        5: {
            "sequence_start": "any",
            "hypernet_layers": 2,
            "value_size": None,
            "head_layers": 3,
            "layer_norm": True,
            "dueling": True,
            "initializer": "orthogonal",
            "init_from": None,
        },
        6: {"quiet": False, "env_args": None, "shaped_reward_steps": None},
        7: {"centre_rewards": True},
        8: {"epochs": 4, "mixer_skip": False, "mixer_norm": False},
    }
)
# Values of flags that have another name since format 5.
RENAMED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"algorithm": {"qplex": "qplex_gap"}, "preset": {"pymarl2": "gru"}}
)
# Flags as text that the runs of the three earlier formats of sweep.json and compare.json had by default, oldest first.
IMPLIED: tuple[Mapping[str, str], ...] = (
    {"time_limit": "terminal", "num_envs": "64", "mixer_skip": "false"},
    {"num_envs": "64", "mixer_skip": "false"},
    {"mixer_skip": "false"},
)


def upgrade_settings(settings: Mapping[str, Any], written: int) -> dict[str, Any]:
    """Return a run's settings as this version writes them, from those of format `written`."""
    added = {name: value for since, values in ADDED.items() if since > written for name, value in values.items()}
    return {**added, **(rename_values(settings) if written < 5 else settings)}


def rename_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the values of flags that have another name since format 5."""
    return {
        name: RENAMED.get(name, {}).get(value, value) if isinstance(value, str) else value
        for name, value in flags.items()
    }
