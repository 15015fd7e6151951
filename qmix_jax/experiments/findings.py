"""Writes the findings of sweeps and comparisons: evaluations.csv, summary.csv, a page in Markdown and plots."""

import shlex
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qmix_jax.analysis.groups import settings_name
from qmix_jax.analysis.run_record import RunRecord, read_record, score_name, write_evaluations
from qmix_jax.analysis.summary import Summary, count_parameters, rank, summarise_group, write_summary
from qmix_jax.analysis.tables import (
    explain_figures,
    figures_table,
    find_warnings,
    markdown_table,
    questions_table,
    seeds_table,
)
from qmix_jax.errors import warn_on_failure
from qmix_jax.experiments.experiment import Experiment, flag_words
from qmix_jax.experiments.plan import Member
from qmix_jax.reports.tasks import improvement_blocks, sweep_blocks
from qmix_jax.runs.baselines import play_random
from qmix_jax.runs.messages import task_name
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import replacing
from qmix_jax.storage.hparams import machine_line
from qmix_jax.training.environments import make_environment

REFERENCE = "iql"  # learns from the same reward without a mixer: what the others gain on it, they gain by mixing
_MOST_CURVES = 6
_EXPLANATION = """\
{order}{figures} *Steps/s*: environment steps a second of one run, median over its chunks after the first. Runs that
take turns on a CPU count their share of its time; on an accelerator, those of a program are trained at once. A run that
diverged, or skipped more than a tenth of its updates, {diverged}."""
_ORDER = "The best final return comes first. "
_RANKED_LAST = "ranks below all others"
_COUNTED = "counts with its last evaluation, and one without any as worse than all others"


class _Found(NamedTuple):
    """Runs that have ended, by point and seed, and what they came to."""

    members: list[Member]
    records: list[RunRecord]
    names: list[str]  # of all points
    score: str
    order: list[int]  # points, as tables list them
    summaries: list[Summary]  # in this order

    def of(self, points: Sequence[int]) -> list[RunRecord]:
        """Return the runs of some points, point by point."""
        pairs = list(zip(self.members, self.records, strict=True))
        return [record for point in points for member, record in pairs if member.point == point]


def write_findings(
    path: Path, experiment: Experiment, members: Sequence[Member], failures: Mapping[str, str]
) -> list[str]:
    """Write an experiment's files: tables, sweep.md or comparison.md, curves.png, and a sweep's settings.png.

    Args:
        path: the experiment's folder.
        experiment: its specification.
        members: its runs that have ended, at least one.
        failures: why others have not, by name.

    Returns:
        Lines to print: warnings, and a sweep's best point.

    Raises:
        DamagedError: a log of a run is not one that a run writes.
        OSError: a file cannot be read or written.
    """
    column, page = experiment.kind.column, path / f"{experiment.kind.name}.md"
    found = _read(path, experiment, members)
    warnings = find_warnings(found.records, found.summaries)
    pairs = [] if _compares(experiment) else zip(found.names, experiment.folders, strict=True)
    folders = {name: folder for name, folder in pairs if folder}
    write_evaluations(path / "evaluations.csv", column, found.records, folders)
    write_summary(path / "summary.csv", column, found.summaries, folders)
    blocks = _head(path, experiment, found.members[0])
    missing = len(experiment.members) - len(found.members)
    reasons = [[name, why.replace("|", "/")] for name, why in failures.items()]
    blocks += [f"**{missing} runs are missing**: they have not ended."] if missing else []
    blocks += [markdown_table(["failed", "reason"], reasons)] if failures else []
    blocks += [f"**Warning**: {warning}." for warning in warnings]
    blocks.append(figures_table(column, found.summaries, folders))
    if _compares(experiment):
        blocks += _comparison_blocks(found)
    else:
        blocks += _sweep_blocks(path, experiment, found)
    with replacing(page) as temporary:
        temporary.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    _plot(path, experiment, found)
    lines = [f"warning: {warning}" for warning in warnings]
    return lines if _compares(experiment) else [*lines, f"best: {_first_line(found.summaries[0])}; all in {page}"]


def _compares(experiment: Experiment) -> bool:
    """Whether points are algorithms, in the order given and told apart by what they gain on each other."""
    return experiment.kind.column == "algorithm"


def _read(path: Path, experiment: Experiment, members: Sequence[Member]) -> _Found:
    compares = _compares(experiment)
    names = [point["algorithm"] if compares else settings_name(point) for point in experiment.points]
    members = sorted(members, key=attrgetter("point", "seed"))
    records = [
        read_record(names[member.point], member.seed, RunDirectory(path / member.folder))._replace(
            random_return=play_random(member.config)
        )
        for member in members
    ]
    found = _Found(members, records, names, score_name(records), [], [])
    configs = {member.point: member.config for member in members}
    order = list(configs)
    if not compares:
        order.sort(key=lambda point: rank(found.of([point])), reverse=True)
    reference = [record for record in records if compares and record.group == REFERENCE]
    summaries = [
        summarise_group(found.of([point]), found.score, count_parameters(configs[point]), reference) for point in order
    ]
    return found._replace(order=order, summaries=summaries)


def _head(path: Path, experiment: Experiment, first: Member) -> list[str]:
    """Return title and command of the page."""
    points, config = experiment.points, first.config
    names = ", ".join(point["algorithm"] for point in points) if _compares(experiment) else ""
    command = f"qmix-jax {experiment.kind.command} {shlex.join(flag_words(experiment.words()))}"
    machine = machine_line(RunDirectory(path / first.folder).hparams, config.num_devices)
    return [
        f"# {names or f'{len(experiment.members)} runs'} {'at' if names else 'of'} {config.env_steps:,} "
        "environment steps",
        f"`{command}` on {task_name(config, make_environment(config).spec)}; "
        f"{experiment.settings.workers or 1} x {machine}.",
    ]


def _comparison_blocks(found: _Found) -> list[str]:
    names = [summary.group for summary in found.summaries]
    reference = REFERENCE if len(names) > 1 and REFERENCE in names else None
    return [
        _EXPLANATION.format(order="", figures=explain_figures(found.score), diverged=_COUNTED),
        f"## Question by question\n\n{questions_table(found.summaries, reference)}",
        "![Learning curves](curves.png)",
        *improvement_blocks(found.records),
    ]


def _sweep_blocks(path: Path, sweep: Experiment, found: _Found) -> list[str]:
    best = [found.names[point] for point in found.order[:_MOST_CURVES]]
    configs = [member.config for member in found.members]
    return [
        _EXPLANATION.format(order=_ORDER, figures=explain_figures(found.score), diverged=_RANKED_LAST),
        "![Final scores by setting](settings.png)" if sweep.points[0] else seeds_table(found.records),
        "![Learning curves](curves.png)",
        *sweep_blocks(path, f"{len(configs)} runs", found.records, configs, best),
    ]


def _plot(path: Path, experiment: Experiment, found: _Found) -> None:
    compares, first = _compares(experiment), found.members[0].config
    best = found.order if compares else found.order[:_MOST_CURVES]
    task = task_name(first, make_environment(first).spec)
    if compares:
        seeds = max(summary.runs for summary in found.summaries)
        names = ", ".join(summary.group for summary in found.summaries)
        title = f"{names} on {task}, {seeds} seed{'s' * (seeds > 1)}"
    else:
        title = f"{first.algorithm} on {task}"
        title += f", the best {len(best)} of {len(found.names)} points" if len(best) < len(found.names) else ""
    with warn_on_failure(path / "curves.png"):
        from qmix_jax.analysis.curves import plot_curves

        plot_curves(path / "curves.png", title, found.of(best), found.score, wall_time=compares)
    if experiment.points[0] and not compares:
        with warn_on_failure(path / "settings.png"):
            from qmix_jax.analysis.curves import plot_settings

            points = [experiment.points[member.point] for member in found.members]
            plot_settings(path / "settings.png", title, points, found.records, found.score)


def _first_line(first: Summary) -> str:
    share = "" if np.isnan(first.optimality.value) else f" ({first.optimality.value:z.1%} of the best possible)"
    diverged = f", of which {first.diverged} diverged" if first.diverged else ""
    return f"{first.group}, return {first.final_return.value:z.3f}{share} over {first.runs} seed(s){diverged}"
