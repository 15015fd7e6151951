"""Evaluations of runs as JSON for marl-eval, whose tools draw the plots of R. Gorsane et al. (NeurIPS 2022).

environment -> task -> algorithm -> seed -> "step_0", "step_1", ..., "absolute_metrics" -> metric -> [value].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from env_jax.types import Environment
from qmix_jax.analysis.groups import differing_settings, settings_name
from qmix_jax.analysis.run_record import RunRecord, read_record
from qmix_jax.analysis.stats import common_points, step_values
from qmix_jax.analysis.tasks import task_names, task_settings
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError, RunError
from qmix_jax.learning.learner import make_learner
from qmix_jax.output import print_lines
from qmix_jax.reports.options import ReportOptions
from qmix_jax.runs.policy import load_chosen
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import read_config
from qmix_jax.storage.output_file import writing
from qmix_jax.training.evaluation import evaluate, evaluation_key, greedy_policy
from qmix_jax.training.pinning import seed_key

_METRICS = {"mean_return": "return", "optimality": "optimality", "solved": "success_rate", "mean_length": "length"}
_MORE_EPISODES = 10  # times as many as in an evaluation, for the absolute metrics

Steps = dict[str, dict[str, Any]]  # metrics by step
Tree = dict[str, dict[str, dict[str, dict[str, Steps]]]]


class Place(NamedTuple):
    """Where a run is in the file."""

    environment: str
    task: str
    algorithm: str
    seed: str


def write_marl_eval(runs: Sequence[RunDirectory], options: ReportOptions) -> None:
    """Write the file `options.marl_eval`.

    Raises:
        ConfigError: runs have the same settings and seed, or one has no evaluation, best model or environment.
        RunError: a file of a run is damaged, or the file could not be written.
    """
    flag = f"--marl_eval {options.marl_eval}"
    configs = [read_config(run.hparams) for run in runs]
    places = find_places(configs)
    for run, place in zip(runs, places, strict=True):
        other = runs[places.index(place)]
        if other != run:
            raise ConfigError(f"{flag}: {other.path} and {run.path} have the same settings and seed; give only one")
    try:
        records = [read_record(place.algorithm, 0, run) for place, run in zip(places, runs, strict=True)]
    except DamagedError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from None
    for run, record in zip(runs, records, strict=True):
        if not len(record.evaluations["env_steps"]):
            raise ConfigError(f"{flag}: {run.path} must have an evaluation")
    tree = make_tree(places, records, [_absolute_metrics(run, options) for run in runs])
    for name, tasks in tree.items():
        if not _is_balanced(tasks):
            print_lines(f"warning: {name}: marl-eval needs the same algorithms and number of runs on every task")
    with writing(str(options.marl_eval)) as path:
        path.write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def find_places(configs: Sequence[Config]) -> list[Place]:
    """Return where each run is in the file. Algorithms are named with the settings in which runs on a task differ."""
    places = []
    for config, point in zip(configs, differing_settings(configs, task_names(configs)), strict=True):
        task = {name: value for name, value in task_settings(config).items() if name != "env"}
        others = {name: value for name, value in point.items() if name != "algorithm"}
        algorithm = f"{config.algorithm} {settings_name(others)}" if others else config.algorithm
        # marl-eval allows no comma in an algorithm's name
        places.append(Place(config.env, settings_name(task), algorithm.replace(",", ";"), f"seed_{config.seed}"))
    return places


def make_tree(places: Sequence[Place], records: Sequence[RunRecord], absolute: Sequence[Mapping[str, float]]) -> Tree:
    """Return the content of the file.

    marl-eval needs equal numbers of evaluations, so every run of an environment has one at each step at which any of
    them was evaluated: between two evaluations, and after a run's end, the last one. Metrics that are unknown for a run
    are left out for all runs of the environment.

    Args:
        places: of the runs.
        records: their evaluations, at least one each.
        absolute: their absolute metrics, by column of the evaluations.
    """
    tree: Tree = {}
    for name in dict.fromkeys(place.environment for place in places):
        own = [i for i, place in enumerate(places) if place.environment == name]
        steps = [records[i].evaluations["env_steps"] for i in own]
        points = common_points(steps)
        points = points[points >= max(found[0] for found in steps)]
        known = [
            column
            for column in _METRICS
            if all(np.isfinite([*records[i].evaluations[column], absolute[i][column]]).all() for i in own)
        ]
        for i in own:
            measured = records[i].evaluations
            curves = {column: step_values(measured["env_steps"], measured[column], points) for column in known}
            run: Steps = {
                f"step_{number}": {
                    "step_count": int(point),
                    **{_METRICS[column]: [float(curve[number])] for column, curve in curves.items()},
                }
                for number, point in enumerate(points)
            }
            run["absolute_metrics"] = {_METRICS[column]: [float(absolute[i][column])] for column in known}
            _, task, algorithm, seed = places[i]
            tree.setdefault(name, {}).setdefault(task, {}).setdefault(algorithm, {})[seed] = run
    return tree


def _is_balanced(tasks: Mapping[str, Mapping[str, Mapping[str, Steps]]]) -> bool:
    """Whether there are the same algorithms on all tasks, and equally many runs of each."""
    counts = {len(runs) for algorithms in tasks.values() for runs in algorithms.values()}
    return len(counts) == 1 and len({frozenset(algorithms) for algorithms in tasks.values()}) == 1


def _absolute_metrics(run: RunDirectory, options: ReportOptions) -> dict[str, float]:
    """Play a run's best model for ten times the episodes of its evaluations. Returns means, by column."""
    policy = load_chosen(run, "best", env=options.env)
    environment: Any = policy.environment
    play = _evaluation_of(replace(policy.config, seed=0), environment)
    found = jax.device_get(play(policy.params, evaluation_key(seed_key(options.seed))))
    means = {column: getattr(found, column) for column in _METRICS}
    return {column: float("nan") if mean is None else float(mean) for column, mean in means.items()}


@cache  # runs that differ only in their seed share the program
def _evaluation_of(config: Config, environment: Environment) -> Any:
    learner, episodes = make_learner(config, environment.spec), _MORE_EPISODES * config.eval_episodes

    def play(params: Any, key: Any) -> Any:
        memory = learner.init_memory(episodes)
        return evaluate(environment, greedy_policy(learner, params), key, episodes, memory=memory)

    return jax.jit(play)
