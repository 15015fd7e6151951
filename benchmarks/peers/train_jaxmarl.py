"""Train one of JaxMARL's scripts, unmodified: `python -m peers.train_jaxmarl TASK ALGORITHM SEED PATH CHECKOUT`.

To be run with `stand_ins/` first on PYTHONPATH, and without the checkout itself, so that the environments are those of
the installed package on both sides.
"""

import re
import sys
import time
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import wandb
import yaml
from peers.jaxmarl_policy import greedy, hidden_size
from peers.measure import Compilations, Instant, Point, now, save, summary
from peers.playing import final_figures, task_environment
from peers.tasks import TASKS, Peer, Task, budget

_LEARNERS = Path("baselines") / "QLearning"


def load_settings(folder: Path, peer: Peer, task: Task, seed: int) -> dict[str, Any]:
    """Return what Hydra would give to the script: its general settings, and the algorithm's as `alg`."""
    general = read_yaml(folder / "config" / "config.yaml")
    algorithm = read_yaml(folder / "config" / "alg" / peer.settings)
    algorithm = {**algorithm, **budget(task), **peer.overrides}
    return {**general, "SEED": seed, "WANDB_MODE": "online", "SAVE_PATH": None, "alg": algorithm}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read YAML as OmegaConf does, for which 1e7 is a number (for PyYAML it is text)."""
    content = yaml.safe_load(path.read_text())
    return {name: as_number(value) for name, value in content.items()}


def as_number(value: Any) -> Any:
    """Turn text such as 1e7 into a number."""
    is_number = isinstance(value, str) and re.fullmatch(r"[0-9.]+e[+-]?[0-9]+", value)
    return float(value) if is_number else value


def load_script(path: Path) -> ModuleType:
    """Import a script by its path."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # flax looks modules up by name
    spec.loader.exec_module(module)
    return module


@dataclass
class Waiting:
    """Stands in for `jax.block_until_ready` while a script runs: keeps what it waited for, and when that was ready."""

    original: Any
    results: list[tuple[Any, Instant]] = field(default_factory=list)

    def __call__(self, outputs: Any) -> Any:
        outputs = self.original(outputs)
        self.results.append((outputs, now()))
        return outputs


def points(task: Task, settings: dict[str, Any]) -> list[Point]:
    """Return the script's tests: it logs the last one again and again until the next."""
    updates = settings["TOTAL_TIMESTEPS"] // settings["NUM_STEPS"] // settings["NUM_ENVS"]
    interval = int(updates * settings["TEST_INTERVAL"])
    found = []
    for at, cpu, metrics in wandb.logged:
        if metrics["update_steps"] % interval == 0:
            won = metrics.get("test_returned_won_episode")
            mean_return = metrics["test_returned_episode_returns"]
            found.append(Point(Instant(at, cpu), int(metrics["env_step"]), mean_return, won))
    return sorted(found)


def main(name: str, algorithm: str, seed: str, path: str, checkout: str, steps: str = "") -> None:
    task = TASKS[name]._replace(**({"steps": int(steps)} if steps else {}))
    peer, folder = task.jaxmarl[algorithm], Path(checkout) / _LEARNERS
    compilations, script = Compilations(), load_script(folder / peer.script)
    settings = load_settings(folder, peer, task, int(seed))
    waiting = Waiting(jax.block_until_ready)
    called = now()
    jax.block_until_ready = waiting
    try:
        script.single_run(settings)
    finally:
        jax.block_until_ready = waiting.original
    outputs, ended = waiting.results[0]
    while len(wandb.logged) < int(outputs["runner_state"][0].n_updates[0]):
        time.sleep(0.01)  # logging does not wait for training, nor training for logging

    state = jax.tree.map(lambda leaf: leaf[0], outputs["runner_state"][0])  # of the only seed
    figures = summary(
        compilations, called, points(task, settings["alg"]), ended, int(state.timesteps), int(state.grad_steps)
    )
    params = state.params["agent"] if "agent" in state.params else state.params
    params = params.get("params", params)
    environment = task_environment(task)
    shown, _ = jax.eval_shape(environment.environment.reset, jax.random.PRNGKey(0))
    policy = greedy(
        params,
        getattr(state, "batch_stats", {}),
        bool(settings["alg"].get("NORM_INPUT", False)),
        next(iter(shown.values())).shape,
    )
    memory = jax.numpy.zeros((task.episodes, environment.spec.num_agents, hidden_size(params)))
    final = final_figures(task, environment, policy, memory)
    about = {"task": name, "side": "jaxmarl", "algorithm": algorithm, "seed": int(seed), "settings": settings["alg"]}
    save(Path(path), {**about, **figures, "final": final})


if __name__ == "__main__":
    main(*sys.argv[1:])
