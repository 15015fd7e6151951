"""hparams.json: a run's settings, derived values, package versions and machine."""

import os
import platform
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.learning.time_limit import bootstraps_at_limit
from qmix_jax.settings import is_tuple
from qmix_jax.storage.environment_record import describe_environment, traced_program
from qmix_jax.storage.files import read_json, write_json
from qmix_jax.training.replay import replay_bytes, transition_bytes
from qmix_jax.upgrades import upgrade_settings

FORMAT = 8  # of the run directory; incremented whenever an older version could not resume it
_OLDEST = 3  # that can be read
_SECTIONS = ("format", "derived", "notices", "versions", "device")

_PACKAGES = ("qmix-jax", "jax", "jaxlib", "flax", "optax", "flashbax", "orbax-checkpoint", "chex", "numpy")
_DERIVED = (
    "vector_steps",
    "env_steps",
    "total_updates",
    "first_update_step",
    "replay_capacity",
    "sample_length",
    "chunk_length",
    "exploration_steps",
)


def describe_run(config: Config, environment: Environment) -> dict[str, Any]:
    """Return the content of hparams.json: the settings at the top level, the rest in sections."""
    spec = environment.spec
    bootstraps = bootstraps_at_limit(config, spec)
    per_transition = transition_bytes(spec, config.stored_memory_size, bootstraps)
    derived = {name: getattr(config, name) for name in _DERIVED}
    return {
        "format": FORMAT,
        **asdict(config),
        "derived": {
            **derived,
            **describe_environment(environment),
            "time_limit": "bootstrap" if bootstraps else "terminal",
            "replay_bytes_per_transition": per_transition,
            "replay_bytes": replay_bytes(config, spec),
        },
        "notices": run_notices(config, environment),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
        },
    }


def run_notices(config: Config, environment: Environment) -> list[str]:
    """Return what a user may not expect of a run, a line each."""
    spec, program, lines = environment.spec, traced_program(environment), config.notices()
    if bootstraps_at_limit(config, spec):
        lines.append(
            f"--time_limit {config.time_limit}: targets bootstrap where {spec.max_steps} steps cut an episode, and the "
            "mixer sees no clock"
        )
    if spec.max_steps != config.max_steps_per_ep:
        counted = "" if config.total_steps is not None else ", while --total_episodes counts the flag's"
        lines.append(
            f"--max_steps_per_ep {config.max_steps_per_ep}: episodes end after {spec.max_steps} steps{counted}"
        )
    if spec.num_agents > 1 and program is not None and not program.shares_reward:
        lines.append(
            f"environment {spec.name}: agents have rewards of their own, and the team is trained on the sum of the "
            f"{spec.num_agents}, whether they cooperate or compete"
        )
    return lines


def write_hparams(path: Path, hparams: dict[str, Any]) -> None:
    """Write hparams.json, atomically replacing an older one."""
    write_json(path, hparams)


def read_config(path: Path) -> Config:
    """Read the configuration from hparams.json.

    Raises:
        ConfigError: it cannot be read, has another format, or does not hold exactly the settings of a run.
    """
    hparams = read_json(path)
    written = hparams.get("format")
    if type(written) is not int or not _OLDEST <= written <= FORMAT:
        raise ConfigError(f"{path}: format {repr(written)[:100]}: must be {FORMAT}, as this version writes it")
    hparams = upgrade_settings(hparams, written)
    names = [declared.name for declared in fields(Config)]
    for name in sorted(hparams.keys() - {*names, *_SECTIONS}):
        raise ConfigError(f"{path}: {repr(name)[:100]}: unknown setting")
    settings: dict[str, Any] = {}
    for declared in fields(Config):
        if declared.name not in hparams:
            raise ConfigError(f"{path}: {declared.name!r} is missing")
        value = hparams[declared.name]
        settings[declared.name] = tuple(value) if is_tuple(declared) and isinstance(value, list) else value
    try:
        return Config(**settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def machine_line(path: Path, num_devices: int | None = None) -> str:
    """Describe the machine a run was trained on, with "unknown" for what hparams.json does not contain.

    Args:
        path: the file.
        num_devices: number of devices used, None for all.
    """
    try:
        hparams = read_json(path)
    except (OSError, ConfigError):
        hparams = {}

    def value_of(section: str, name: str) -> Any:
        found = hparams.get(section)
        return found.get(name, "unknown") if isinstance(found, dict) else "unknown"

    count = value_of("device", "count") if num_devices is None else num_devices
    kind, backend, cores = (value_of("device", name) for name in ("kind", "backend", "cores"))
    return f"{count} x {kind} ({backend}), {cores} cores, jax {value_of('versions', 'jax')}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a clone without installing
        return "not installed"
