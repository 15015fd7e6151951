"""Presets: known names, settings that work together, and whose word counts."""

import pytest

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.presets import PRESETS, preset_config, preset_lines, with_preset


@pytest.mark.parametrize("num_envs", [64, 512])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_works(name, num_envs):
    config = preset_config(name, num_envs=num_envs)
    assert config.num_envs == num_envs
    assert config.total_updates > 0
    for setting, value in PRESETS[name].settings.items():
        if setting != "num_envs":
            assert getattr(config, setting) == value


def test_the_default_preset_is_the_defaults():
    assert preset_config("default", lr=1e-4) == Config(lr=1e-4)


def test_a_setting_overrides_the_presets():
    assert preset_config("random").env_mode == "random"
    assert preset_config("random", env_mode="fixed").env_mode == "fixed"


def test_a_budget_replaces_the_presets_budget():
    assert preset_config("random").total_steps is not None
    config = preset_config("random", total_episodes=600)
    assert (config.total_steps, config.total_episodes) == (None, 600)
    assert preset_config("random", total_steps=99_840).env_steps == 99_840


def test_an_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match=r"^--preset fast: must be one of default, general, random, throughput, gru"):
        preset_config("fast")


@pytest.mark.parametrize(
    ("flags", "taken"),
    [
        ({}, None),
        ({"env": Config.env}, None),
        ({"env": "meeting:Meeting"}, "general"),
        ({"env": "meeting:Meeting", "preset": "default"}, "default"),
        ({"env": "jumanji:LevelBasedForaging-v0", "preset": "lbf"}, "lbf"),
    ],
)
def test_other_environments_start_from_the_general_preset(flags, taken):
    chosen = with_preset(flags)
    assert chosen.get("preset") == taken
    assert {name: text for name, text in chosen.items() if name != "preset" or name in flags} == flags
    assert preset_lines(chosen) == ([] if taken is None else [f"--preset {taken}: {PRESETS[taken].summary}"])
