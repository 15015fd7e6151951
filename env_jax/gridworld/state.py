"""The state of an episode of GridWorld25."""

from flax import struct

from env_jax.types import Array


@struct.dataclass
class State:
    """Everything that changes in an episode. May be built by hand to test any situation."""

    agent_positions: Array  # int32[4, 2], cells as (x, y), each 0..24
    food_positions: Array  # int32[4, 2], cells as (x, y), in their original order, collected ones included
    food_present: Array  # bool[4], food not yet collected
    step_count: Array  # int32[], environment steps since the reset
