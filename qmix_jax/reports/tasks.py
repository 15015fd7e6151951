"""Findings about groups of runs on several tasks, and which groups are better: Markdown blocks and a plot."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from qmix_jax.analysis.groups import differing_settings, settings_name
from qmix_jax.analysis.overall import overall_estimate, probability_of_improvement
from qmix_jax.analysis.run_record import RunRecord
from qmix_jax.analysis.stats import Estimate, estimate
from qmix_jax.analysis.tables import improvement_table, overall_table, scores_table
from qmix_jax.analysis.tasks import Groups, by_group, final_scores, task_names, with_scores
from qmix_jax.config import Config
from qmix_jax.errors import warn_on_failure

PLOT = "tasks.png"
_MOST_GROUPS = 6  # in the plot and in tables with a column for each group
_SCORES = """\
*Score*: optimality on tasks whose best possible return is known; on others the return as a share of the way from the
lowest to the highest evaluation of all runs on that task. Figures are interquartile means of last evaluations over all
runs of all tasks; in brackets are 95% intervals of a bootstrap that resamples the runs of each task among themselves
(stratified, Agarwal et al. 2021). The plot shows the same mean over environment steps, and the share of runs that end
above a score."""
_IMPROVEMENT = """\
Probability that a run of the row ends with a higher score than a run of the column{where}; ties count half, so that 50%
says nothing. In brackets are 95% bootstrap intervals (Agarwal et al. 2021)."""


def task_blocks(
    folder: Path, title: str, group_column: str, records: Sequence[RunRecord], tasks: Sequence[str]
) -> list[str]:
    """Return Markdown blocks about groups over all tasks that they share, the best one first, and draw their plot.

    Args:
        folder: where the plot is written.
        title: of the plot.
        group_column: what groups are, such as 'algorithm'.
        records: the runs.
        tasks: the task of each run.
    """
    groups = by_group(with_scores(records, tasks), tasks)
    shared = [task for task in dict.fromkeys(tasks) if all(task in found for found in groups.values())]
    apart = [task for task in dict.fromkeys(tasks) if task not in shared]
    missing = f"**Warning**: not every group has runs on {', '.join(apart)}; only other tasks are compared."
    warnings = [missing] if apart else []
    if not shared:
        return [*warnings, "## Task by task", _scores(groups)]
    compared = {name: {task: found[task] for task in shared} for name, found in groups.items()}
    overall = {name: overall_estimate(_finals(found)) for name, found in compared.items()}
    order = sorted(overall, key=lambda name: np.nan_to_num(overall[name].value, nan=-np.inf), reverse=True)
    best = {name: compared[name] for name in order[:_MOST_GROUPS]}
    with warn_on_failure(folder / PLOT):
        from qmix_jax.analysis.task_curves import plot_tasks

        plot_tasks(folder / PLOT, title, best)
    return [
        *warnings,
        overall_table(group_column, [(name, sum(map(len, _finals(compared[name]))), overall[name]) for name in order]),
        _SCORES,
        f"![Sample efficiency and performance profiles]({PLOT})",
        *_improvement_blocks(best, " on the same task, averaged over tasks"),
        "## Task by task",
        _scores({name: groups[name] for name in order}),
    ]


def improvement_blocks(records: Sequence[RunRecord]) -> list[str]:
    """Return Markdown blocks about which groups on one task are better; none for one group, or one run of a group."""
    one_task = [""] * len(records)
    groups = by_group(with_scores(records, one_task), one_task)
    return [] if any(len(runs[""]) < 2 for runs in groups.values()) else _improvement_blocks(groups, "")


def sweep_blocks(
    folder: Path, title: str, records: Sequence[RunRecord], configs: Sequence[Config], best: Sequence[str]
) -> list[str]:
    """Return `task_blocks` of a sweep that tries several tasks, and else `improvement_blocks` of its best groups."""
    tasks = task_names(configs)
    if not any(tasks):
        return improvement_blocks([record for name in best for record in records if record.group == name])
    points = differing_settings(configs, tasks)
    named = [record._replace(group=settings_name(point)) for record, point in zip(records, points, strict=True)]
    several = f"## {len(set(tasks))} tasks together"
    return [several, *task_blocks(folder, title, "settings", named, tasks)]


def _improvement_blocks(groups: Groups, where: str) -> list[str]:
    if len(groups) < 2:
        return []
    names = list(groups)[:_MOST_GROUPS]
    better: dict[tuple[str, str], Estimate] = {
        pair: probability_of_improvement(*(_finals(groups[name]) for name in pair)) for pair in permutations(names, 2)
    }
    return ["## Probability of improvement", improvement_table(names, better), _IMPROVEMENT.format(where=where)]


def _finals(tasks: Mapping[str, Sequence[RunRecord]]) -> list[np.ndarray]:
    return [final_scores(runs) for runs in tasks.values()]


def _scores(groups: Groups) -> str:
    first = list(groups.items())[:_MOST_GROUPS]
    return scores_table(
        {name: {task: estimate(final_scores(runs)) for task, runs in found.items()} for name, found in first}
    )
