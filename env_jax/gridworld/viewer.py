"""Pictures of GridWorld25: a state, the frames of an episode, a GIF. Host code: NumPy arrays, drawn with Pillow."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from env_jax.gif import write_gif
from env_jax.gridworld.constants import ACTION_NAMES, GRID_SIZE, NUM_AGENTS, NUM_FOODS
from env_jax.pen import INK, PAPER, Pen
from env_jax.recording import Recording

COMMUNICATION_PAIRS = ((0, 1), (0, 2), (1, 3), (2, 3))  # the reference's; who sees whom is in observations.py

# Okabe and Ito's colour-blind safe palette. Agents are also numbered.
AGENT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_ON_AGENT = (PAPER, PAPER, PAPER, INK)  # colour of the number on each agent
_FOOD, _GREY, _PAIRS, _LINES = "#F0E442", "#595959", "#7A7A7A", "#E3E3E3"

_TRACKS = (-4.5, -1.5, 1.5, 4.5)  # offsets that keep the agents' paths apart
_PANEL = 318  # width of the text beside the grid of a frame, in pixels
_FRAME_MS, _LAST_FRAME_MS = 320, 2_500


class _Board(NamedTuple):
    """Where the grid lies on a picture, in pixels."""

    left: int
    top: int
    cell: int
    numbers: int  # baseline of the column numbers

    @property
    def size(self) -> int:
        """Length of a side of the grid."""
        return self.cell * GRID_SIZE

    def scaled(self, length: float) -> float:
        """Scale a length that fits cells of 25 pixels."""
        return length * self.cell / 25

    def centers(self, cells: np.ndarray) -> np.ndarray:
        """Turn cells int[..., 2] into the pixels of their middles, float[..., 2]."""
        return np.array([self.left, self.top]) + (cells + 0.5) * self.cell


_FRAME = _Board(left=42, top=16, cell=25, numbers=16 + 25 * GRID_SIZE + 16)
_PLAIN = _Board(left=24, top=24, cell=20, numbers=18)


class _Scene(NamedTuple):
    """An episode of T steps as NumPy arrays."""

    agents: np.ndarray  # int[T + 1, 4, 2]
    foods: np.ndarray  # int[4, 2]
    present: np.ndarray  # bool[T + 1, 4]
    actions: np.ndarray  # int[T, 4]
    returns: np.ndarray  # float[T + 1], discounted team return so far
    best_return: float


def save_gif(path: Path, recording: Recording, best_return: float, discount: float = 0.95) -> None:
    """Write an episode of GridWorld25 as an endless GIF that pauses on its last frame.

    Args:
        path: the file to write.
        recording: the episode, cut at its end.
        best_return: the best possible return of its start, at `discount`.
        discount: of the return shown.
    """
    frames = draw_frames(recording, best_return, discount)
    write_gif(path, frames, [_FRAME_MS] * (len(frames) - 1) + [_LAST_FRAME_MS])


def draw_state(agents: Sequence[Sequence[int]], foods: Sequence[Sequence[int]]) -> Image.Image:
    """Draw a state as 525 x 525 pixels: agents and remaining foods at cells (x, y), and the communication pairs."""
    pen, board = Pen(525, 525), _PLAIN
    places = board.centers(np.array(agents))
    _draw_grid(pen, board)
    _draw_pairs(pen, places)
    for x, y, *_ in foods:
        _draw_food(pen, board, board.centers(np.array([x, y])).tolist())
    for agent, center in enumerate(places):
        _draw_agent(pen, board, center, agent)
    return pen.picture()


def draw_frames(recording: Recording, best_return: float, discount: float = 0.95) -> list[Image.Image]:
    """Draw every state of an episode, as `save_gif` shows them."""
    states, steps, actions = jax.tree.map(np.asarray, recording)
    weights = discount ** np.arange(len(actions))
    returns = np.concatenate([[0.0], np.cumsum(weights * steps.rewards[1:].sum(axis=1))])
    scene = _Scene(
        states.agent_positions,
        states.food_positions[0],
        states.food_present,
        actions,
        returns,
        best_return,
    )
    return [_draw(scene, step) for step in range(len(actions) + 1)]


def _draw(scene: _Scene, step: int) -> Image.Image:
    board = _FRAME
    pen = Pen(board.left + board.size + _PANEL, board.top + board.size + 40)
    _draw_grid(pen, board)
    pen.text((board.left + board.size / 2, board.top + board.size + 34), "x", 14, _GREY, "ms")
    pen.text((8, board.top + board.size / 2), "y", 14, _GREY, "lm")
    _draw_paths(pen, scene.agents[: step + 1])
    _draw_pairs(pen, board.centers(scene.agents[step]))
    _draw_objects(pen, scene, step)
    _draw_panel(pen, scene, step)
    return pen.picture()


def _draw_grid(pen: Pen, board: _Board) -> None:
    left, top, size = board.left, board.top, board.size
    for k in range(GRID_SIZE + 1):
        at = k * board.cell
        pen.line([(left + at, top), (left + at, top + size)], _LINES, 1)
        pen.line([(left, top + at), (left + size, top + at)], _LINES, 1)
    for k in range(0, GRID_SIZE, 2):
        middle = (k + 0.5) * board.cell
        pen.text((left + middle, board.numbers), str(k), round(board.scaled(13)), _GREY, "ms")
        pen.text((left - board.scaled(8), top + middle), str(k), round(board.scaled(13)), _GREY, "rm")


def _draw_pairs(pen: Pen, places: np.ndarray) -> None:
    for first, second in COMMUNICATION_PAIRS:
        pen.dashes(places[first], places[second], _PAIRS, 1.5)


def _draw_paths(pen: Pen, agents: np.ndarray) -> None:
    for agent, (color, track) in enumerate(zip(AGENT_COLORS, _TRACKS, strict=True)):
        points = _FRAME.centers(agents[:, agent]) + track
        pen.line(list(points), color, 3)
        pen.circle(points[0], 4.5, PAPER, color, 2)


def _draw_objects(pen: Pen, scene: _Scene, step: int) -> None:
    present = scene.present[step]
    for food, center in enumerate(_FRAME.centers(scene.foods)):
        _draw_food(pen, _FRAME, center, present[food], str(food))
    for agent, center in enumerate(_FRAME.centers(scene.agents[step])):
        _draw_agent(pen, _FRAME, center, agent)
    _draw_positions(pen, np.concatenate([scene.agents[step], scene.foods[present]]))


def _draw_agent(pen: Pen, board: _Board, center: Sequence[float], agent: int) -> None:
    pen.circle(center, board.scaled(11.5), AGENT_COLORS[agent], PAPER)
    pen.text(center, str(agent), round(board.scaled(15)), _ON_AGENT[agent], "mm")


def _draw_food(pen: Pen, board: _Board, center: Sequence[float], present: bool = True, label: str = "") -> None:
    """Draw a food, or the place where it was."""
    pen.diamond(center, board.scaled(13), _FOOD if present else PAPER, INK if present else "#B0B0B0", 1.5)
    pen.text(center, label, round(board.scaled(13)), INK if present else "#8A8A8A", "mm")


def _draw_positions(pen: Pen, cells: np.ndarray) -> None:
    """Write each cell's coordinates beside its marker, on the side where they cover least."""
    covered = [(x - 12, y - 12, x + 12, y + 12) for x, y in _FRAME.centers(cells)]
    for x, y in cells:
        text = f"{x}, {y}"
        width, (middle, height) = 7 * len(text), _FRAME.centers(np.array([x, y]))
        sides = [
            (middle, height - 20),
            (middle, height + 20),
            *((middle + k * (15 + width / 2), height) for k in (1, -1)),
        ]
        boxes = [(at - width / 2, level - 7, at + width / 2, level + 7) for at, level in sides]
        best = min(range(len(sides)), key=lambda side: _overlap(boxes[side], covered))
        covered.append(boxes[best])
        pen.text(sides[best], text, 13, INK, "mm", halo=True)


def _overlap(box: tuple[float, ...], others: Sequence[tuple[float, ...]]) -> float:
    """Return the area of a (left, top, right, bottom) that is covered by others or, weighted, off the grid."""
    left, top, right, bottom = box
    outside = max(_FRAME.left - left, 0) + max(right - _FRAME.left - _FRAME.size, 0)
    outside += max(_FRAME.top - top, 0) + max(bottom - _FRAME.top - _FRAME.size, 0)
    shared = (
        max(min(right, other[2]) - max(left, other[0]), 0) * max(min(bottom, other[3]) - max(top, other[1]), 0)
        for other in others
    )
    return 20 * outside + sum(shared)


def _draw_panel(pen: Pen, scene: _Scene, step: int) -> None:
    left, total = _FRAME.left + _FRAME.size + 22, len(scene.actions)
    width, reached = _PANEL - 44, scene.returns[step]
    pen.text((left, 44), f"step {step}", 28)
    pen.text((left + width, 44), _state_in_words(scene, step), 15, _GREY, "rs")
    pen.text((left, 92), f"{reached:.3f}", 28)
    pen.text((left + width, 92), f"of {scene.best_return:.3f} best possible", 15, _GREY, "rs")
    pen.bar(left, 102, width, 10, _LINES)
    share = reached / scene.best_return if scene.best_return > 0.0 else 0.0  # nothing to win without foods
    pen.bar(left, 102, width * min(max(share, 0.0), 1.0), 10, AGENT_COLORS[0])
    pen.text((left, 131), "discounted team return so far", 14, _GREY)

    pen.text((left, 178), "agents", 17)
    for agent in range(NUM_AGENTS):
        y = 206 + 32 * agent
        _draw_agent(pen, _FRAME, (left + 12, y - 5), agent)
        pen.text((left + 34, y), "({}, {})".format(*scene.agents[step, agent]), 16)
        pen.text((left + 112, y), ACTION_NAMES[scene.actions[step, agent]] if step < total else "", 16)
        collected = sum(agent in _takers(scene, food) for food in range(NUM_FOODS) if not scene.present[step, food])
        pen.text((left + width, y), f"{collected} food{'' if collected == 1 else 's'}", 16, _GREY, "rs")

    pen.text((left, 366), "foods", 17)
    for food in range(NUM_FOODS):
        y = 394 + 32 * food
        there = scene.present[step, food]
        _draw_food(pen, _FRAME, (left + 12, y - 5), there, str(food))
        pen.text((left + 34, y), "({}, {})".format(*scene.foods[food]), 16)
        pen.text((left + width, y), "" if there else _taken_in_words(scene, food), 16, _GREY, "rs")

    pen.line([(left, 553), (left + 24, 553)], AGENT_COLORS[0], 3)
    pen.circle((left, 553), 4.5, PAPER, AGENT_COLORS[0], 2)
    pen.text((left + 34, 558), "path from the start", 15, _GREY)
    pen.dashes(np.array([left, 581.0]), np.array([left + 25.0, 581.0]), _PAIRS, 1.5)
    pairs = ", ".join(f"{first}-{second}" for first, second in COMMUNICATION_PAIRS)
    pen.text((left + 34, 586), "communication pairs", 15, _GREY)
    pen.text((left + 34, 606), pairs, 15, _GREY)


def _state_in_words(scene: _Scene, step: int) -> str:
    remaining = int(scene.present[step].sum())
    if remaining == 0:
        return "all foods collected"
    if step == len(scene.actions):
        return f"time limit, {remaining} left"
    return f"{remaining} of {NUM_FOODS} foods left"


def _taken_in_words(scene: _Scene, food: int) -> str:
    return f"step {np.argmin(scene.present[:, food])}, by {' and '.join(map(str, _takers(scene, food)))}"


def _takers(scene: _Scene, food: int) -> list[int]:
    """Return the agents that collected a food: several where they share its cell."""
    taken = np.argmin(scene.present[:, food])
    return np.flatnonzero((scene.agents[taken] == scene.foods[food]).all(axis=1)).tolist()
