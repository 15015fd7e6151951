"""Pictures of an episode by hand: who is where, what is gone, how far the return has come, how long it lasts."""

import numpy as np
import pytest
from PIL import Image

from env_jax.gridworld.state import State
from env_jax.gridworld.viewer import AGENT_COLORS, draw_frames, save_gif
from env_jax.recording import Recording
from env_jax.types import TimeStep

LEFT, TOP, CELL = 42, 16, 25  # where the grid lies on the picture
FOOD = "#F0E442"


@pytest.fixture(scope="module")
def recording():
    """Agent 0 walks right from (2, 3) and collects food 0 with its second step; the others stay."""
    agents = np.array([[[x, 3], [20, 3], [3, 20], [20, 20]] for x in (2, 3, 4)])
    foods = np.broadcast_to(np.array([[4, 3], [10, 10], [12, 12], [24, 24]]), (3, 4, 2))
    present = np.ones((3, 4), bool)
    present[2, 0] = False
    rewards = np.zeros((3, 4), np.float32)
    rewards[2, 0] = 1.0
    never = np.zeros(3, bool)
    return Recording(
        State(agents, foods, present, np.arange(3)),
        TimeStep(np.zeros((3, 4, 18)), np.zeros((3, 72)), np.ones((3, 4, 6), bool), rewards, never, never),
        np.array([[4, 0, 0, 0], [4, 0, 0, 5]]),
    )


def hex_color(frame, cell, dx=0, dy=0):
    at = [
        start + CELL * place + CELL // 2 + shift
        for start, place, shift in zip((LEFT, TOP), cell, (dx, dy), strict=True)
    ]
    return "#{:02X}{:02X}{:02X}".format(*frame.getpixel(at))


def test_agents_foods_and_paths_are_where_they_should_be(recording):
    frames = draw_frames(recording, best_return=2.0)
    assert len(frames) == 3
    for step, frame in enumerate(frames):
        for agent, cell in enumerate(recording.states.agent_positions[step]):
            assert hex_color(frame, cell, dx=-7, dy=-4) == AGENT_COLORS[agent]  # beside the digit
    assert hex_color(frames[0], (4, 3), dy=-9) == hex_color(frames[0], (24, 24), dy=-9) == FOOD
    assert hex_color(frames[1], (2, 3), dx=10, dy=-4) == AGENT_COLORS[0]  # the path, on its own track
    assert hex_color(frames[0], (3, 3), dy=-4) == "#FFFFFF"
    assert hex_color(frames[2], (10, 10), dy=-9) == FOOD


def test_the_bar_shows_the_return_so_far_as_a_share_of_the_best(recording):
    """0.95 of 1.9 is half of the bar, which is empty before."""
    frames = draw_frames(recording, best_return=1.9)
    lengths = [
        sum(
            frame.getpixel((x, 107)) == Image.new("RGB", (1, 1), AGENT_COLORS[0]).getpixel((0, 0))
            for x in range(LEFT + 25 * CELL, frame.width)
        )
        for frame in frames
    ]
    full = 318 - 44
    assert lengths[:2] == [lengths[0]] * 2
    assert lengths[0] <= 1
    assert lengths[2] == pytest.approx(full / 2, abs=2)


def test_the_gif_repeats_and_its_last_frame_stays(recording, tmp_path):
    save_gif(tmp_path / "episode.gif", recording, best_return=2.0)
    with Image.open(tmp_path / "episode.gif") as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        assert image.size == draw_frames(recording, 2.0)[0].size
        durations = []
        for frame in range(3):
            image.seek(frame)
            durations.append(image.info["duration"])
    assert durations[0] == durations[1] < durations[2] / 4


@pytest.mark.parametrize("best_return", [0.0, -1.0])
def test_where_nothing_can_be_won_the_bar_is_empty(recording, best_return):
    frames = draw_frames(recording, best_return)
    assert frames[-1].getpixel((LEFT + 25 * CELL + 30, 107)) == frames[0].getpixel((LEFT + 25 * CELL + 30, 107))
