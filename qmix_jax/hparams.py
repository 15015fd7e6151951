"""What a run was made of: its settings, what follows from them, the versions and the machine."""

import os
import platform
from dataclasses import asdict
from importlib import metadata
from typing import Any

import jax

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.replay import transition_bytes

_PACKAGES = ("qmix-jax", "jax", "jaxlib", "flax", "optax", "flashbax", "orbax-checkpoint", "chex", "numpy")
_DERIVED = (
    "vector_steps",
    "env_steps",
    "total_updates",
    "first_update_step",
    "replay_capacity",
    "sequence_length",
    "chunk_length",
)


def describe_run(config: Config, spec: EnvSpec) -> dict[str, Any]:
    """Content of hparams.json: the settings at the top level, the rest in sections."""
    per_transition = transition_bytes(spec)
    derived = {name: getattr(config, name) for name in _DERIVED}
    return {
        **asdict(config),
        "derived": {
            **derived,
            "environment": spec.name,
            "replay_bytes_per_transition": per_transition,
            "replay_bytes": per_transition * config.replay_capacity,
        },
        "notices": config.notices(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
        },
    }


def start_lines(hparams: dict[str, Any]) -> list[str]:
    """What is said before training starts, a few lines."""
    derived, device = hparams["derived"], hparams["device"]
    used = hparams["num_devices"]
    return [
        f"QMIX on {derived['environment']}: {hparams['num_envs']} environments x {derived['vector_steps']} steps = "
        f"{derived['env_steps']} environment steps, {derived['total_updates']} updates",
        f"replay: {derived['replay_capacity']} transitions of {derived['replay_bytes_per_transition']} bytes, "
        f"{derived['replay_bytes'] / 2**20:.1f} MiB",
        f"device: {used} x {device['kind']} ({device['backend']}), {device['cores']} cores",
        *(f"notice: {notice}" for notice in hparams["notices"]),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a clone that was never installed
        return "not installed"
