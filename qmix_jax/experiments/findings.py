"""Writes the findings of sweeps and comparisons: evaluations.csv, summary.csv, a page in Markdown and plots."""

import shlex
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

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
_SWEEP_EXPLANATION = """\
The best final return comes first; a run that diverged, or skipped more than a tenth of its updates, ranks below all
others. {figures} *Steps/s*: environment steps a second of one run while its group was trained: at once on an
accelerator, in turn on a CPU."""
_COMPARISON_EXPLANATION = """\
{figures} *Steps/s*: environment steps a second, median over a run's chunks after the first, {concurrency}. A run
that diverged, or skipped more than a tenth of its updates, counts with its last evaluation, and one without any as
worse than all others."""


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
    compares, points = experiment.kind.alone, experiment.points
    column, page_name = "algorithm" if compares else "settings", f"{experiment.kind.name}.md"
    names = [point["algorithm"] if compares else settings_name(point) for point in points]
    members = sorted(members, key=attrgetter("point", "seed"))
    records = [
        read_record(names[member.point], member.seed, RunDirectory(path / member.folder))._replace(
            random_return=play_random(member.config)
        )
        for member in members
    ]
    score = score_name(records)
    groups: dict[int, list[RunRecord]] = {member.point: [] for member in members}
    for member, record in zip(members, records, strict=True):
        groups[member.point].append(record)
    configs = {member.point: member.config for member in members}
    reference = [record for record in records if compares and record.group == REFERENCE]
    summaries = {
        number: summarise_group(group, score, count_parameters(configs[number]), reference)
        for number, group in groups.items()
    }
    order = list(groups)
    if not compares:
        order.sort(key=lambda number: rank(groups[number]), reverse=True)
    best = order[:_MOST_CURVES]
    ranked = [summaries[number] for number in order]
    warnings = find_warnings(records, list(summaries.values()))
    folders = {name: folder for name, folder in zip(names, experiment.folders, strict=True) if folder and not compares}
    write_evaluations(path / "evaluations.csv", column, records, folders)
    write_summary(path / "summary.csv", column, ranked, folders)
    with replacing(path / page_name) as temporary:
        figures, table = explain_figures(score), figures_table(column, ranked, folders)
        if compares:
            blocks = _comparison_page(path, experiment, members[0], ranked, figures, table)
        else:
            blocks = _sweep_page(path, experiment, members[0], records, figures, table)
        missing = len(experiment.members) - len(members)
        reasons = [[name, why.replace("|", "/")] for name, why in failures.items()]
        blocks[2:2] = [
            *([f"**{missing} runs are missing**: they have not ended."] if missing else []),
            *([markdown_table(["failed", "reason"], reasons)] if failures else []),
            *(f"**Warning**: {warning}." for warning in warnings),
        ]
        blocks.append("![Learning curves](curves.png)")
        if compares:
            blocks += improvement_blocks(records)
        else:
            title = f"{len(members)} runs"
            blocks += sweep_blocks(
                path, title, records, [member.config for member in members], [names[i] for i in best]
            )
        temporary.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    if compares:
        title, curves = _comparison_title(members[0], groups), records
    else:
        title = f"{members[0].config.algorithm} on {make_environment(members[0].config).spec.name}"
        title += f", the best {len(best)} of {len(points)} points" if len(best) < len(points) else ""
        curves = [record for number in best for record in groups[number]]
    with warn_on_failure(path / "curves.png"):
        from qmix_jax.analysis.curves import plot_curves

        plot_curves(path / "curves.png", title, curves, score, wall_time=compares)
    if points[0] and not compares:
        with warn_on_failure(path / "settings.png"):
            from qmix_jax.analysis.curves import plot_settings

            plot_settings(path / "settings.png", title, [points[member.point] for member in members], records, score)
    lines = [f"warning: {warning}" for warning in warnings]
    return lines if compares else [*lines, f"best: {_first_line(ranked[0])}; all in {path / page_name}"]


def _first_line(first: Summary) -> str:
    share = "" if np.isnan(first.optimality.value) else f" ({first.optimality.value:z.1%} of the best possible)"
    diverged = f", of which {first.diverged} diverged" if first.diverged else ""
    return f"{first.group}, return {first.final_return.value:z.3f}{share} over {first.runs} seed(s){diverged}"


def _comparison_title(first: Member, groups: Mapping[int, Sequence[RunRecord]]) -> str:
    seeds = max(map(len, groups.values()))
    environment = task_name(first.config, make_environment(first.config).spec)
    names = ", ".join(records[0].group for records in groups.values())
    return f"{names} on {environment}, {seeds} seed{'s' * (seeds > 1)}"


def _sweep_page(
    path: Path, sweep: Experiment, first: Member, records: Sequence[RunRecord], figures: str, table: str
) -> list[str]:
    hparams, spec = RunDirectory(path / first.folder).hparams, make_environment(first.config).spec
    command = shlex.join(flag_words(sweep.words()))
    return [
        f"# {len(sweep.members)} runs of {first.config.env_steps:,} environment steps",
        f"`qmix-jax sweep {command}` on {spec.name}; {sweep.settings.workers or 1} x {machine_line(hparams)}.",
        table,
        _SWEEP_EXPLANATION.format(figures=figures),
        "![Final scores by setting](settings.png)" if sweep.points[0] else seeds_table(records),
    ]


def _comparison_page(
    path: Path, comparison: Experiment, first: Member, ranked: Sequence[Summary], figures: str, table: str
) -> list[str]:
    settings, config = comparison.settings, first.config
    concurrency = f"{settings.workers} runs at once" if settings.workers > 1 else "one run at a time"
    has_reference = len(ranked) > 1 and any(summary.group == REFERENCE for summary in ranked)
    return [
        f"# {', '.join(settings.algorithms)} at {config.env_steps:,} environment steps",
        f"`qmix-jax compare {shlex.join(flag_words(comparison.words()))}` on "
        f"{task_name(config, make_environment(config).spec)}; "
        f"{machine_line(RunDirectory(path / first.folder).hparams, config.num_devices)}.",
        table,
        _COMPARISON_EXPLANATION.format(figures=figures, concurrency=concurrency),
        f"## Question by question\n\n{questions_table(ranked, REFERENCE if has_reference else None)}",
    ]
