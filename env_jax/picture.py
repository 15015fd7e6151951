"""An environment's picture of a state, checked. Host code."""

from typing import Any

import jax
import numpy as np

from env_jax.contract import ContractError, described, located
from env_jax.types import Environment


def draw_state(environment: Environment, state: Any) -> np.ndarray:
    """Return `EnvSpec.render` of a state, uint8[H, W, 3].

    Raises:
        ContractError: the environment has no pictures, cannot draw this state, or draws something else.
    """
    render = environment.spec.render
    if render is None:
        raise ContractError(environment, "spec.render: None, must be a function that draws a state")
    try:
        picture = render(jax.device_get(state))
    except Exception as error:  # whatever a third-party viewer may raise
        raise ContractError(environment, f"spec.render: cannot draw a state: {located(error)}") from error
    dtype, shape = getattr(picture, "dtype", None), tuple(getattr(picture, "shape", ()))
    if len(shape) != 3 or shape[-1] != 3 or 0 in shape or dtype != np.uint8:
        raise ContractError(environment, f"spec.render: gives {described(picture)}, must be uint8[H, W, 3]")
    return np.asarray(picture)
