"""hparams.json: a run's settings, derived values, package versions and machine."""

import os
import platform
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.learning.time_limit import bootstraps_at_limit
from qmix_jax.settings import is_tuple
from qmix_jax.storage.files import read_json, write_json
from qmix_jax.training.replay import replay_bytes, transition_bytes
from qmix_jax.upgrades import upgrade_settings

FORMAT = 6  # of the run directory; incremented whenever an older version could not resume it
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


def describe_run(config: Config, spec: EnvSpec) -> dict[str, Any]:
    """Return the content of hparams.json: the settings at the top level, the rest in sections."""
    bootstraps = bootstraps_at_limit(config, spec)
    per_transition = transition_bytes(spec, bootstraps)
    derived = {name: getattr(config, name) for name in _DERIVED}
    return {
        "format": FORMAT,
        **asdict(config),
        "derived": {
            **derived,
            "environment": spec.name,
            "time_limit": "bootstrap" if bootstraps else "terminal",
            "environment_spec": _sizes(spec),
            "replay_bytes_per_transition": per_transition,
            "replay_bytes": replay_bytes(config, spec),
        },
        "notices": [*config.notices(), *_limit_notices(config, spec)],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
        },
    }


def _limit_notices(config: Config, spec: EnvSpec) -> list[str]:
    lines = []
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


def check_spec(path: Path, spec: EnvSpec) -> None:
    """Refuse an environment whose sizes differ from those in hparams.json; older files do not contain them.

    Raises:
        ConfigError: naming the first difference.
    """
    derived = read_json(path).get("derived")
    trained = derived.get("environment_spec") if isinstance(derived, dict) else None
    if not isinstance(trained, dict):
        return
    for name, value in _sizes(spec).items():
        if trained.get(name, value) != value:
            wanted = str(trained[name])[:100]
            raise ConfigError(f"environment {spec.name}: {name} is {value}, must be {wanted}, as the run was trained")


def _sizes(spec: EnvSpec) -> dict[str, Any]:
    names = ("num_agents", "num_actions", "observation_size", "state_size", "max_steps")
    dtype = str(np.dtype(spec.observation_dtype))
    return {**{name: int(getattr(spec, name)) for name in names}, "observation_dtype": dtype}


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
