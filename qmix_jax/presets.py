"""Presets: named sets of settings to start from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from qmix_jax.config import BUDGETS, Config
from qmix_jax.errors import ConfigError
from qmix_jax.settings import did_you_mean, read_settings

GENERAL = "general"  # the preset of all environments but the grid


class Preset(NamedTuple):
    """What a preset is for, and the settings that differ from the defaults."""

    summary: str
    settings: Mapping[str, Any]


# What PyMARL2, EPyMARL and JaxMARL have in common, see docs/published.md.
_PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {
        "n_step": 1,
        "time_limit": "terminal",
        "sequence_start": "episode",
        "lr_schedule": "constant",
        "weight_decay": 0.0,
        "epsilon_end": 0.05,
        "epsilon_spread": 0.0,
        "greedy_envs": 0.0,
        "explore_repeat": 1,
        "hidden_sizes": (64, 64),
        "mixing_size": 32,
        "value_size": 32,
        "mixer_skip": False,
        "share_parameters": True,
        "layer_norm": False,
        "dueling": False,
        "state_clock": False,
        "initializer": "torch",
        "eval_interval": 50_000,
        "eval_episodes": 128,
        "save_interval": 20_000,
    }
)

# What the presets of environments other than the grid have in common, but for the published ones.
_OTHERS: Mapping[str, Any] = MappingProxyType(
    {
        "num_envs": 64,
        "batch_size": 128,
        "optimizer_epsilon": 1e-5,
        "mixer_skip": False,  # tuned without
        "share_parameters": True,
        "save_interval": 20_000,
    }
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "default": Preset("one fixed layout: the defaults of all flags", {}),
        GENERAL: Preset(
            "for environments other than the grid, whose --env takes it without --preset",
            {
                **_OTHERS,
                "total_steps": 1_000_000,
                "train_frequency": 64,
                "standardise_rewards": True,  # environments' rewards differ in size by orders of magnitude
                "centre_rewards": False,
                "explore_repeat": 1,
                "last_action": True,
                "eval_interval": 50_000,
                "eval_episodes": 128,
            },
        ),
        "random": Preset(
            "a new layout every episode: one policy for every start",
            {
                "env_mode": "random",
                "total_steps": 12_500_000,
                "buffer_capacity": 1_000_000,
                "batch_size": 512,
                "train_frequency": 256,
                "n_step": 2,
                "lr_end_fraction": 0.05,
                "optimizer_epsilon": 1e-4,
                "epsilon_decay_steps": 1_000_000,
                "epsilon_spread": 0.0,
                "greedy_envs": 0.5,
                "explore_repeat": 8,
                "hidden_sizes": (128, 128),
                "share_parameters": True,
                "last_action": True,
                "eval_interval": 500_000,
                "eval_episodes": 2_000,
                "save_interval": 20_000,
            },
        ),
        "throughput": Preset(
            "as many environment steps per second as learning allows",
            {
                "num_envs": 4_096,
                "total_steps": 40_960_000,
                "buffer_capacity": 1_000_000,
                "batch_size": 512,
                "train_frequency": 8_192,
                "epsilon_decay_steps": 10_000_000,
                "eval_interval": 1_000_000,
                "save_interval": 100_000,
            },
        ),
        "gru": Preset(
            "PyMARL2's tricks: GRU agents, Q(lambda), one network for all agents, their last actions, 8 environments",
            {
                "num_envs": 8,
                "total_steps": 300_000,
                "target": "q_lambda",
                "batch_size": 32,
                "sequence_length": 16,
                "train_frequency": 32,
                "optimizer_epsilon": 1e-5,
                "epsilon_decay_steps": 100_000,
                "epsilon_spread": 0.0,
                "explore_repeat": 1,
                "agent": "gru",
                "mixer_skip": False,
                "share_parameters": True,
                "last_action": True,
            },
        ),
        "pqn": Preset(
            "without replay: Q(lambda) on each rollout of 512 environments, no target network; for any environment",
            {
                "total_steps": 1_000_000,
                "target": "q_lambda",
                "batch_size": 16,
                "sequence_length": 16,
                "replay": "none",
                "epochs": 1,
                "lr": 5e-4,
                "optimizer_epsilon": 1e-5,
                "standardise_rewards": True,
                "centre_rewards": False,
                "epsilon_decay_steps": 200_000,
                "explore_repeat": 1,
                "hidden_sizes": (128, 128),
                "mixer_norm": True,
                "share_parameters": True,
                "last_action": True,
                "eval_interval": 50_000,
                "eval_episodes": 128,
                "save_interval": 20_000,
            },
        ),
        "madqn": Preset(
            "independent learners with the MADQN script's settings, but on the feature map instead of raw observations",
            {
                "algorithm": "madqn",
                "total_episodes": 300,
                "num_envs": 1,
                "n_step": 1,
                "batch_size": 128,
                "min_buffer_size": 1_000,
                "replay": "prioritised",
                "train_frequency": 3,
                "lr": 5e-4,
                "lr_schedule": "exponential",
                "lr_end_fraction": 0.86,  # 0.995^30: a factor of 0.995 every 10 of 300 episodes
                "gamma": 0.97,
                "target_update_interval": 1,
                "target_tau": 0.005,
                "optimizer_epsilon": 1e-8,
                "standardise_rewards": True,
                "central_value": True,
                "epsilon_end": 0.01,
                "epsilon_spread": 0.0,
                "greedy_envs": 0.0,
                "explore_repeat": 1,
                "hidden_sizes": (128, 128),
            },
        ),
        "mpe_spread": Preset(
            "three particles cover three landmarks (JaxMARL)",
            {
                **_OTHERS,
                "env": "jaxmarl:MPE_simple_spread_v3",
                "max_steps_per_ep": 25,
                "total_steps": 1_000_000,
                "train_frequency": 128,
                "lr": 5e-3,
                "reward_scale": 0.1,
                "epsilon_decay_steps": 200_000,
                "explore_repeat": 4,
                "eval_interval": 50_000,
                "eval_episodes": 256,
            },
        ),
        "smax": Preset(
            "allied units fight units that a heuristic plays (JaxMARL's SMAX); --env_args scenario=2s3z",
            {
                **_OTHERS,
                "env": "jaxmarl:HeuristicEnemySMAX",
                "max_steps_per_ep": 100,
                "total_steps": 500_000,
                "train_frequency": 128,
                "n_step": 5,
                "lr": 2e-3,
                "gamma": 0.99,
                "explore_repeat": 1,
                "last_action": True,
                "eval_interval": 50_000,
                "eval_episodes": 128,
            },
        ),
        "lbf": Preset(
            "two agents lift two foods that neither can lift alone (Jumanji's level-based foraging)",
            {
                **_OTHERS,
                "env": "jumanji:LevelBasedForaging-v0",
                "max_steps_per_ep": 100,
                "total_steps": 500_000,
                "train_frequency": 16,
                "n_step": 5,
                "epsilon_decay_steps": 200_000,
                "explore_repeat": 4,
                "eval_interval": 25_000,
                "eval_episodes": 256,
            },
        ),
        "pymarl2": Preset(
            "PyMARL2's QMIX as published (8ccac7c), on SMAX: 128 whole episodes a batch, plain GRU agents, Q(lambda)",
            {
                **_PUBLISHED,
                "env": "jaxmarl:HeuristicEnemySMAX",
                "max_steps_per_ep": 100,
                "total_steps": 10_000_000,
                "num_envs": 8,
                "target": "q_lambda",
                "td_lambda": 0.6,
                "buffer_capacity": 500_000,
                "batch_size": 128,
                "sequence_length": 100,
                "min_buffer_size": 12_800,
                "train_frequency": 800,
                "lr": 1e-3,
                "gamma": 0.99,
                "target_update_interval": 25,
                "max_grad_norm": 20.0,  # theirs halves the squared error: gradients here are twice as large
                "optimizer_epsilon": 2e-8,
                "epsilon_decay_steps": 100_000,
                "agent": "gru",
                "last_action": True,
            },
        ),
        "epymarl": Preset(
            "EPyMARL's QMIX as published (cbc38c0), on MPE spread: one environment, plain MLPs, standardised rewards",
            {
                **_PUBLISHED,
                "env": "jaxmarl:MPE_simple_spread_v3",
                "max_steps_per_ep": 25,
                "total_steps": 2_000_000,
                "num_envs": 1,
                "buffer_capacity": 125_000,
                "batch_size": 32,
                "sequence_length": 25,
                "min_buffer_size": 800,
                "train_frequency": 25,
                "lr": 5e-4,
                "gamma": 0.99,
                "target_update_interval": 200,
                "max_grad_norm": 10.0,
                "optimizer_epsilon": 1e-8,
                "standardise_rewards": True,
                "epsilon_decay_steps": 50_000,
            },
        ),
        "jaxmarl": Preset(
            "JaxMARL's QMIX as published (c793d09), on MPE spread: RAdam at 5e-3, gamma 0.9, 8 environments",
            {
                **_PUBLISHED,
                "env": "jaxmarl:MPE_simple_spread_v3",
                "max_steps_per_ep": 25,
                "total_steps": 10_000_000,
                "num_envs": 8,
                "buffer_capacity": 125_000,
                "batch_size": 32,
                "sequence_length": 25,
                "min_buffer_size": 10_000,
                "train_frequency": 200,
                "lr": 5e-3,
                "lr_schedule": "linear",
                "lr_end_fraction": 0.0,
                "gamma": 0.9,
                "target_update_interval": 200,
                "optimizer": "radam",
                "max_grad_norm": 25.0,
                "optimizer_epsilon": 1e-8,
                "epsilon_decay_steps": 1_000_000,
                "agent": "gru",
                "hypernet_size": 128,
                "initializer": "jaxmarl",
                "hypernet_init_scale": 0.001,
                "head_init_scale": 1.0,
            },
        ),
    }
)


def with_preset(flags: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return flags as text by name, with `--preset general` if another environment than the grid comes without one."""
    if "preset" in flags or flags.get("env", Config.env) == Config.env:
        return flags
    return {**flags, "preset": GENERAL}


def preset_lines(flags: Mapping[str, Any]) -> list[str]:
    """Return the line that names the preset of flags as text by name, none without one."""
    return [f"--preset {flags['preset']}: {PRESETS[flags['preset']].summary}"] if "preset" in flags else []


def preset_config(name: str, **settings: Any) -> Config:
    """Return the preset's configuration with `settings` in place of its own; a budget replaces the preset's budget.

    Raises:
        ConfigError: there is no such preset, or the settings are invalid.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: {did_you_mean(name, PRESETS)}must be one of {', '.join(PRESETS)}")
    preset = dict(PRESETS[name].settings)
    if any(budget in settings for budget in BUDGETS):
        preset = {key: value for key, value in preset.items() if key not in BUDGETS}
    return Config(**{**preset, **settings})


def make_config(arguments: Mapping[str, Any], tried: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """Return the configuration that `--preset` and the flags of Config, as text by name, describe.

    Args:
        arguments: the flags.
        tried: further settings, as values; arguments of the environment, `env_args.NAME`, are left out.

    Raises:
        ConfigError: a value is not accepted, or two contradict each other.
    """
    if {"total_steps", "total_episodes"} <= arguments.keys():
        # Config cannot tell a default from the same value given.
        raise ConfigError(
            f"--total_steps {arguments['total_steps']} and --total_episodes {arguments['total_episodes']}: "
            "give only one of them"
        )
    settings = {name: text for name, text in arguments.items() if name != "preset"}
    further = {name: value for name, value in tried.items() if "." not in name}
    return preset_config(arguments.get("preset", "default"), **read_settings(Config, settings), **further)
