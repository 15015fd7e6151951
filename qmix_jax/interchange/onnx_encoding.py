"""What the agents' networks read of observations, as ONNX operations: the counterpart of `views` and `LastAction`."""

from env_jax.gridworld.constants import GRID_SIZE, NUM_FOOD_SLOTS
from env_jax.gridworld.encoding import NEARNESS_DECAY, encode_observations
from env_jax.last_action import LastAction
from env_jax.types import Environment
from qmix_jax.interchange.onnx_graph import Graph
from qmix_jax.settings import ConfigError


def encoded(graph: Graph, environment: Environment, encoding: str, observations: str) -> str:
    """Features float32[batch, N, F] of observations float32[batch, N, O].

    Raises:
        ConfigError: the environment has a feature map of its own, which only JAX can run.
    """
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
    """`env_jax.gridworld.encoding.encode_observations`, in its order."""
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
    """A food slot's seven features, and its nearness, 0 where it is empty."""
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
