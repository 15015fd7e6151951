"""Train our side of a task: `python -m peers.train_ours TASK ALGORITHM SEED PATH`."""

import sys
import tempfile
from pathlib import Path

from peers.measure import Compilations, Point, now, save, summary
from peers.playing import final_figures, in_unit, task_environment
from peers.tasks import TASKS, flags

import qmix_jax
from qmix_jax.presets import make_config
from qmix_jax.runs.policy import load_policy
from qmix_jax.runs.shell import prepare_libraries
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import TIMING_COLUMNS, read_log
from qmix_jax.train import make_parser
from qmix_jax.training.evaluation import greedy_policy
from qmix_jax.types import Evaluation


def main(name: str, algorithm: str, seed: str, path: str, steps: str = "") -> None:
    task = TASKS[name]._replace(**({"steps": int(steps)} if steps else {}))
    words = flags(task, algorithm)
    prepare_libraries()
    config = make_config(make_parser("train").parse_flags([*words, "--seed", seed]))
    compilations, points = Compilations(), []
    environment = task_environment(task)

    def keep(env_steps: int, evaluation: Evaluation) -> None:
        mean_return = in_unit(task, environment, float(evaluation.extra["undiscounted_return"]))
        points.append(Point(now(), env_steps, mean_return, float(evaluation.solved)))

    with tempfile.TemporaryDirectory() as folder:
        called = now()
        result = qmix_jax.run(config, run_directory=Path(folder) / "run", on_evaluation=keep)
        updates = read_log(RunDirectory(result.directory).timing, TIMING_COLUMNS)["updates"][-1]
        figures = summary(compilations, called, points, points[-1].at, config.env_steps, int(updates))
        trained = load_policy(result.directory)
        policy, memory = greedy_policy(trained.learner, trained.params), trained.learner.init_memory(task.episodes)
        final = final_figures(task, trained.environment, policy, memory)
    about = {"task": name, "side": "ours", "algorithm": algorithm, "seed": int(seed), "settings": {"flags": words}}
    save(Path(path), {**about, **figures, "final": final})


if __name__ == "__main__":
    main(*sys.argv[1:])
