"""The benchmark's parts run and say what they measured; what they count and compare with is right."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import count_layers
from measuring import Options, Spread, number, ratio, replace_section, spread, table
from numpy_environment import NumpyGridWorld
from soak import Sample, judge_samples

from env_jax import GridWorld25, State
from qmix_jax.config import Config
from qmix_jax.training.environments import make_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "figure"),
    [
        ("environment.py", "numpy_steps_per_second"),
        pytest.param("learner.py", "operations_per_update", marks=pytest.mark.slow),
        pytest.param("devices.py", "cases", marks=pytest.mark.slow),
        pytest.param("adapters.py", "adapters", marks=pytest.mark.slow),
        pytest.param("growth.py", "sweeps", marks=pytest.mark.slow),
        pytest.param("checkpoints.py", "checkpoints", marks=pytest.mark.slow),
        pytest.param("memory.py", "runs", marks=pytest.mark.slow),
        pytest.param("scaling.py", "modelled", marks=pytest.mark.slow),
    ],
)
def test_a_part_runs(script, figure, tmp_path):
    command = [sys.executable, f"benchmarks/{script}", "--quick", "--json", str(tmp_path / "figures.json")]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert text.startswith("## ")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures[figure]
    assert {"cpu", "cores", "jax", "numpy"} <= figures["machine"].keys()


@pytest.mark.slow
def test_a_short_soak_finds_nothing():
    """Small networks: twelve seconds are thousands of episodes and dozens of checkpoints."""
    small = (
        "--num_envs 64 --max_steps_per_ep 20 --hidden_sizes 16 --batch_size 8 --train_frequency 64 "
        "--buffer_capacity 6400 --min_buffer_size 1000 --save_interval 1000"
    ).split()
    command = [sys.executable, "benchmarks/soak.py", "--minutes", "0.2", "--", *small]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checkpoints with right sums" in done.stdout


def test_a_soak_finds_what_grows_and_nothing_else():
    # Towards the end a checkpoint is being written most of the time.
    steady = [Sample(i, 800 + i % 3, 18 if i > 40 and i % 5 else 10, 4) for i in range(50)]
    assert judge_samples(steady) == []
    assert judge_samples([sample._replace(memory=800 + sample.seconds) for sample in steady]) == [
        "memory grew from 814.5 to 844.5"
    ]
    assert judge_samples([sample._replace(files=10 + int(sample.seconds)) for sample in steady]) == [
        "files grew from 24.5 to 50.0"
    ]
    assert judge_samples([sample._replace(cache_files=4 + (sample.seconds > 30)) for sample in steady]) == [
        "cache_files grew from 4.0 to 5.0"
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_numpy_environment_plays_like_ours(seed):
    theirs, ours = NumpyGridWorld(seed, max_steps=50), GridWorld25(mode="random", max_steps=50)
    step = jax.jit(ours.step)
    rng = np.random.default_rng(seed)
    observations = theirs.reset()
    # Crowded, so that agents block each other and foods go.
    theirs.agents = [tuple(map(int, cell)) for cell in rng.integers(0, 5, (4, 2))]
    theirs.foods = [(x, y) for x in (1, 3) for y in (2, 4)]
    state = State(
        agent_positions=jnp.asarray(theirs.agents, jnp.int32),
        food_positions=jnp.asarray(theirs.foods, jnp.int32),
        food_present=jnp.ones(4, bool),
        step_count=jnp.zeros((), jnp.int32),
    )
    ended = False
    while not ended:
        actions = rng.integers(0, 6, 4)
        state, time_step = step(jax.random.key(0), state, actions.astype(np.int32))
        observations, rewards, terminated, truncated = theirs.step(actions.tolist())
        np.testing.assert_array_equal(time_step.observations, observations)
        np.testing.assert_array_equal(time_step.rewards, rewards)
        assert (bool(time_step.terminated), bool(time_step.truncated)) == (terminated, truncated)
        ended = terminated or truncated


def test_the_numpy_environment_starts_on_the_fixed_layout():
    ours = GridWorld25(layout_seed=1).reset(jax.random.key(0))[1].observations
    np.testing.assert_array_equal(NumpyGridWorld(seed=0, layout_seed=1).reset(), ours)


def test_operations_of_a_small_learner():
    config = Config(hidden_sizes=(5,), batch_size=3, mixing_size=2, hypernet_size=4, encoding="raw", state_clock=False)
    layers = {layer.name: layer.total for layer in count_layers(config, make_environment(config).spec)}
    agents, batch = 4, 3
    assert layers == {
        "agents, layer 1": 4 * 2 * agents * batch * 18 * 5,  # online twice, target, gradient of the weights
        "agents, heads": 5 * 2 * agents * batch * 5 * 6,
        "mixer, weights 1, hidden": 3 * 2 * batch * 72 * 4,
        "mixer, weights 1": 4 * 2 * batch * 4 * 8,
        "mixer, weights 2, hidden": 3 * 2 * batch * 72 * 4,
        "mixer, weights 2": 4 * 2 * batch * 4 * 2,
        "mixer, value, hidden": 3 * 2 * batch * 72 * 4,
        "mixer, value": 4 * 2 * batch * 4 * 1,
        "mixer, bias 1": 3 * 2 * batch * 72 * 2,
    }


def test_figures():
    ticks = iter(range(100))
    options = Options(quick=False, rounds=2, seconds=2, clock=lambda: next(ticks))
    assert options.interleave({"a": lambda: 10.0, "b": lambda: 5.0}) == {"a": [10.0, 10.0], "b": [5.0, 5.0]}
    assert spread([3, 1, 2]) == Spread(2, 1, 3)
    assert ratio([4.0, 9.0], [2.0, 3.0]) == Spread(2.5, 2.0, 3.0)
    assert str(Spread(1234.5, 0.1234, 12.0)) == f"{number(1234.5)} (0.123..12)"
    assert table(["a"], [[1]]) == "| a |\n| --- |\n| 1 |"


def test_tables_of_a_page_are_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- sizes -->\nold\n<!-- end of sizes -->\nafter\n")
    for _ in range(2):
        replace_section(page, "sizes", "new")
        assert page.read_text() == "before\n<!-- sizes -->\n\nnew\n\n<!-- end of sizes -->\nafter\n"


@pytest.mark.slow  # PyTorch is a large download, so only `make test-slow` installs it
def test_the_baseline_trains_our_networks():
    import torch
    from learner import CONFIG
    from torch_baseline import BATCH_SIZE, TRAIN_FREQUENCY, Trainer

    from qmix_jax.learning.learner import make_learner

    trainer = Trainer()
    params = jax.eval_shape(make_learner(CONFIG, make_environment(CONFIG).spec).init, jax.random.key(0)).params
    ours = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sum(parameter.numel() for parameter in trainer.online.parameters()) == ours
    assert (BATCH_SIZE, TRAIN_FREQUENCY) == (CONFIG.batch_size, CONFIG.train_frequency)
    for _ in range(BATCH_SIZE):
        trainer.step(epsilon=1.0)
    assert np.isfinite([trainer.update() for _ in range(3)]).all()
    assert torch.isfinite(trainer.online.q_values(torch.zeros(1, 4, 18))).all()
