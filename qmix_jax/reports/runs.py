"""Implementation of `report` for several runs that were started one by one: they are grouped by what differs."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from qmix_jax.analysis.curves import plot_curves, plot_settings
from qmix_jax.analysis.groups import differing_settings, settings_name
from qmix_jax.analysis.run_record import RunRecord, has_ended, read_record, score_name
from qmix_jax.analysis.summary import Summary, count_parameters, rank, summarise_group
from qmix_jax.analysis.tables import explain_figures, figures_table, find_warnings, runs_table
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError, RunError
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.page import findings_page, output_name, write_report
from qmix_jax.runs.baselines import play_random
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import read_config

_MOST_CURVES = 6


def report_runs(runs: Sequence[RunDirectory], options: ReportOptions) -> None:
    """Write one page about runs, by default beside them. Seeds of equal settings are a group, the best one first.

    Raises:
        ConfigError: settings of a run are invalid, or the page cannot be written there.
        RunError: a log is damaged, or the page could not be written.
    """
    folder, here = Path(os.path.commonpath([run.path.absolute().parent for run in runs])), Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    name = output_name(folder, options)
    configs = [read_config(run.hparams) for run in runs]
    points = differing_settings(configs)
    try:
        records = [
            read_record(settings_name(point), config.seed, run)._replace(random_return=_random_return(config))
            for run, config, point in zip(runs, configs, points, strict=True)
        ]
    except DamagedError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from None
    score = score_name(records)
    summaries = _ranked(records, configs, score)
    best = [summary.group for summary in summaries[:_MOST_CURVES]]
    with TemporaryDirectory() as pictures:
        title = (
            f"the best {len(best)} of {len(summaries)} settings" if len(best) < len(summaries) else f"{len(runs)} runs"
        )
        shown = [record for group in best for record in records if record.group == group]
        plot_curves(Path(pictures, "curves.png"), title, shown, score)
        if points[0]:
            plot_settings(Path(pictures, "settings.png"), f"{len(runs)} runs", points, records, score)
        write_report(
            name, findings_page(_markdown(folder, runs, records, summaries, score), Path(pictures), str(folder))
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


def _markdown(
    folder: Path,
    runs: Sequence[RunDirectory],
    records: Sequence[RunRecord],
    summaries: Sequence[Summary],
    score: str,
) -> str:
    paths = [os.path.relpath(run.path, folder) for run in runs]
    unfinished = [path for path, run in zip(paths, runs, strict=True) if not has_ended(run)]
    warnings = [f"{', '.join(unfinished)}: not ended yet"] if unfinished else []
    by_seed: dict[tuple[str, int], list[str]] = {}
    for path, record in zip(paths, records, strict=True):
        by_seed.setdefault((record.group, record.seed), []).append(path)
    warnings += [
        f"{', '.join(same)}: the same settings and seed, so they are no independent runs, and intervals are too narrow"
        for same in by_seed.values()
        if len(same) > 1
    ]
    names = [[path, record.group, str(record.seed)] for path, record in zip(paths, records, strict=True)]
    order = sorted(range(len(runs)), key=lambda i: [summary.group for summary in summaries].index(records[i].group))
    has_settings = len(summaries) > 1
    return "\n\n".join(
        [
            f"# {len(runs)} runs",
            *(f"**Warning**: {warning}." for warning in [*warnings, *find_warnings(records, summaries)]),
            figures_table("settings", summaries),
            f"The best final return comes first. {explain_figures(score)} *Steps/s*: environment steps a second, "
            "median over a run's chunks after the first.",
            "![Learning curves](curves.png)",
            *(["![Final scores by setting](settings.png)"] if has_settings else []),
            "## Run by run",
            runs_table(["run", "settings", "seed"], [names[i] for i in order], [records[i] for i in order]),
        ]
    )


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
