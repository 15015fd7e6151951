"""Replays of an environment that draws its own pictures: what the page and the GIF hold, also of random steps."""

import base64
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import SIDE, Drawn, untrained
from helpers import quick_compilation, resize, too_wide
from PIL import Image
from probes import Corridor
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from env_jax import GridWorld25, LastAction
from qmix_jax.errors import ConfigError
from qmix_jax.reports.assessment import LEARNED, activations, assess, record_episodes
from qmix_jax.reports.evaluate import save_episode_gif
from qmix_jax.reports.replay_data import can_show, page_data
from qmix_jax.reports.replay_frames import action_names, frame
from qmix_jax.reports.replay_page import write_page
from qmix_jax.reports.scores import score_episodes

ABOUT = {"run": "results/run_1", "checkpoint": "final", "algorithm": "qmix", "environment": "Drawn", "env_mode": None}


@pytest.fixture(scope="module")
def played():
    """A policy, its episodes, and the page's data."""
    environment = Drawn()
    with quick_compilation():
        policy = untrained(environment)
        assessment = assess(policy, environment, 0, 9)
        figures = {name: score_episodes(values, 0) for name, values in assessment.values.items()}
        about = {**ABOUT, "episodes": 9, "seed": 0}
        return policy, assessment, page_data(policy, assessment, 4, about, figures)


def test_a_recording_repeats_the_random_steps_of_the_evaluation(played):
    policy, assessment, _ = played
    recording = record_episodes(assessment, range(9))
    discounts = 0.95 ** np.arange(6)[:, None]
    returns = (discounts * np.asarray(recording.time_steps.rewards)[1:].sum(axis=-1)).sum(axis=0)
    np.testing.assert_allclose(returns, assessment.values[LEARNED].returns, rtol=1e-5)
    assert len(set(returns.tolist())) == 9
    q_values = np.asarray(activations(policy, recording).q_values)
    assert np.isnan(q_values[..., -1]).all()
    assert np.isfinite(q_values[..., :-1]).all()


def test_the_page_holds_every_picture_once(played):
    _, assessment, data = played
    values, board = assessment.values[LEARNED], data["board"]
    assert (board["kind"], data["agents"], data["actions"]) == ("frames", 2, ["wait", "one", "two"])
    assert len(board["pictures"]) <= 14  # seven steps, two cues
    returns = [episode["return"] for episode in data["episodes"]]
    assert returns[0] == pytest.approx(values.returns.min(), abs=1e-5)
    for episode in data["episodes"]:
        assert (episode["best"], episode["length"]) == (None, 6)
        assert len(episode["q_tot"]) == 6
        assert episode["to_come"] is None  # q_tot is in units of the standardised rewards
        assert episode["so_far"][-1] == pytest.approx(1000 * episode["return"], abs=1)
        for step, number in enumerate(episode["frames"]):
            with Image.open(BytesIO(base64.b64decode(board["pictures"][number]))) as image:
                picture = np.asarray(image.convert("RGB"))
            assert picture.shape == (300, 300, 3)  # enlarged, so that a browser need not
            assert (picture[:, 0] == 0).all(axis=1).sum() == step * 300 // SIDE
    assert next(name for name, _, _ in data["table"]["figures"]) == "mean_return"


def test_the_gif_has_a_frame_for_every_step(played, tmp_path):
    policy, assessment, _ = played
    save_episode_gif(tmp_path / "episode.gif", policy, assessment, 2)
    with Image.open(tmp_path / "episode.gif") as image:
        assert image.n_frames == 7
        assert image.size == (520 + 330, 520)


def test_actions_without_names_have_numbers():
    assert action_names(replace(Drawn().spec, action_names=None)) == ("action 0", "action 1", "action 2")


def test_what_cannot_be_drawn_is_refused():
    assert can_show(GridWorld25("random"))
    assert can_show(LastAction(GridWorld25()))
    assert can_show(LastAction(Drawn()))
    assert not can_show(Corridor())
    state = SimpleNamespace()
    for render, message in (
        (lambda state: np.zeros((2, 2)), r"gives float64\[2, 2\], must be uint8\[H, W, 3\]"),
        (lambda state: None, "gives None, must be"),
        (lambda state: state.nothing, "cannot draw a state: AttributeError: "),
    ):
        broken = SimpleNamespace(spec=replace(Drawn().spec, render=render))
        with pytest.raises(ConfigError, match=f"environment Drawn: spec.render: {message}"):
            frame(broken, state)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_page_in_a_browser(browser, played, tmp_path, width):
    data = played[2]
    write_page(tmp_path / "replay.html", data)
    resize(browser, width, 900)
    browser.get((tmp_path / "replay.html").as_uri())
    assert too_wide(browser) == []
    assert browser.find_element(By.ID, "about").text == (
        "QMIX of results/run_1 (final) on Drawn; of 9 episodes, seed 0, 4 are here"
    )
    board = browser.find_element(By.ID, "board")
    first = board.get_attribute("src")
    assert first.endswith(data["board"]["pictures"][data["episodes"][0]["frames"][0]])
    cards = browser.find_elements(By.CLASS_NAME, "agent-card")
    assert [number.text for card in cards for number in card.find_elements(By.CLASS_NAME, "number")][2::3] == ["-", "-"]
    assert not browser.find_element(By.ID, "layers").is_displayed()
    assert browser.find_element(By.ID, "legend").text.split() == ["Q_tot", "V(s)"]
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.END)
    assert board.get_attribute("src") != first
    assert browser.find_element(By.ID, "status").text.endswith(": step 6 of 6, terminated")
    assert float(browser.find_element(By.ID, "so-far").text) == pytest.approx(data["episodes"][0]["return"], abs=1e-3)
    assert browser.get_log("browser") == []
