"""The environment that the documentation writes keeps the contract, and learns to its known value as it says."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from env_jax import check_environment

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
EXAMPLE = EXAMPLES / "meeting.py"
PAGE = (ROOT / "docs" / "how_to" / "environment.md").read_text()


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def meeting():
    return load("meeting").Meeting


def test_the_page_shows_the_file():
    assert f"```python\n{EXAMPLE.read_text()}```" in PAGE


@pytest.mark.parametrize("length", [2, 9])
def test_it_keeps_the_contract(length):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert check_environment(meeting()(length), num_episodes=8, seconds=5.0) == []


@pytest.mark.parametrize(("cells", "best"), [([0, 8], 0.95**3), ([4, 3], 1.0), ([2, 5], 0.95), ([7, 0], 0.95**3)])
def test_its_best_return(cells, best):
    """Of walkers who walk towards each other, of whom the first waits at distance 1."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        environment = meeting()()
        state = {"cells": np.array(cells, np.int32), "steps": np.int32(0)}
        assert environment.best_return(state, 0.95) == pytest.approx(best)
        total, discount, ended = 0.0, 1.0, False
        while not ended:
            first, second = map(int, state["cells"])
            towards = np.sign(second - first)
            actions = np.array([1 + (towards if abs(second - first) > 1 else 0), 1 - towards])
            state, seen = environment.step(jax.random.key(0), state, actions)
            total, discount, ended = (
                total + discount * float(seen.rewards.sum()),
                discount * 0.95,
                bool(seen.terminated),
            )
        assert total == pytest.approx(best)


@pytest.mark.slow
def test_it_learns_from_the_command_line(tmp_path):
    command = re.search(r"^qmix-jax (train --env meeting:Meeting .*)$", PAGE, re.MULTILINE).group(1).split()
    for seed in ("0", "1"):
        words = [*command[1:], "--seed", seed, "--results_dir", str(tmp_path)]
        subprocess.run([sys.executable, "-m", "qmix_jax.train", *words], cwd=EXAMPLE.parent, check=True)
    for run in sorted(tmp_path.iterdir()):
        assert json.loads((run / "configs" / "hparams.json").read_text())["env"] == "meeting:Meeting"
        with (run / "evaluation_log.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        assert float(last["optimality"]) > 0.99
        assert last["solved"] == ""  # the example defines no success


@pytest.mark.parametrize("name", ["Clustered", "Corners", "OneCorner", "Recorded"])
def test_starts_of_ones_own_are_as_they_say(name):
    layouts = load("layouts")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for seed in range(3):
            state, _ = getattr(layouts, name)().reset(jax.random.key(seed))
            agents, foods = (np.asarray(cells) for cells in (state.agent_positions, state.food_positions))
            cells = np.concatenate([agents, foods])
            assert len(np.unique(cells, axis=0)) == 8
            assert cells.min() >= 0
            assert cells.max() <= 24
            assert {
                "Clustered": np.ptp(foods, axis=0).max() <= 4,
                "Corners": set(map(tuple, foods.tolist())) == {(0, 0), (24, 0), (0, 24), (24, 24)},
                "OneCorner": np.ptp(agents, axis=0).max() <= 2 and set(agents.flat) <= {0, 1, 2, 22, 23, 24},
                "Recorded": any((cells == np.concatenate(start)).all() for start in layouts.FIXED),
            }[name]
