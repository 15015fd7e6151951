"""Layers shared by all networks and how they are initialised: linear, LayerNorm with ReLU, dueling heads, plain MLP."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.initializers import Initializer

from qmix_jax.types import Array

LAYER_NORM_EPSILON = 1e-6
_ITERATIONS = 40  # the smallest singular value grows 1.5-fold per iteration, then converges quadratically


def orthogonal(gain: float) -> Initializer:
    """Return an initialiser of float32[rows, columns] matrices with orthonormal rows or columns, times `gain`.

    The polar factor of a Gaussian matrix is uniform over orthogonal matrices (Haar), like the usual sign-corrected QR
    factor. Newton-Schulz iterations, X <- X (3 I - X'X) / 2 (Higham 2008, eq. 8.20), compute it. jaxlib's batched QR
    is not used: when several agents or seeds are initialised at once, it can deadlock on a two-core CPU.
    """

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        rows, columns = shape
        gaussian = jax.random.normal(key, (max(shape), min(shape)), dtype)
        # The Frobenius norm bounds the largest singular value, so the iteration starts where it converges.
        start = gaussian / jnp.linalg.norm(gaussian)
        identity = jnp.eye(min(shape), dtype=dtype)

        def iterate(_: int, matrix: Array) -> Array:
            return matrix @ (1.5 * identity - 0.5 * (matrix.T @ matrix))

        polar = jax.lax.fori_loop(0, _ITERATIONS, iterate, start)
        return gain * (polar if rows >= columns else polar.T)

    return init


def uniform(bound: float) -> Initializer:
    """Return an initialiser of uniform numbers in [-bound, bound)."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class Start(NamedTuple):
    """How the layers of a network are initialised, `--initializer` and the gain of its output layers.

    'orthogonal': orthogonal weights, with gain sqrt(2) before a ReLU and `gain` in output layers; 'jaxmarl': with
    `gain` in all layers, as JaxMARL's QMIX; 'torch': weights and biases uniform within 1/sqrt(inputs), which is
    PyTorch's default and thereby PyMARL's.
    """

    scheme: str
    gain: float

    def output(self, inputs: int) -> tuple[Initializer, Initializer]:
        """Initialisers of an output layer's weights and biases."""
        return self._layer(inputs, self.gain)

    def hidden(self, inputs: int) -> tuple[Initializer, Initializer]:
        """Initialisers of the weights and biases of a layer that a ReLU follows."""
        return self._layer(inputs, self.gain if self.scheme == "jaxmarl" else 2**0.5)

    def _layer(self, inputs: int, gain: float) -> tuple[Initializer, Initializer]:
        if self.scheme == "torch":
            return uniform(inputs**-0.5), uniform(inputs**-0.5)
        return orthogonal(gain), nn.initializers.zeros


def output_layer(inputs: Array, size: int, start: Start, name: str | None = None) -> Array:
    """Apply a linear layer inside a module: float32[..., F] -> float32[..., size]."""
    kernel, bias = start.output(inputs.shape[-1])
    return nn.Dense(size, kernel_init=kernel, bias_init=bias, name=name)(inputs)


def relu_layer(inputs: Array, size: int, start: Start, name: str | None = None, layer_norm: bool = False) -> Array:
    """Apply a linear layer, LayerNorm if asked for, and ReLU inside a module: float32[..., F] -> float32[..., size]."""
    kernel, bias = start.hidden(inputs.shape[-1])
    outputs = nn.Dense(size, kernel_init=kernel, bias_init=bias, name=name)(inputs)
    return LayerNorm()(outputs) if layer_norm else nn.relu(outputs)


def joint_layers(inputs: Array, layers: Mapping[str, tuple[int, bool]], start: Start) -> dict[str, Array]:
    """Apply several layers to the same inputs in one product, in a module: float32[R, F] -> float32[R, size] each.

    `layers` gives the size of each layer by name, and whether a ReLU follows.
    """
    parts = []
    for name, (size, is_hidden) in layers.items():
        inits = (start.hidden if is_hidden else start.output)(inputs.shape[-1])
        parts.append(LinearWeights(size, *inits, name=name)(inputs.shape[-1]))
    kernels, biases = zip(*parts, strict=True)
    outputs = inputs @ jnp.concatenate(kernels, axis=1) + jnp.concatenate(biases)[None]
    ends = np.cumsum([size for size, _ in layers.values()])
    return {
        name: nn.relu(output) if layers[name][1] else output
        for name, output in zip(layers, jnp.split(outputs, ends[:-1], axis=1), strict=True)
    }


def plain_layers(inputs: Array, sizes: tuple[int, ...]) -> Array:
    """Apply linear and ReLU layers, then one output that starts near 0, in a module: float32[R, F] -> float32[R]."""
    start, hidden = Start("orthogonal", 0.01), inputs
    for size in sizes:
        hidden = relu_layer(hidden, size, start)
    return output_layer(hidden, 1, start)[:, 0]


def dueling_heads(hidden: Array, num_actions: int, start: Start) -> Array:
    """Apply dueling heads (Wang et al. 2016, eq. 9) inside a module: float32[..., H] -> float32[..., A]."""
    inputs = hidden.shape[-1]
    advantage = LinearWeights(num_actions, *start.output(inputs), name="advantage")(inputs)
    value = LinearWeights(1, *start.output(inputs), name="value")(inputs)
    # Both heads are linear: summing their weights takes one matrix product, summing their values takes two.
    kernel, bias = (v + a - jnp.mean(a, axis=-1, keepdims=True) for v, a in zip(value, advantage, strict=True))
    # Transposed, so that the gradient's product is wide: XLA's CPU kernels are slow with few columns.
    q_values = jnp.einsum("...h,ah->...a", hidden, kernel.T)
    return q_values + bias.reshape((1,) * (q_values.ndim - 1) + (-1,))


class LinearWeights(nn.Module):
    """Parameters of a linear layer, named as in `nn.Dense`, for use without applying the layer."""

    num_outputs: int
    kernel_init: Initializer
    bias_init: Initializer

    @nn.compact
    def __call__(self, num_inputs: int) -> tuple[Array, Array]:
        """Return kernel float32[inputs, outputs] and bias float32[outputs]."""
        kernel = self.param("kernel", self.kernel_init, (num_inputs, self.num_outputs))
        return kernel, self.param("bias", self.bias_init, (self.num_outputs,))


class LayerNorm(nn.Module):
    """Fused LayerNorm (Ba et al. 2016, eq. 4) and ReLU, with parameters named as in `nn.LayerNorm`."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Normalise and rectify: float32[..., H] -> float32[..., H]."""
        size = inputs.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (size,))
        bias = self.param("bias", nn.initializers.zeros, (size,))
        return normalized_relu(inputs.reshape(-1, size), scale, bias).reshape(inputs.shape)


@jax.custom_vjp
def normalized_relu(inputs: Array, scale: Array, bias: Array) -> Array:
    """Return max(0, scale * (x - mean) / std + bias) by row: float32[R, H], [H], [H] -> float32[R, H].

    The gradient is written by hand so that its sums over rows and columns are matrix products: on a CPU, the reductions
    that autodiff generates take longer than the arithmetic around them.
    """
    return _normalized_relu_forward(inputs, scale, bias)[0]


def _normalized_relu_forward(inputs: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    chex.assert_rank([inputs, scale, bias], [2, 1, 1])
    mean = jnp.mean(inputs, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(inputs), axis=-1, keepdims=True) - jnp.square(mean)
    inverse = jax.lax.rsqrt(jnp.maximum(variance, 0.0) + LAYER_NORM_EPSILON)  # rounding can make a variance negative
    outputs = nn.relu((inputs - mean) * inverse * scale[None] + bias[None])
    return outputs, (inputs, mean, inverse, scale, outputs)


def _normalized_relu_backward(residuals: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    inputs, mean, inverse, scale, outputs = residuals
    rows, size = inputs.shape
    normalized = (inputs - mean) * inverse
    of_bias = jnp.where(outputs > 0, gradient, 0.0)  # by row; parameter gradients are sums over rows
    of_scale = of_bias * normalized
    # Shifting or scaling a row leaves the output unchanged, so the gradient has no such components.
    moved, stretched = ((g @ (scale / size))[:, None] for g in (of_bias, of_scale))
    of_inputs = (of_bias * scale[None] - moved - normalized * stretched) * inverse
    ones = jnp.ones(rows)
    return of_inputs, ones @ of_scale, ones @ of_bias


normalized_relu.defvjp(_normalized_relu_forward, _normalized_relu_backward)
