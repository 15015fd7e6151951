"""The Q-networks of the PyTorch script: its layers, one network for each agent, side by side.

A parameter's name is PyTorch's without the agent's number; its first axis is over agents. Weights are [outputs,
inputs]. `shared.2` is a LayerNorm where its weight is a row of numbers, else a second linear layer and a ReLU.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from qmix_jax.types import Array

_LAYER_NORM_EPSILON = 1e-5  # PyTorch's


def torch_q_values(params: Mapping[str, Array], observations: Array) -> Array:
    """Values of all actions (Wang et al. 2016, eq. 9): raw observations [B, N, O], any dtype -> float32[N, B, A]."""
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
    """Ba et al. 2016, eq. 4."""
    centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + _LAYER_NORM_EPSILON)
    return normalised * params[f"{name}.weight"][:, None] + params[f"{name}.bias"][:, None]
