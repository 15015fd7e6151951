"""The comparison with JaxMARL, without JaxMARL's scripts: our side, its table, and what stands around their scripts."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import jax
import numpy as np
import pytest
from peers import jaxmarl_policy, measure, table
from peers import run as run_peers
from peers.tasks import TASKS, budget, flags

from env_jax.types import TimeStep
from qmix_jax.presets import make_config
from qmix_jax.train import make_parser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "peers"
# What JaxMARL's scripts import, log, wait for and return, in few lines.
SCRIPT = """
import flax, hydra, jax, jax.numpy as jnp, wandb
from omegaconf import OmegaConf


@flax.struct.dataclass
class State:
    params: dict
    timesteps: int
    n_updates: int
    grad_steps: int


def single_run(config):
    config = {**config, **config["alg"]}
    print(OmegaConf.to_yaml(config))
    wandb.init(config=config, mode=config["WANDB_MODE"])
    sizes = {"Dense_0": (5, 4), "Dense_1": (4, 3)}
    layers = {name: {"kernel": jnp.ones((1, *size)), "bias": jnp.zeros((1, size[1]))} for name, size in sizes.items()}
    gates = {name: {"kernel": jnp.ones((1, 4, 4)), "bias": jnp.zeros((1, 4))} for name in ("ir", "iz", "in", "hn")}
    gates |= {name: {"kernel": jnp.ones((1, 4, 4))} for name in ("hr", "hz")}
    updates = config["TOTAL_TIMESTEPS"] // config["NUM_STEPS"] // config["NUM_ENVS"]
    for update in range(1, updates + 1):
        metrics = {"env_step": update * 10.0, "update_steps": update, "test_returned_episode_returns": update + 0.5}
        wandb.log({name: jnp.asarray(value) for name, value in metrics.items()}, step=update)
    params = {"params": {**layers, "ScannedRNN_0": {"GRUCell_0": gates}}}
    state = State(params, jnp.array([updates * 10]), jnp.array([updates]), jnp.array([7]))
    jax.block_until_ready({"runner_state": (state,)})


@hydra.main(version_base=None, config_path="config", config_name="config")
def main(config):
    raise NotImplementedError
"""


def run(*words, **settings):
    environ = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **settings}  # nothing is measured
    command = [sys.executable, "benchmarks/peers/run.py", "--quick", *words]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs of both sides, JaxMARL's of the script above."""
    folder = tmp_path_factory.mktemp("peers")
    learners = folder / "checkout" / "baselines" / "QLearning"
    (learners / "config" / "alg").mkdir(parents=True)
    (learners / "vdn_rnn.py").write_text(SCRIPT)
    (learners / "config" / "config.yaml").write_text('"NUM_SEEDS": 1\n"SEED": 5\n')
    (learners / "config" / "alg" / "ql_rnn_mpe.yaml").write_text(
        '"TOTAL_TIMESTEPS": 1e7\n"NUM_ENVS": 2\n"NUM_STEPS": 6\n'
    )
    done = run("--jaxmarl", str(folder / "checkout"), "--commit", "c0ffee", "--out", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("seed 0") == 2
    return folder


@pytest.mark.slow  # trains both sides
def test_both_sides_are_measured_alike(results):
    ours, theirs = (
        json.loads((results / "out" / "switch_riddle" / f"{side}_vdn_seed0.json").read_text())
        for side in ("ours", "jaxmarl")
    )
    assert ours.keys() == theirs.keys()
    assert (theirs["commit"], theirs["settings"]["ENV_NAME"]) == ("c0ffee", "switch_riddle")
    assert (theirs["env_steps"], theirs["updates"], theirs["settings"]["TOTAL_TIMESTEPS"]) == (1000, 7, 1200)
    # 100 updates, 20 tests of them, each logged until the next.
    assert [(point["env_steps"], point["return"]) for point in theirs["curve"][:2]] == [(50, 5.5), (100, 10.5)]
    assert len(theirs["curve"]) == 20
    assert len(ours["curve"]) in (19, 20)  # at ends of chunks; 1216 is a multiple of 64
    assert ours["env_steps"] == ours["curve"][-1]["env_steps"] == 1216
    assert 0.0 < ours["compile_seconds"] <= ours["start_seconds"] < ours["wall_seconds"]
    for side in (ours, theirs):
        assert side["final"]["episodes"] == 512
        assert -1.0 <= side["final"]["return"] <= 1.0
        assert side["final"]["win_rate"] is None


def test_runs_of_hours_are_left_out_unless_named():
    def theirs(*words):
        arguments = run_peers.make_parser().parse_args(["--sides", "jaxmarl", "--seeds", "0", *words])
        return {(each.task, each.algorithm) for each in run_peers.chosen_runs(arguments)}

    assert ("cramped_room", "vdn") not in theirs()
    assert {task for task, _ in theirs()} == {name for name, task in TASKS.items() if task.jaxmarl} - {"cramped_room"}
    assert theirs("--tasks", "cramped_room", "--algorithms", "vdn") == {("cramped_room", "vdn")}


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def command_line(pid):
    """Return a process's command line, empty if it has ended."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text() if path.exists() else ""


def test_stopping_loses_only_the_run_under_way(tmp_path):
    """Ctrl-C ends the run and the command with one line; no part of a file is left."""
    command = [sys.executable, "benchmarks/peers/run.py", "--quick", "--sides", "ours", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (training := [pid for pid in children(process.pid) if "peers.train_ours" in command_line(pid)]):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[1].strip().startswith("stopped; the same command continues")
    assert process.returncode == 1
    while command_line(training[0]):  # killed, but perhaps not yet gone
        time.sleep(0.05)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.slow  # trains both sides
def test_a_finished_run_is_not_repeated(results):
    done = run("--sides", "ours", "--out", str(results / "out"))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow  # trains both sides
def test_table_and_plot(results):
    text = table.write(results / "out", "seconds")
    assert "## Switch riddle (indicative)" in text
    assert [line.split(" | ")[:3] for line in text.splitlines() if "vdn | 1" in line] == [
        ["| qmix_jax", "vdn", "1"],
        ["| JaxMARL", "vdn", "1"],
    ]
    assert (results / "out" / "peers.md").read_text() == text
    assert (results / "out" / "switch_riddle.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_checkout_is_refused(tmp_path):
    for words in ((), ("--jaxmarl", str(tmp_path))):
        done = run(*words, "--out", str(tmp_path / "out"))
        assert done.returncode == 2
        assert "--jaxmarl" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_table_has_intervals_over_seeds():
    def finished(value, won):
        figures = {"env_steps": 1000, "updates": 50, "peak_mib": 800, "compile_seconds": 9, "start_seconds": 11}
        return {**figures, "train_seconds": 10, "curve": [{"return": 2.5}], "final": {"return": value, "win_rate": won}}

    group = [finished(1.0, 0.5), finished(2.0, 0.75), finished(3.0, 1.0)]
    assert table.row("jaxmarl", "qmix", group, "seconds") == [
        *(
            "JaxMARL",
            "qmix",
            "3",
            "2.00 [1.00, 3.00]",
            "75% [50%, 100%]",
            "2.50",
            "1,000",
            "10",
            "11",
            "9",
            "100",
            "5",
            "800",
        )
    ]


def test_wandb_is_replaced_by_a_list():
    spec = spec_from_file_location("stand_in", FOLDER / "stand_ins" / "wandb.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.init(project="any", mode="online")
    module.log({"loss": np.float32(0.5)}, step=3)
    ((seconds, cpu_seconds, metrics),) = module.logged
    assert metrics == {"loss": 0.5}
    assert seconds > cpu_seconds > 0.0


def test_nested_compilation_counts_once():
    assert measure.covered([(0.0, 4.0), (1.0, 2.0), (3.0, 5.0), (7.0, 8.0)]) == 6.0


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_the_same_for_both_sides(name):
    task = TASKS[name]
    theirs = budget(task)
    for algorithm in task.ours:
        config = make_config(make_parser("train").parse_flags(flags(task, algorithm)))
        own = {"general": "qmix", "pqn": "qmix", "pqn_vdn": "vdn"}.get(algorithm, algorithm)
        assert (config.algorithm, config.env) == (own, task.env)
        assert task.env.endswith(theirs["ENV_NAME"])
        assert config.env_steps - task.steps < config.num_envs
        given = {name: str(value).lower() for name, value in theirs["ENV_KWARGS"].items()}
        scenario = {"scenario": theirs["MAP_NAME"]} if "MAP_NAME" in theirs else {}
        assert config.env_arguments == {**given, **scenario}
        assert config.eval_episodes == theirs["TEST_NUM_ENVS"]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def numbers(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def dense(rng, inputs, outputs):
    return {"kernel": numbers(rng, inputs, outputs), "bias": numbers(rng, outputs)}


def norm(rng, size):
    return {"scale": numbers(rng, size), "bias": numbers(rng, size)}


def apply_dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def layer_norm(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * layer["scale"] + layer["bias"]


def batch_norm(layer, stats, x):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * layer["scale"] + layer["bias"]


def gru(cell, h, x):
    reset = sigmoid(apply_dense(cell["ir"], x) + h @ cell["hr"]["kernel"])
    update = sigmoid(apply_dense(cell["iz"], x) + h @ cell["hz"]["kernel"])
    new = np.tanh(apply_dense(cell["in"], x) + reset * apply_dense(cell["hn"], h))
    return (1.0 - update) * new + update * h


def gru_parameters(rng, size):
    gates = {name: dense(rng, size, size) for name in ("ir", "iz", "in", "hn")}
    return {"GRUCell_0": {**gates, **{name: {"kernel": numbers(rng, size, size)} for name in ("hr", "hz")}}}


def time_step(observations, mask):
    nothing = np.zeros(len(observations))
    return TimeStep(observations, nothing, mask, nothing, nothing, nothing)


def play(policy, observations, mask, memory):
    actions, memory = policy(jax.random.key(0), time_step(observations, mask), memory)
    return np.asarray(actions), np.asarray(memory)


def test_a_recurrent_policy_of_their_qmix():
    """Dense, ReLU, GRU, dense; ids of the agents after the observation; forbidden actions are never taken."""
    rng = np.random.default_rng(0)
    params = {"Dense_0": dense(rng, 7, 4), "ScannedRNN_0": gru_parameters(rng, 4), "Dense_1": dense(rng, 4, 3)}
    observations, memory = numbers(rng, 6, 2, 5), numbers(rng, 6, 2, 4)
    inputs = np.concatenate([observations, np.tile(np.eye(2, dtype=np.float32), (6, 1, 1))], -1)
    after = gru(params["ScannedRNN_0"]["GRUCell_0"], memory, np.maximum(apply_dense(params["Dense_0"], inputs), 0.0))
    values = apply_dense(params["Dense_1"], after)
    mask = rng.random((6, 2, 3)) < 0.5
    mask[..., 0] = True
    actions, found = play(jaxmarl_policy.greedy(params, {}, False, (5,)), observations, mask, memory)
    np.testing.assert_allclose(found, after, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actions, np.where(mask, values, -np.inf).argmax(-1))
    assert jaxmarl_policy.hidden_size(params) == 4


def test_a_recurrent_policy_of_their_pqn():
    """Batch normalisation of the inputs and of two hidden layers, by stored means and variances."""
    rng = np.random.default_rng(1)
    params = {f"Dense_{i}": dense(rng, *size) for i, size in enumerate([(7, 4), (4, 4), (4, 3)])}
    params |= {f"BatchNorm_{i}": norm(rng, size) for i, size in enumerate([7, 4, 4])}
    params["ScannedRNN_0"] = gru_parameters(rng, 4)
    stats = {
        f"BatchNorm_{i}": {"mean": numbers(rng, size), "var": np.exp(numbers(rng, size))}
        for i, size in enumerate([7, 4, 4])
    }
    observations, memory = numbers(rng, 6, 2, 5), np.zeros((6, 2, 4), np.float32)
    x = np.concatenate([observations, np.tile(np.eye(2, dtype=np.float32), (6, 1, 1))], -1)
    x = batch_norm(params["BatchNorm_0"], stats["BatchNorm_0"], x)
    for i in range(2):
        name = f"BatchNorm_{i + 1}"
        x = np.maximum(batch_norm(params[name], stats[name], apply_dense(params[f"Dense_{i}"], x)), 0.0)
    after = gru(params["ScannedRNN_0"]["GRUCell_0"], memory, x)
    policy = jaxmarl_policy.greedy(params, stats, True, (5,))
    actions, found = play(policy, observations, np.ones((6, 2, 3), bool), memory)
    np.testing.assert_allclose(found, after, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(actions, apply_dense(params["Dense_2"], after).argmax(-1))


def test_a_convolutional_policy():
    """Of the plain grid, without ids; two convolutions with layer normalisation, one hidden layer."""
    rng = np.random.default_rng(2)
    sizes = [(5, 5, 2, 3), (3, 3, 3, 3)]
    convolutions = {
        f"Conv_{i}": {"kernel": numbers(rng, *size), "bias": numbers(rng, 3)} for i, size in enumerate(sizes)
    }
    cnn = {**convolutions, **{f"LayerNorm_{i}": norm(rng, 3) for i in range(2)}}
    params = {"CNN_0": cnn, "Dense_0": dense(rng, 36, 4), "LayerNorm_0": norm(rng, 4), "Dense_1": dense(rng, 4, 3)}
    grid = numbers(rng, 6, 2, 4, 3, 2)
    x = grid
    for i, size in enumerate(sizes):
        edge = size[0] // 2
        padded = np.pad(x, [(0, 0), (0, 0), (edge, edge), (edge, edge), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, size[:2], (2, 3))
        x = np.einsum("knijcab,abcd->knijd", windows, cnn[f"Conv_{i}"]["kernel"]) + cnn[f"Conv_{i}"]["bias"]
        x = np.maximum(layer_norm(cnn[f"LayerNorm_{i}"], x), 0.0)
    x = layer_norm(params["LayerNorm_0"], apply_dense(params["Dense_0"], x.reshape(6, 2, -1)))
    values = apply_dense(params["Dense_1"], np.maximum(x, 0.0))
    policy = jaxmarl_policy.greedy(params, {}, False, (4, 3, 2))
    flat, memory = grid.reshape(6, 2, -1), np.zeros((6, 2, 0), np.float32)
    actions, _ = play(policy, flat, np.ones((6, 2, 3), bool), memory)
    np.testing.assert_array_equal(actions, values.argmax(-1))
