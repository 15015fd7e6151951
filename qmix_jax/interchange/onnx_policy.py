"""The greedy policy as an ONNX program: feature map, agents' networks, values and actions.

Inputs: observations float32[batch, N, O]; action_mask bool[batch, N, A] where the environment masks actions; memory
float32[batch, N, H], the hidden state of recurrent agents. Outputs: q_values float32[batch, N, A], actions
int64[batch, N], and new_memory of recurrent agents.
"""

from typing import Any

import jax
import numpy as np

from env_jax.gridworld.constants import GRID_SIZE, NUM_FOOD_SLOTS
from env_jax.gridworld.encoding import NEARNESS_DECAY, encode_observations
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.errors import ConfigError
from qmix_jax.interchange.onnx_graph import Graph
from qmix_jax.networks.layers import LAYER_NORM_EPSILON
from qmix_jax.runs.policy import TrainedPolicy

Layer = tuple[np.ndarray, np.ndarray]  # kernel [N or 1, inputs, outputs], bias [N or 1, 1, outputs]


def policy_graph(policy: TrainedPolicy) -> Graph:
    """Return the program.

    Raises:
        ConfigError: the environment has its own feature map, which only JAX can run.
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
    hidden = _swapped(graph, _encoded(graph, policy.environment, config.encoding, observations))
    sizes = config.hidden_sizes[:-1] if memory_size else config.hidden_sizes
    for number in range(len(sizes)):
        hidden = _linear(graph, hidden, _layer(network[f"Dense_{number}"], ids))
        if config.layer_norm:
            hidden = _normalised_relu(graph, hidden, network[f"LayerNorm_{number}"])
        else:
            hidden = graph.add("Relu", hidden)
        ids = 0
    if memory_size:
        memory = _swapped(graph, graph.input("memory", "float32", ["batch", num_agents, memory_size]))
        hidden = _gru(graph, hidden, memory, network["GRUCell_0"], ids)
        graph.output("new_memory", _swapped(graph, hidden), "float32", ["batch", num_agents, memory_size])
    values = _dueling_layer(network) if config.dueling else _layer(network["values"])
    q_values = _swapped(graph, _linear(graph, hidden, values))
    graph.output("q_values", q_values, "float32", ["batch", num_agents, num_actions])
    allowed = q_values if mask is None else graph.add("Where", mask, q_values, graph.constant(-np.inf))
    graph.output("actions", graph.add("ArgMax", allowed, axis=-1, keepdims=0), "int64", ["batch", num_agents])
    return graph


def _encoded(graph: Graph, environment: Environment, encoding: str, observations: str) -> str:
    """Return features float32[batch, N, F] of observations float32[batch, N, O]: `networks.views` in ONNX."""
    if encoding == "raw":
        return observations
    if not isinstance(environment, LastAction):
        return _encoded_view(graph, environment, observations)
    spec = environment.environment.spec
    size = spec.observation_size
    view, last = graph.take(observations, 0, size), graph.take(observations, size, size + 1)
    numbers = graph.constant([1.0 + number for number in range(environment.largest)])
    one_hot = graph.as_float(graph.add("Equal", last, numbers))
    return graph.concatenate(_encoded_view(graph, environment.environment, view), one_hot)


def _encoded_view(graph: Graph, environment: Environment, observations: str) -> str:
    encode = environment.spec.encode_observations
    if encode is None:
        return observations
    if encode is not encode_observations:
        raise ConfigError(
            f"--format onnx: cannot hold the feature map of {environment.spec.name}; must be one of safetensors, npz, "
            "or a run with --encoding raw"
        )
    return _encoded_grid(graph, observations)


def _encoded_grid(graph: Graph, observations: str) -> str:
    """Return `env_jax.gridworld.encoding.encode_observations` in ONNX, in the same order."""
    far = graph.constant(float(GRID_SIZE - 1))
    here = graph.take(observations, 0, 2)
    neighbour = graph.add("Sub", graph.take(observations, 3, 5), here)
    scaled = graph.add("Div", here, far)
    parts = [
        graph.add("Sub", graph.add("Add", scaled, scaled), graph.constant(1.0)),
        graph.add("Div", neighbour, far),
        *_closeness(graph, neighbour),
    ]
    slots = [_encoded_slot(graph, observations, here, 6 + 3 * slot) for slot in range(NUM_FOOD_SLOTS)]
    foods = [features for features, _ in slots]
    nearness = graph.concatenate(*(nearness for _, nearness in slots))
    nearest = graph.add("ArgMax", nearness, axis=-1, keepdims=1)
    chosen = [
        graph.add("Mul", food, graph.as_float(graph.add("Equal", nearest, graph.constant([slot]))))
        for slot, food in enumerate(foods)
    ]
    return graph.concatenate(*parts, *foods, graph.add("Sum", *chosen))


def _encoded_slot(graph: Graph, observations: str, here: str, first: int) -> tuple[str, str]:
    """Return a food slot's seven features and its nearness, 0 where it is empty."""
    filled = graph.take(observations, first + 2, first + 3)
    offset = graph.add("Mul", graph.add("Sub", graph.take(observations, first, first + 2), here), filled)
    nearness, adjacent = _closeness(graph, offset)
    nearness = graph.add("Mul", nearness, filled)
    scaled = graph.add("Div", offset, graph.constant(float(GRID_SIZE - 1)))
    return graph.concatenate(filled, scaled, nearness, adjacent, graph.add("Sign", offset)), nearness


def _closeness(graph: Graph, offset: str) -> tuple[str, str]:
    distance = graph.add("ReduceSum", graph.add("Abs", offset), graph.constant([-1]), keepdims=1)
    nearness = graph.add("Pow", graph.constant(NEARNESS_DECAY), distance)
    return nearness, graph.as_float(graph.add("Equal", distance, graph.constant(1.0)))


def _swapped(graph: Graph, value: str) -> str:
    """Swap [batch, N, ...] and [N, batch, ...]: matrix products need the agents first."""
    return graph.add("Transpose", value, perm=[1, 0, 2])


def _layer(parameters: Any, ids: int = 0) -> Layer:
    """Return a linear layer of all agents; the last `ids` inputs of a shared one are the agent's one-hot id.

    An id contributes the same in every state: it becomes a bias of each agent.
    """
    kernel, bias = parameters["kernel"], parameters.get("bias", np.zeros(1, np.float32))[..., None, :]
    if not ids:
        return kernel, bias
    return kernel[:, :-ids], bias + np.swapaxes(kernel[:, -ids:], 0, 1)


def _dueling_layer(network: Any) -> Layer:
    """Return both heads as one layer (Wang et al. 2016, eq. 9), see `layers.dueling_heads`."""
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
    ones = graph.constant(np.ones(scale.shape[-1], np.float32))  # the operation has one scale for all agents
    normalised = graph.add("LayerNormalization", inputs, ones, axis=-1, epsilon=LAYER_NORM_EPSILON)
    scaled = graph.add("Mul", normalised, graph.constant(scale))
    return graph.add("Relu", graph.add("Add", scaled, graph.constant(bias)))


def _gru(graph: Graph, inputs: str, memory: str, cell: Any, ids: int) -> str:
    """Return the new hidden state (Cho et al. 2014, in flax's form: the reset gate is applied after the product)."""

    def gate(name: str) -> str:
        from_inputs = _linear(graph, inputs, _layer(cell[f"i{name}"], ids))
        return graph.add("Sigmoid", graph.add("Add", from_inputs, _linear(graph, memory, _layer(cell[f"h{name}"]))))

    reset, update = gate("r"), gate("z")
    recalled = graph.add("Mul", reset, _linear(graph, memory, _layer(cell["hn"])))
    candidate = graph.add("Tanh", graph.add("Add", _linear(graph, inputs, _layer(cell["in"], ids)), recalled))
    kept = graph.add("Mul", update, graph.add("Sub", memory, candidate))
    return graph.add("Add", candidate, kept)
