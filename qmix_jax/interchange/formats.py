"""Implementation of `export`: a trained model as .safetensors, .npz or .onnx."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from qmix_jax.errors import ConfigError, missing
from qmix_jax.interchange.options import ExportOptions
from qmix_jax.runs.policy import TrainedPolicy, load_chosen, model_name
from qmix_jax.storage.arrays import named_arrays
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.output_file import check_output_file, writing


def export_run(run: RunDirectory, options: ExportOptions) -> None:
    """Write the model that `options` name.

    Raises:
        ConfigError: the run, its model or an option is invalid, or a library is not installed.
        RunError: the model is damaged, or the file could not be written.
    """
    policy = load_chosen(run, options.checkpoint, env=options.env)
    name = options.output or str(run.path / f"{model_name(options.checkpoint)}.{options.format}")
    check_output_file("output", name)
    try:
        content = _CONTENTS[options.format](policy)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--format {options.format}: {missing(error.name, 'export')}") from None
    with writing(name) as path:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            _write_npz(path, content)


def parameters_by_name(policy: TrainedPolicy) -> dict[str, np.ndarray]:
    """Return all networks' parameters by name, such as 'agents.Dense_0.kernel'.

    Kernels are [inputs, outputs]. Those of agents have a first axis over agents, unless agents share parameters.
    """
    arrays = named_arrays(policy.params)
    return {name.replace("/params/", ".").replace("/", "."): array for name, array in arrays.items()}


def model_metadata(policy: TrainedPolicy) -> dict[str, str]:
    """Return the metadata of a file, as text by name; 'settings' and 'environment' are JSON."""
    spec = policy.environment.spec
    numbers = {name: getattr(spec, name) for name in ("name", "num_agents", "num_actions", "observation_size")}
    return {"settings": json.dumps(asdict(policy.config)), "environment": json.dumps(numbers)}


def _safetensors(policy: TrainedPolicy) -> bytes:
    from safetensors.numpy import save

    return save(parameters_by_name(policy), metadata=model_metadata(policy))


def _npz(policy: TrainedPolicy) -> dict[str, Any]:
    return {**parameters_by_name(policy), **model_metadata(policy)}


def _onnx(policy: TrainedPolicy) -> bytes:
    from qmix_jax.interchange.onnx_policy import policy_graph

    return policy_graph(policy).serialised(model_metadata(policy))


def _write_npz(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:  # savez would add a suffix to another name
        np.savez(file, allow_pickle=False, **arrays)


_CONTENTS: dict[str, Callable[[TrainedPolicy], bytes | dict[str, Any]]] = {
    "safetensors": _safetensors,
    "npz": _npz,
    "onnx": _onnx,
}
