"""The replay page in a browser: it shows what the evaluation found, plays, scrubs, obeys keys, and fits a phone."""

import json
from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
import pytest
from helpers import quick_compilation, resize, too_wide
from saved_run import CONFIG, saved
from saved_run import EPISODES as SAVED_EPISODES
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from qmix_jax.learning.learner import make_learner
from qmix_jax.reports.assessment import LEARNED, assess
from qmix_jax.reports.replay_data import choose_episodes, page_data
from qmix_jax.reports.replay_page import make_page, write_page
from qmix_jax.reports.scores import json_figures, score_episodes
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.training.environments import make_environment

STEPS = 12


def test_the_worst_episodes_are_shown_and_some_typical_ones():
    regrets = np.array([0.1, 0.9, 0.3, 0.5, 0.9, 0.7, 0.2, 0.0, 0.4, 0.6])
    names = [bytes([k]) for k in (0, 1, 2, 3, 1, 5, 6, 7, 8, 9)]  # 4 goes as 1 does
    assert choose_episodes(regrets, names, 20) == ([1, 5, 9, 3, 8, 2, 6, 0, 7], [False] * 9)
    assert choose_episodes(regrets, names, 5) == ([1, 5, 9, 3, 6], [False] * 4 + [True])
    assert choose_episodes(regrets, names, 1) == ([1], [False])


def test_names_in_the_data_cannot_become_part_of_the_page():
    page = make_page({"board": {"kind": "grid"}, "about": {"run": "</script><script>alert(1)</script>{{script}}"}})
    assert page.count("</script>") == 2
    assert "\\u003c/script>" in page


@pytest.fixture(scope="module")
def played():
    """A team of random weights, its random starts, and the page's data."""
    config = replace(CONFIG, env_mode="random", max_steps_per_ep=STEPS)
    environment = make_environment(config)
    params = jax.tree.map(
        lambda x: np.random.default_rng(x.size).normal(size=x.shape).astype(x.dtype),
        saved(SAVED_EPISODES[-1]).state.learner.params,
    )
    policy = TrainedPolicy(config, environment, params, make_learner(config, environment.spec))
    with quick_compilation():
        return _played(policy, environment)


def _played(policy, environment):
    assessment = assess(policy, environment, 0, 40)
    scores = {name: score_episodes(values, 0) for name, values in assessment.values.items()}
    figures = {name: json_figures(score) for name, score in scores.items()}
    about = {
        "run": "results/run_<1>",
        "checkpoint": "final",
        "algorithm": "qmix",
        "environment": "GridWorld25v0",
        "env_mode": "random",
        "episodes": 40,
        "seed": 0,
        **figures.pop(LEARNED),
        "baselines": figures,
    }
    return assessment.values[LEARNED], about, page_data(policy, assessment, 10, about, scores)


@pytest.fixture
def page(browser, played, tmp_path):
    """Open the page on a desktop's screen; at the end, nothing was logged."""
    write_page(tmp_path / "replay.html", played[2])
    resize(browser, 1440, 900)
    browser.get((tmp_path / "replay.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []


def text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def step(page):
    return int(page.find_element(By.ID, "scrub").get_attribute("value"))


def press(page, *keys):
    page.find_element(By.TAG_NAME, "body").send_keys(*keys)


@pytest.mark.browser
def test_the_page_shows_what_the_evaluation_found(page, played):
    values, about, _ = played
    assert "results/run_<1>" in text(page, "#about")
    for figure, unit, digits in (("mean_return", 1, 3), ("optimality", 100, 1), ("mean_length", 1, 1)):
        for column, figures in enumerate([about, *about["baselines"].values()]):
            cell = text(page, f"[data-figure={figure}] td:nth-of-type({column + 1})").split("\n")
            low, high = (f"{unit * figures[f'{figure}_{end}']:z.{digits}f}" for end in ("low", "high"))
            assert cell[0].removesuffix(" %") == f"{unit * figures[figure]:z.{digits}f}"
            assert cell[1] == f"{low} to {high}"
    regrets = [float(item.text) for item in page.find_elements(By.CSS_SELECTOR, "#list .regret")]
    assert len(regrets) == 10
    assert all(worse >= better for worse, better in pairwise(regrets))
    assert regrets[0] == pytest.approx(np.max(values.best_returns - values.returns), abs=1e-3)


@pytest.mark.browser
def test_an_episodes_numbers_are_those_of_the_evaluation(page, played):
    values, _, data = played
    for index in (0, 9):
        number = data["episodes"][index]["number"]
        page.find_elements(By.CSS_SELECTOR, "#list button")[index].click()
        press(page, Keys.END)
        assert step(page) == values.lengths[number]
        assert text(page, "#status").startswith(f"Episode {number}: step {values.lengths[number]:.0f} of ")
        assert float(text(page, "#so-far")) == pytest.approx(values.returns[number], abs=1e-3)
        assert text(page, "#best") == f"of {values.best_returns[number]:.3f} best possible"


@pytest.mark.browser
def test_each_agents_values_and_the_teams_are_shown(page, played):
    episode = played[2]["episodes"][0]
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    cards = page.find_elements(By.CLASS_NAME, "agent-card")
    for agent, card in enumerate(cards):
        numbers = [round(1000 * float(number.text)) for number in card.find_elements(By.CLASS_NAME, "number")]
        assert numbers == episode["q_values"][48 + 6 * agent : 54 + 6 * agent]
        chosen = played[2]["actions"][int(episode["actions"][8 + agent])]
        assert card.find_element(By.CSS_SELECTOR, ".name.chosen").text == chosen
        assert numbers[played[2]["actions"].index(chosen)] == max(numbers)
        weight = float(card.find_element(By.CSS_SELECTOR, ".weight b").text)
        assert round(1000 * weight) == episode["weights"][8 + agent] >= 0
        x, y = (int(digit, 36) for digit in episode["agents"][16 + 2 * agent : 18 + 2 * agent])
        assert f"at ({x}, {y})" in card.text
    for name in ("q_tot", "state_value", "to_come"):
        assert round(1000 * float(text(page, f"[data-value={name}] b"))) == episode[name][2]


@pytest.mark.browser
def test_an_agent_that_is_chosen_shows_what_it_sees(page):
    """With all foods there, agent 2 sees agent 0 and foods 2, 3 and 0: not 1."""
    assert not page.find_elements(By.CSS_SELECTOR, "#board .sight")
    page.find_elements(By.CSS_SELECTOR, ".agent-card > button")[2].click()
    assert len(page.find_elements(By.CSS_SELECTOR, "#board .sight")) == 4
    assert len(page.find_elements(By.CSS_SELECTOR, "#board .unseen")) == 1
    seen = page.find_elements(By.CLASS_NAME, "sees")[2].text
    assert all(name in seen for name in ("agent 0", "food 2", "food 3", "food 0"))
    assert "food 1" not in seen


@pytest.mark.browser
def test_it_plays_and_pauses_by_mouse_and_keyboard(page):
    play = page.find_element(By.ID, "play")
    press(page, "++++")
    assert page.find_element(By.ID, "speed").get_attribute("value") == "32"
    press(page, "-")
    assert page.find_element(By.ID, "speed").get_attribute("value") == "16"
    play.click()
    assert play.get_attribute("aria-label") == "Pause"
    WebDriverWait(page, 20).until(lambda page: step(page) == STEPS and play.get_attribute("aria-label") == "Play")
    page.execute_script("document.activeElement.blur()")
    press(page, "-----", " ")  # again from the first step, at one a second
    assert play.get_attribute("aria-label") == "Pause"
    press(page, " ")
    assert play.get_attribute("aria-label") == "Play"
    assert step(page) < STEPS


@pytest.mark.browser
def test_it_scrubs_and_steps(page):
    page.execute_script("const s = find('scrub'); s.value = 7; s.dispatchEvent(new Event('input'))")
    assert text(page, "#status").startswith("Episode ")
    assert f"step 7 of {STEPS}" in text(page, "#status")
    for name, expected in (("forward", 8), ("back", 7), ("back", 6), ("last", STEPS), ("first", 0)):
        page.find_element(By.ID, name).click()
        assert step(page) == expected
    page.execute_script("document.activeElement.blur()")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert step(page) == 1
    first = text(page, "#status")
    press(page, Keys.ARROW_DOWN)
    assert (step(page), text(page, "#status") == first) == (0, False)
    press(page, Keys.ARROW_UP, Keys.ARROW_UP)  # there is nothing above the first
    assert page.find_element(By.CSS_SELECTOR, "#list li").get_attribute("aria-current") == "true"


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 768, 1100, 1280, 1920])
def test_it_fits_the_screen(page, width):
    resize(page, width, 800)
    assert too_wide(page) == []
    board = page.find_element(By.ID, "board").rect
    assert 0.7 * min(width, 560) < board["width"]


@pytest.mark.browser
def test_algorithms_without_a_mixer_show_no_team_value(browser, played, tmp_path):
    data = json.loads(json.dumps(played[2]))
    for episode in data["episodes"]:
        episode.update(q_tot=None, weights=None, state_value=None)
    write_page(tmp_path / "replay.html", data)
    browser.get((tmp_path / "replay.html").as_uri())
    assert "no mixer" in text(browser, "#values")
    assert not browser.find_element(By.ID, "chart").is_displayed()
    assert not browser.find_elements(By.CLASS_NAME, "weight")
    press(browser, Keys.END)
    assert browser.get_log("browser") == []
