"""Runs on several tasks: which settings make a task, and scores that compare between tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qmix_jax.analysis.groups import settings_name
from qmix_jax.analysis.run_record import RunRecord, score_name
from qmix_jax.config import Config

SCORE = "score"  # the column that `with_scores` adds

Groups = Mapping[str, Mapping[str, Sequence[RunRecord]]]  # runs by group, then by task


def task_settings(config: Config) -> dict[str, Any]:
    """Return the settings that make a run's task, arguments one by one; layouts are GridWorld25's only."""
    task: dict[str, Any] = {"env": config.env, "max_steps_per_ep": config.max_steps_per_ep}
    task |= {f"env_args.{name}": value for name, value in config.env_arguments.items()}
    if config.env == Config.env:
        task["env_mode"] = config.env_mode
        if config.env_mode == "fixed":
            task["layout_seed"] = config.layout_seed
    return task


def task_names(configs: Sequence[Config]) -> list[str]:
    """Return each run's task, named by the settings in which the tasks differ; '' for all where there is only one."""
    tasks = [task_settings(config) for config in configs]
    names = dict.fromkeys(name for task in tasks for name in task)
    differing = [name for name in names if len({task.get(name) for task in tasks}) > 1]
    if not differing:
        return [""] * len(configs)
    return [settings_name({name: task[name] for name in differing if name in task}) for task in tasks]


def with_scores(records: Sequence[RunRecord], tasks: Sequence[str]) -> list[RunRecord]:
    """Return the runs with a column 'score': shares that compare between tasks.

    On a task where the best possible return is known it is optimality, elsewhere the return between the lowest (0) and
    the highest (1) evaluation of all its runs, as R. Gorsane et al. (2022) normalise returns.

    Args:
        records: the runs.
        tasks: the task of each.
    """
    scores = {}
    for task in dict.fromkeys(tasks):
        own = [record for record, name in zip(records, tasks, strict=True) if name == task]
        scores[task] = _task_scores(own)
    remaining = {task: iter(found) for task, found in scores.items()}
    return [
        record._replace(evaluations={**record.evaluations, SCORE: next(remaining[task])})
        for record, task in zip(records, tasks, strict=True)
    ]


def by_group(records: Sequence[RunRecord], tasks: Sequence[str]) -> Groups:
    """Return the runs of each group on each task, in the order of the runs; `tasks` has the task of each."""
    groups: dict[str, dict[str, list[RunRecord]]] = {}
    for record, task in zip(records, tasks, strict=True):
        groups.setdefault(record.group, {}).setdefault(task, []).append(record)
    return groups


def final_scores(records: Sequence[RunRecord]) -> np.ndarray:
    """Return the last score of each run, float64[S]; NaN without evaluations."""
    return np.array([[np.nan, *record.evaluations[SCORE]][-1] for record in records])


def _task_scores(records: Sequence[RunRecord]) -> list[np.ndarray]:
    column = score_name(records)
    values = [record.evaluations[column] for record in records]
    if column == "optimality":
        return values
    known = np.concatenate([found[np.isfinite(found)] for found in values])
    if not len(known):
        return values
    low, high = known.min(), known.max()
    return [(found - low) / (high - low) if high > low else found - low for found in values]
