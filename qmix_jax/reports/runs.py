"""Implementation of `report` for several runs that were started one by one: they are grouped by what differs."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from qmix_jax.analysis.curves import plot_curves, plot_settings
from qmix_jax.analysis.groups import differing_settings, settings_name
from qmix_jax.analysis.run_record import RunRecord, has_ended, read_record, score_name
from qmix_jax.analysis.summary import Summary, count_parameters, rank, summarise_group
from qmix_jax.analysis.tables import (
    explain_figures,
    few_seeds,
    figures_table,
    find_warnings,
    runs_table,
    some_skipped,
)
from qmix_jax.analysis.tasks import by_group, task_names
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError, RunError
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.page import findings_page, output_name, write_report
from qmix_jax.reports.tasks import improvement_blocks, task_blocks
from qmix_jax.runs.baselines import play_random
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import read_config

_MOST_CURVES = 6


class Compared(NamedTuple):
    """The runs of a page, one element each."""

    records: Sequence[RunRecord]
    configs: Sequence[Config]
    points: Sequence[Mapping[str, Any]]  # the settings that name its group
    tasks: Sequence[str]


def report_runs(runs: Sequence[RunDirectory], options: ReportOptions) -> None:
    """Write one page about runs, by default beside them. Seeds of equal settings are a group, the best one first.

    Runs on several tasks are compared over all of them.

    Raises:
        ConfigError: settings of a run are invalid, or the page cannot be written there.
        RunError: a log is damaged, or the page could not be written.
    """
    folder, here = Path(os.path.commonpath([run.path.absolute().parent for run in runs])), Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    name = output_name(folder, options)
    configs = [read_config(run.hparams) for run in runs]
    tasks = task_names(configs)
    points = differing_settings(configs, tasks)
    try:
        records = [
            read_record(settings_name(point), config.seed, run)._replace(random_return=_random_return(config))
            for run, config, point in zip(runs, configs, points, strict=True)
        ]
    except DamagedError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from None
    with TemporaryDirectory() as pictures:
        write = _task_page if any(tasks) else _one_task_page
        markdown = write(Path(pictures), folder, runs, Compared(records, configs, points, tasks))
        write_report(name, findings_page(markdown, Path(pictures), str(folder)))


def _one_task_page(pictures: Path, folder: Path, runs: Sequence[RunDirectory], compared: Compared) -> str:
    """Draw the plots of runs on one task, and return the Markdown that shows them."""
    records, configs, points, _ = compared
    score = score_name(records)
    summaries = _ranked(records, configs, score)
    names = [summary.group for summary in summaries]
    best = names[:_MOST_CURVES]
    title = f"the best {len(best)} of {len(names)} settings" if len(best) < len(names) else f"{len(runs)} runs"
    shown = [record for group in best for record in records if record.group == group]
    plot_curves(pictures / "curves.png", title, shown, score)
    if points[0]:
        plot_settings(pictures / "settings.png", f"{len(runs)} runs", points, records, score)
    return "\n\n".join(
        [
            *_heading(folder, runs, compared, find_warnings(records, summaries)),
            figures_table("settings", summaries),
            f"The best final return comes first. {explain_figures(score)} *Steps/s*: environment steps a second, "
            "median over a run's chunks after the first.",
            "![Learning curves](curves.png)",
            *(["![Final scores by setting](settings.png)"] if points[0] else []),
            *improvement_blocks(shown),
            *_run_by_run(folder, runs, compared, names),
        ]
    )


def _task_page(pictures: Path, folder: Path, runs: Sequence[RunDirectory], compared: Compared) -> str:
    """Draw the plot of runs on several tasks, and return the Markdown that shows it."""
    records, _, _, tasks = compared
    fewest = min(len(found) for group in by_group(records, tasks).values() for found in group.values())
    warnings = [warning for warning in (few_seeds(fewest), some_skipped(records)) if warning is not None]
    title = f"{len(runs)} runs on {len(set(tasks))} tasks"
    return "\n\n".join(
        [
            *_heading(folder, runs, compared, warnings),
            *task_blocks(pictures, title, "settings", records, tasks),
            *_run_by_run(folder, runs, compared, sorted({record.group for record in records})),
        ]
    )


def _ranked(records: Sequence[RunRecord], configs: Sequence[Config], score: str) -> list[Summary]:
    """Return a summary of each group, the best final return first."""
    groups: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        groups.setdefault(record.group, []).append(number)
    found = []
    for numbers in groups.values():
        own = [records[number] for number in numbers]
        found.append((rank(own), summarise_group(own, score, _parameters(configs[numbers[0]]))))
    return [summary for _, summary in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _heading(folder: Path, runs: Sequence[RunDirectory], compared: Compared, figures: Sequence[str]) -> list[str]:
    """Return the page's title and all warnings; `figures` are those about its figures."""
    paths = _paths(folder, runs)
    unfinished = [path for path, run in zip(paths, runs, strict=True) if not has_ended(run)]
    warnings = [f"{', '.join(unfinished)}: not ended yet"] if unfinished else []
    alike: dict[tuple[str, str, int], list[str]] = {}
    for path, record, task in zip(paths, compared.records, compared.tasks, strict=True):
        alike.setdefault((task, record.group, record.seed), []).append(path)
    warnings += [
        f"{', '.join(same)}: the same settings and seed, so they are no independent runs, and intervals are too narrow"
        for same in alike.values()
        if len(same) > 1
    ]
    several = f" on {len(set(compared.tasks))} tasks" if any(compared.tasks) else ""
    return [f"# {len(runs)} runs{several}", *(f"**Warning**: {warning}." for warning in [*warnings, *figures])]


def _run_by_run(folder: Path, runs: Sequence[RunDirectory], compared: Compared, groups: Sequence[str]) -> list[str]:
    """Return a table with a row for each run, in the order of the `groups`."""
    records, tasks = compared.records, compared.tasks
    order = sorted(range(len(runs)), key=lambda i: groups.index(records[i].group))
    column = ["task"] if any(tasks) else []
    names = [
        [path, *([task] if column else []), record.group, str(record.seed)]
        for path, task, record in zip(_paths(folder, runs), tasks, records, strict=True)
    ]
    table = runs_table(["run", *column, "settings", "seed"], [names[i] for i in order], [records[i] for i in order])
    return ["## Run by run", table]


def _paths(folder: Path, runs: Sequence[RunDirectory]) -> list[str]:
    return [os.path.relpath(run.path, folder) for run in runs]


def _random_return(config: Config) -> float:
    """Return the return of random actions; NaN where the run's environment was given as an object."""
    try:
        return play_random(config)
    except ConfigError:
        return math.nan


def _parameters(config: Config) -> float:
    try:
        return count_parameters(config)
    except ConfigError:
        return math.nan
