"""Checkpoints of the PyTorch script as policies: `q_networks`, a state dict of one Q-network for each agent."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from env_jax.types import Environment, EnvSpec
from qmix_jax.config import Config, ConfigError
from qmix_jax.interchange.torch_networks import torch_q_values
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.training.environments import make_environment
from qmix_jax.types import Array, Params

_LAYERS = ("shared.0", "shared.2", "value_head.0", "value_head.2", "advantage_head.0", "advantage_head.2")


def import_policy(path: str) -> TrainedPolicy:
    """The greedy policy of a file that `torch.save` wrote: the state dict, or a dict that has it as 'q_networks'.

    Only numbers are loaded from it (`weights_only`): a stranger's file cannot run anything.

    Raises:
        ConfigError: PyTorch is missing, the file cannot be read, or it holds other networks than the script's.
    """
    config = Config(encoding="raw")
    environment: Environment = make_environment(config)
    try:
        params = stacked_networks(_read(path), environment.spec)
    except ConfigError as error:
        raise ConfigError(f"--import_torch {path}: {error}") from None

    def q_values(params: Params, observations: Array, memory: Array) -> tuple[Array, Array]:
        return torch_q_values(params, observations), memory

    learner = make_learner(config, environment.spec)._replace(q_values=q_values)
    return TrainedPolicy(config, environment, {name: jnp.asarray(array) for name, array in params.items()}, learner)


def _read(path: str) -> dict[str, np.ndarray]:
    """Arrays by PyTorch's names."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ConfigError("needs torch: pip install -e '.[torch]'") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, as the file may hold anything
        reason = str(error).strip().partition("\n")[0][:100]
        raise ConfigError(f"must be a file of numbers that torch.save wrote: {reason}") from None
    found = found.get("q_networks", found) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ConfigError("must hold 'q_networks', a state dict")
    return {str(name): value.float().numpy() for name, value in found.items()}


def stacked_networks(arrays: Mapping[str, np.ndarray], spec: EnvSpec) -> dict[str, np.ndarray]:
    """Parameters by name without the agent's number, stacked over agents; see `torch_networks`.

    Raises:
        ConfigError: naming the first parameter that is missing, too many, or of another shape.
    """
    wanted = _shapes(arrays, spec)
    names = {f"{agent}.{name}": shape for agent in range(spec.num_agents) for name, shape in wanted.items()}
    for name, shape in names.items():
        if name not in arrays:
            raise ConfigError(f"{name} is missing")
        if arrays[name].shape != shape:
            raise ConfigError(f"{name} is {list(arrays[name].shape)}, must be {list(shape)}")
    for name in arrays.keys() - names.keys():
        raise ConfigError(f"{name[:100]!r}: must be one of <agent>.{', <agent>.'.join(_LAYERS)}, each weight and bias")
    return {name: np.stack([arrays[f"{agent}.{name}"] for agent in range(spec.num_agents)]) for name in wanted}


def _shapes(arrays: Mapping[str, np.ndarray], spec: EnvSpec) -> dict[str, tuple[Any, ...]]:
    """What the first agent's layers say of their widths, as shapes that must fit each other."""

    def width(layer: str) -> int:
        array = arrays.get(f"0.{layer}.weight")
        if array is None or array.ndim == 0:
            raise ConfigError(f"0.{layer}.weight is missing")
        return int(array.shape[0])

    first, second, value, advantage = map(width, ("shared.0", "shared.2", "value_head.0", "advantage_head.0"))
    normalised = arrays["0.shared.2.weight"].ndim == 1
    weights = {
        "shared.0": (first, spec.observation_size),
        "shared.2": (first,) if normalised else (second, first),
        "value_head.0": (value, second),
        "value_head.2": (1, value),
        "advantage_head.0": (advantage, second),
        "advantage_head.2": (spec.num_actions, advantage),
    }
    shapes: dict[str, tuple[Any, ...]] = {}
    for layer, shape in weights.items():
        shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
    return shapes
