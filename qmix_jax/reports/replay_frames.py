"""What the replay page shows of any environment with `EnvSpec.render`: its pictures, every different one once."""

import base64
from io import BytesIO
from typing import Any

import jax
from PIL import Image

from env_jax.contract import ContractError
from env_jax.picture import draw_state
from env_jax.recording import Recording
from env_jax.types import Environment, EnvSpec
from qmix_jax.errors import ConfigError

_LARGEST, _SMALLEST = 600, 300  # pixels of the longer side
_COLORS = 64


def can_draw(environment: Environment) -> bool:
    """Return whether the environment draws its states."""
    return environment.spec.render is not None


def frame(environment: Environment, state: Any) -> Image.Image:
    """Return the picture of a state.

    Raises:
        ConfigError: the environment cannot draw it.
    """
    try:
        return Image.fromarray(draw_state(environment, state))
    except ContractError as error:
        raise ConfigError(str(error)) from error.__cause__


def action_names(spec: EnvSpec) -> tuple[str, ...]:
    """Return the names of the actions, by number where they have none."""
    return spec.action_names or tuple(f"action {action}" for action in range(spec.num_actions))


def at_step(tree: Any, step: int) -> Any:
    """Return the part of one step of arrays [T, ...]."""
    return jax.tree.map(lambda x: x[step], tree)


class FramesBoard:
    """Pictures of the environment's own."""

    most_frames = 500  # viewers take a twentieth to a fifth of a second for each

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._pictures: dict[bytes, int] = {}

    def data(self) -> dict[str, Any]:
        """Return what the episodes share, once all of them are drawn."""
        return {"kind": "frames", "pictures": [base64.b64encode(png).decode() for png in self._pictures]}

    def episode(self, recording: Recording) -> dict[str, Any]:
        """Return the indices of an episode's pictures, and its outcome."""
        states, steps, actions = recording
        pictures = [_png(frame(self._environment, at_step(states, step))) for step in range(len(actions) + 1)]
        return {
            "outcome": "terminated" if steps.terminated[-1] else "time limit",
            "frames": [self._pictures.setdefault(png, len(self._pictures)) for png in pictures],
        }


def _png(image: Image.Image) -> bytes:
    image.thumbnail((_LARGEST, _LARGEST))
    if max(image.size) < _SMALLEST:  # a browser would blur it
        scale = -(-_SMALLEST // max(image.size))
        image = image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
    content = BytesIO()
    image.quantize(_COLORS, dither=Image.Dither.NONE).save(content, "PNG")
    return content.getvalue()
