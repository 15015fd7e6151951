"""Imports checkpoints of the PyTorch script: `q_networks`, a state dict with a Q-network for each agent.

Parameters are named as in PyTorch, without the agent's number, and have a first axis over agents. Weights are [outputs,
inputs]. `shared.2` is a LayerNorm where its weight has one axis, else a second linear layer with a ReLU.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.types import Environment, EnvSpec
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, missing
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.training.environments import make_environment
from qmix_jax.types import Array, Params

_LAYERS = ("shared.0", "shared.2", "value_head.0", "value_head.2", "advantage_head.0", "advantage_head.2")
_LAYER_NORM_EPSILON = 1e-5  # PyTorch's


def import_policy(path: str) -> TrainedPolicy:
    """Return the greedy policy of a file by `torch.save`: the state dict, or a dict that holds it as 'q_networks'.

    Only tensors are loaded (`weights_only`), so an untrusted file cannot run code.

    Raises:
        ConfigError: PyTorch is missing, the file cannot be read, or its networks are not those of the script.
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
    """Return the arrays by their names in PyTorch."""
    try:
        import torch
    except ModuleNotFoundError:
        raise ConfigError(missing("torch", "torch")) from None
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
    """Return the parameters by name without the agent's number, stacked over agents.

    Raises:
        ConfigError: naming the first parameter that is missing, unknown, or of the wrong shape.
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
    """Return the shapes of one network's parameters, by the widths of the first agent's layers."""

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


def torch_q_values(params: Mapping[str, Array], observations: Array) -> Array:
    """Return the values of all actions (Wang et al. 2016, eq. 9), float32[N, B, A], of raw observations [B, N, O]."""
    seen = jnp.swapaxes(observations, 0, 1).astype(jnp.float32)
    hidden = jax.nn.relu(_linear(params, "shared.0", seen))
    if params["shared.2.weight"].ndim == 2:
        hidden = _layer_norm(params, "shared.2", hidden)
    else:
        hidden = jax.nn.relu(_linear(params, "shared.2", hidden))
    value, advantage = (_head(params, name, hidden) for name in ("value_head", "advantage_head"))
    return value + advantage - jnp.mean(advantage, axis=-1, keepdims=True)


def _head(params: Mapping[str, Array], name: str, hidden: Array) -> Array:
    return _linear(params, f"{name}.2", jax.nn.relu(_linear(params, f"{name}.0", hidden)))


def _linear(params: Mapping[str, Array], name: str, inputs: Array) -> Array:
    return jnp.einsum("nbi,noi->nbo", inputs, params[f"{name}.weight"]) + params[f"{name}.bias"][:, None]


def _layer_norm(params: Mapping[str, Array], name: str, inputs: Array) -> Array:
    """Normalise as in Ba et al. 2016, eq. 4."""
    centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + _LAYER_NORM_EPSILON)
    return normalised * params[f"{name}.weight"][:, None] + params[f"{name}.bias"][:, None]
