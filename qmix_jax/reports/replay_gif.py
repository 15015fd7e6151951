"""An episode of any environment with `EnvSpec.render` as a GIF: its pictures, and beside them what the networks say."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from env_jax.gif import write_gif
from env_jax.pen import INK, PAPER, Pen
from env_jax.recording import Recording
from env_jax.types import Environment
from qmix_jax.reports.replay_frames import action_names, at_step, frame
from qmix_jax.training.inspection import Activations

_HEIGHT, _PANEL, _MARGIN = 520, 330, 16  # pixels
_TOP, _BOTTOM = 128, 22  # where the agents' rows begin, and the space below them
_MOST_AGENTS = 8
_FRAME_MS, _LAST_FRAME_MS = 320, 2_500
_BLUE, _LIGHT, _GREY = "#0072B2", "#BFD9EA", "#595959"


def save_frames_gif(
    path: Path,
    environment: Environment,
    recording: Recording,
    inner: Activations,
    best_return: float,
    discount: float,
) -> None:
    """Write an episode as an endless GIF that pauses on its last frame.

    Args:
        path: the file to write.
        environment: draws the states.
        recording: the episode of T steps, NumPy arrays.
        inner: network outputs at its steps, [T or longer, ...], NaN for actions that are not allowed.
        best_return: the best possible return of its start, NaN if unknown.
        discount: of the return shown.
    """
    steps = len(recording.actions)
    weights = discount ** np.arange(steps)
    returns = np.concatenate([[0.0], np.cumsum(weights * recording.time_steps.rewards[1:].sum(axis=1))])
    frames, names = [], action_names(environment.spec)
    for step in range(steps + 1):
        panel = Pen(_PANEL, _HEIGHT)
        _draw_team(panel, step, steps, returns[step], best_return, inner)
        if step < steps:
            _draw_agents(panel, np.asarray(recording.actions[step]), at_step(inner, step), names)
        frames.append(_beside(frame(environment, at_step(recording.states, step)), panel.picture()))
    write_gif(path, frames, [_FRAME_MS] * steps + [_LAST_FRAME_MS])


def _beside(picture: Image.Image, panel: Image.Image) -> Image.Image:
    scale = _HEIGHT / picture.height
    enlarging = Image.Resampling.NEAREST if scale > 1.0 else Image.Resampling.BOX
    picture = picture.resize((max(1, round(scale * picture.width)), _HEIGHT), enlarging)
    whole = Image.new("RGB", (picture.width + _PANEL, _HEIGHT), PAPER)
    whole.paste(picture, (0, 0))
    whole.paste(panel, (picture.width, 0))
    return whole


def _draw_team(pen: Pen, step: int, steps: int, reached: float, best_return: float, inner: Activations) -> None:
    right = _PANEL - _MARGIN
    pen.text((_MARGIN, 40), f"step {step}", 26)
    pen.text((right, 40), f"of {steps}", 15, _GREY, "rs")
    pen.text((_MARGIN, 78), f"{reached:.3f}", 26)
    known = "" if math.isnan(best_return) else f" of {best_return:.3f} best possible"
    pen.text((right, 78), f"return so far{known}", 15 if not known else 13, _GREY, "rs")
    if step < steps and inner.q_tot is not None:
        value = "" if inner.state_value is None else f"    V(s) {inner.state_value[step]:.3f}"
        pen.text((_MARGIN, 108), f"Q_tot {inner.q_tot[step]:.3f}{value}", 15, _GREY)


def _draw_agents(pen: Pen, actions: np.ndarray, inner: Any, names: Sequence[str]) -> None:
    """Draw a row for each agent: its action, its weight in the mixer, and a bar for the value of each action."""
    shown = min(len(actions), _MOST_AGENTS)
    row = min((_HEIGHT - _TOP - _BOTTOM) // shown, 84)
    for agent in range(shown):
        top, values = _TOP + agent * row, inner.q_values[agent]
        taken = int(actions[agent])
        pen.text((_MARGIN, top + 12), f"agent {agent}: {names[taken]}, Q {values[taken]:.3f}", 14)
        if inner.weights is not None:
            pen.text((_PANEL - _MARGIN, top + 12), f"weight {inner.weights[agent]:.2f}", 13, _GREY, "rs")
        _draw_values(pen, top + 18, row - 24, values, taken)
    if len(actions) > shown:
        pen.text((_MARGIN, _HEIGHT - 6), f"and {len(actions) - shown} more agents", 13, _GREY)


def _draw_values(pen: Pen, top: float, height: float, values: np.ndarray, taken: int) -> None:
    """Draw bars from the least value, which still shows, to the largest; none for actions that are not allowed."""
    low, spread = float(np.nanmin(values)), float(np.nanmax(values) - np.nanmin(values))
    width = (_PANEL - 2 * _MARGIN) / len(values)
    for action in np.flatnonzero(np.isfinite(values)):
        tall = height * (0.08 + 0.92 * ((float(values[action]) - low) / spread if spread else 1.0))
        color = _BLUE if action == taken else _LIGHT
        pen.bar(_MARGIN + action * width, top + height - tall, max(width - 3, 1), tall, color)
    pen.line([(_MARGIN, top + height), (_PANEL - _MARGIN, top + height)], INK, 1)
