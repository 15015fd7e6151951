"""Count the floating-point operations of one gradient update, from the shapes of the networks."""

from itertools import pairwise
from typing import NamedTuple

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.time_limit import bootstraps_at_limit, mixer_sees_clock
from qmix_jax.networks.views import make_views


class Layer(NamedTuple):
    """One linear layer's matrix products in an update; a forward product is [rows, inputs] by [inputs, outputs]."""

    name: str
    copies: int  # products at once: each agent has its own network
    rows: int
    inputs: int
    outputs: int
    forwards: int  # passes through the layer
    weight_gradients: int
    input_gradients: int  # none where the layer reads data, whose gradient is not needed
    transposed: bool = False  # weights are [outputs, inputs], which decides how fast the products are

    @property
    def product(self) -> int:
        """Operations of one product: a multiplication and an addition each. Each of its two gradients has as many."""
        return 2 * self.copies * self.rows * self.inputs * self.outputs

    @property
    def total(self) -> int:
        """Operations of the layer in an update."""
        return self.product * (self.forwards + self.weight_gradients + self.input_gradients)


def count_layers(config: Config, spec: EnvSpec) -> list[Layer]:
    """Return every matrix product of an update.

    Agents: online on s (with gradient), target on s', and with double Q online on s'. Mixer: online on s (with
    gradient), target on s'. Dueling heads are one layer, as their weights are summed before the product. Mixing four
    values is elementwise work: it shares no weights.
    """
    views = make_views(spec, config.encoding, mixer_sees_clock(config, spec), bootstraps_at_limit(config, spec))
    shared = config.share_parameters
    copies, rows = (1, spec.num_agents * config.batch_size) if shared else (spec.num_agents, config.batch_size)
    features = views.num_features + spec.num_agents * shared
    sizes = [features, *config.hidden_sizes, spec.num_actions]
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        heads = i == len(sizes) - 2
        name = "agents, heads" if heads else f"agents, layer {i + 1}"
        layers.append(Layer(name, copies, rows, inputs, outputs, 2 + config.double_q, 1, int(i > 0), transposed=heads))

    def mixer_layer(name: str, inputs: int, outputs: int, input_gradients: int) -> Layer:
        return Layer(f"mixer, {name}", 1, config.batch_size, inputs, outputs, 2, 1, input_gradients)

    hypernetworks = {"weights 1": spec.num_agents * config.mixing_size, "weights 2": config.mixing_size, "value": 1}
    for name, outputs in hypernetworks.items():
        layers.append(mixer_layer(f"{name}, hidden", views.state_size, config.hypernet_size, 0))
        layers.append(mixer_layer(name, config.hypernet_size, outputs, 1))
    layers.append(mixer_layer("bias 1", views.state_size, config.mixing_size, 0))
    return layers


def count_elementwise(config: Config, spec: EnvSpec, num_parameters: int) -> dict[str, int]:
    """Estimate the other operations of an update: an arithmetic operation, comparison or root counts as one."""
    rows = spec.num_agents * config.batch_size
    units = rows * sum(config.hidden_sizes)
    mixing = config.batch_size * (3 * config.hypernet_size + (spec.num_agents + 1) * config.mixing_size)
    return {
        # Bias, LayerNorm (mean, deviation, square, variance, scaling, gain, offset), ReLU; gradients about twice that.
        "agents' activations and LayerNorm": 9 * units * (2 + config.double_q + 2),
        # Biases and ReLUs of the hypernetworks, absolute weights, weighted sums and ELU.
        "mixing": 4 * mixing * (2 + 2),
        # Clipping 3, weight decay 2, moments 7, step 6, parameters 1, target copy 1.
        "optimiser and target copy": 20 * num_parameters,
    }
