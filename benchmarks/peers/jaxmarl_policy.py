"""Policies that JaxMARL's scripts trained, rebuilt from the names of their parameters."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from env_jax.foreign.contract import library_style
from env_jax.types import TimeStep
from qmix_jax.training.evaluation import Policy

Tree = Mapping[str, Any]
_CNN, _RNN, _GRU = "CNN_0", "ScannedRNN_0", "GRUCell_0"


def hidden_size(params: Tree) -> int:
    """Return the width of the hidden state; 0 if the network is feedforward."""
    return int(params[_RNN][_GRU]["hn"]["kernel"].shape[0]) if _RNN in params else 0


def q_values(
    params: Tree, batch_stats: Tree, norm_input: bool, inputs: jax.Array, memory: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Apply the network of one agent: `[B, ...]` inputs and memory `[B, H]` to `[B, A]` and `[B, H]`.

    Dense layers are numbered; all but the last are normalised if there are such layers, and rectified. Convolutions,
    if any, are before them; a GRU, if any, is between the last two.
    """
    x = _batch_norm(params, batch_stats, 0, inputs) if norm_input else inputs
    if _CNN in params:
        x = _convolutions(params[_CNN], x)
    layers = sum(name.startswith("Dense_") for name in params)
    for layer in range(layers - 1):
        x = _dense(params, layer, x)
        if f"LayerNorm_{layer}" in params:
            x = nn.LayerNorm().apply({"params": params[f"LayerNorm_{layer}"]}, x)
        elif f"BatchNorm_{layer + 1}" in params:  # number 0 is of the inputs
            x = _batch_norm(params, batch_stats, layer + 1, x)
        x = nn.relu(x)
    if _RNN in params:
        memory, x = nn.GRUCell(hidden_size(params)).apply({"params": params[_RNN][_GRU]}, memory, x)
    return _dense(params, layers - 1, x), memory


def greedy(params: Tree, batch_stats: Tree, norm_input: bool, observation_shape: tuple[int, ...]) -> Policy:
    """Return the greedy policy over allowed actions, whose memory is float32[K, N, H].

    All agents share the network. A recurrent one sees the flat observation, padded to the longest, and the agent's
    one-hot id, as JaxMARL's `CTRolloutManager` shows them; a convolutional one sees the plain grid. (The manager also
    blanks the observations of dead units, which have only one allowed action.)

    Args:
        params: of the agents' network.
        batch_stats: running means and variances, empty without batch normalisation.
        norm_input: whether the inputs are normalised too.
        observation_shape: of one agent, before our adapter flattens it.
    """

    def policy(_: jax.Array, time_step: TimeStep, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        episodes, agents, _ = time_step.observations.shape
        if _CNN in params:
            inputs = time_step.observations.reshape(episodes * agents, *observation_shape)
        else:
            ids = jnp.broadcast_to(jnp.eye(agents), (episodes, agents, agents))
            inputs = jnp.concatenate([time_step.observations, ids], axis=-1).reshape(episodes * agents, -1)
        with library_style():
            values, flat = q_values(params, batch_stats, norm_input, inputs, memory.reshape(episodes * agents, -1))
        values = jnp.where(time_step.action_mask, values.reshape(episodes, agents, -1), -jnp.inf)
        return jnp.argmax(values, axis=-1).astype(jnp.int32), flat.reshape(memory.shape)

    return policy


def _convolutions(params: Tree, x: jax.Array) -> jax.Array:
    for layer in range(sum(name.startswith("Conv_") for name in params)):
        kernel = params[f"Conv_{layer}"]["kernel"]
        convolution = nn.Conv(kernel.shape[-1], kernel.shape[:2])
        x = convolution.apply({"params": params[f"Conv_{layer}"]}, x)
        if f"LayerNorm_{layer}" in params:
            x = nn.LayerNorm().apply({"params": params[f"LayerNorm_{layer}"]}, x)
        x = nn.relu(x)
    x = x.reshape(x.shape[0], -1)
    return nn.relu(_dense(params, 0, x)) if "Dense_0" in params else x


def _dense(params: Tree, layer: int, x: jax.Array) -> jax.Array:
    weights = params[f"Dense_{layer}"]
    return x @ weights["kernel"] + weights["bias"]


def _batch_norm(params: Tree, batch_stats: Tree, layer: int, x: jax.Array) -> jax.Array:
    name = f"BatchNorm_{layer}"
    variables = {"params": params[name], "batch_stats": batch_stats[name]}
    return nn.BatchNorm(use_running_average=True).apply(variables, x)
