"""The greedy policy as an ONNX program: feature map, agents' networks, values and actions.

observations float32[batch, N, O] (and action_mask bool[batch, N, A] where the environment forbids actions, and memory
float32[batch, N, H] of agents with one) -> q_values float32[batch, N, A], actions int64[batch, N], new_memory.
"""

from typing import Any

import jax
import numpy as np

from qmix_jax.interchange.onnx_encoding import encoded
from qmix_jax.interchange.onnx_graph import Graph
from qmix_jax.networks.layers import LAYER_NORM_EPSILON
from qmix_jax.runs.policy import TrainedPolicy

Layer = tuple[np.ndarray, np.ndarray]  # kernel [N or 1, inputs, outputs], bias [N or 1, 1, outputs]


def policy_graph(policy: TrainedPolicy) -> Graph:
    """The program.

    Raises:
        ConfigError: the environment's feature map cannot be written in ONNX.
    """
    spec, config = policy.environment.spec, policy.config
    num_agents, num_actions = spec.num_agents, spec.num_actions
    memory_size = policy.init_memory().shape[-1]
    network = jax.tree.map(np.asarray, policy.params["agents"]["params"])
    if config.share_parameters:
        network = jax.tree.map(lambda x: x[None], network)
    ids = num_agents if config.share_parameters else 0

    graph = Graph(f"{config.algorithm} on {spec.name}")
    observations = graph.input("observations", "float32", ["batch", num_agents, spec.observation_size])
    mask = graph.input("action_mask", "bool", ["batch", num_agents, num_actions]) if spec.masks_actions else None
    hidden = _swapped(graph, encoded(graph, policy.environment, config.encoding, observations))
    sizes = config.hidden_sizes[:-1] if memory_size else config.hidden_sizes
    for number in range(len(sizes)):
        hidden = _linear(graph, hidden, _layer(network[f"Dense_{number}"], ids))
        hidden = _normalised_relu(graph, hidden, network[f"LayerNorm_{number}"])
        ids = 0
    if memory_size:
        memory = _swapped(graph, graph.input("memory", "float32", ["batch", num_agents, memory_size]))
        hidden = _gru(graph, hidden, memory, network["GRUCell_0"], ids)
        graph.output("new_memory", _swapped(graph, hidden), "float32", ["batch", num_agents, memory_size])
    q_values = _swapped(graph, _linear(graph, hidden, _dueling_layer(network)))
    graph.output("q_values", q_values, "float32", ["batch", num_agents, num_actions])
    allowed = q_values if mask is None else graph.add("Where", mask, q_values, graph.constant(-np.inf))
    graph.output("actions", graph.add("ArgMax", allowed, axis=-1, keepdims=0), "int64", ["batch", num_agents])
    return graph


def _swapped(graph: Graph, value: str) -> str:
    """[batch, N, ...] from [N, batch, ...], and back: products over agents want them first."""
    return graph.add("Transpose", value, perm=[1, 0, 2])


def _layer(parameters: Any, ids: int = 0) -> Layer:
    """A linear layer of all agents; the last `ids` inputs of a shared one are the agent's one-hot id.

    What it adds for an id is the same in every state: a bias of each agent's own.
    """
    kernel, bias = parameters["kernel"], parameters.get("bias", np.zeros(1, np.float32))[..., None, :]
    if not ids:
        return kernel, bias
    return kernel[:, :-ids], bias + np.swapaxes(kernel[:, -ids:], 0, 1)


def _dueling_layer(network: Any) -> Layer:
    """Both heads as one layer (Wang et al. 2016, eq. 9), see `layers.dueling_heads`."""
    (value, value_bias), (advantage, advantage_bias) = (_layer(network[name]) for name in ("value", "advantage"))
    return (
        value + advantage - advantage.mean(axis=-1, keepdims=True),
        value_bias + advantage_bias - advantage_bias.mean(axis=-1, keepdims=True),
    )


def _linear(graph: Graph, inputs: str, layer: Layer) -> str:
    product = graph.add("MatMul", inputs, graph.constant(layer[0]))
    return graph.add("Add", product, graph.constant(layer[1]))


def _normalised_relu(graph: Graph, inputs: str, parameters: Any) -> str:
    scale, bias = (parameters[name][:, None, :] for name in ("scale", "bias"))
    ones = graph.constant(np.ones(scale.shape[-1], np.float32))  # the operation scales all agents alike
    normalised = graph.add("LayerNormalization", inputs, ones, axis=-1, epsilon=LAYER_NORM_EPSILON)
    scaled = graph.add("Mul", normalised, graph.constant(scale))
    return graph.add("Relu", graph.add("Add", scaled, graph.constant(bias)))


def _gru(graph: Graph, inputs: str, memory: str, cell: Any, ids: int) -> str:
    """The new memory (Cho et al. 2014, in flax's form: the reset gate is applied after the product)."""

    def gate(name: str) -> str:
        from_inputs = _linear(graph, inputs, _layer(cell[f"i{name}"], ids))
        return graph.add("Sigmoid", graph.add("Add", from_inputs, _linear(graph, memory, _layer(cell[f"h{name}"]))))

    reset, update = gate("r"), gate("z")
    recalled = graph.add("Mul", reset, _linear(graph, memory, _layer(cell["hn"])))
    candidate = graph.add("Tanh", graph.add("Add", _linear(graph, inputs, _layer(cell["in"], ids)), recalled))
    kept = graph.add("Mul", update, graph.add("Sub", memory, candidate))
    return graph.add("Add", candidate, kept)
