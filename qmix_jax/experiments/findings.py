"""Writes the findings of sweeps and comparisons: evaluations.csv, summary.csv, a page in Markdown and plots."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qmix_jax.analysis.groups import settings_name
from qmix_jax.analysis.run_record import RunRecord, read_record, score_name, write_evaluations
from qmix_jax.analysis.summary import Summary, count_parameters, rank, summarise_group, write_summary
from qmix_jax.analysis.tables import (
    explain_figures,
    figures_table,
    find_warnings,
    questions_table,
    seeds_table,
)
from qmix_jax.config import Config
from qmix_jax.errors import warn_on_failure
from qmix_jax.experiments import comparison_spec, plan
from qmix_jax.experiments.flags import flag_words
from qmix_jax.experiments.sweep_spec import Sweep
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


def write_sweep_findings(path: Path, sweep: Sweep, members: Sequence[plan.Member]) -> list[str]:
    """Write a sweep's files: also sweep.md, curves.png, and settings.png where settings are tried.

    Args:
        path: the sweep's folder.
        sweep: its specification.
        members: its runs, all of them ended.

    Returns:
        Lines to print: warnings, and the best point.

    Raises:
        DamagedError: a log of a run is not one that a run writes.
        OSError: a file cannot be read or written.
    """
    points = sweep.points()
    names = [settings_name(point) for point in points]
    records = [
        _read_record(names[member.point], member.seed, member.config, RunDirectory(path / member.folder))
        for member in members
    ]
    score = score_name(records)
    summaries, ranks = [], []
    for number in range(len(points)):
        own = [record for record, member in zip(records, members, strict=True) if member.point == number]
        config = next(member.config for member in members if member.point == number)
        summaries.append(summarise_group(own, score, count_parameters(config)))
        ranks.append(rank(own))
    order = sorted(range(len(points)), key=lambda i: ranks[i], reverse=True)
    ranked = [summaries[i] for i in order]
    warnings = find_warnings(records, summaries)
    best = [names[i] for i in order[:_MOST_CURVES]]
    title = f"{members[0].config.algorithm} on {make_environment(members[0].config).spec.name}"
    blocks = sweep_blocks(path, f"{len(members)} runs", records, [member.config for member in members], best)
    page = _sweep_page(path, sweep, members, records, ranked, score, warnings, blocks)
    _write_tables(path, "settings", records, ranked, "sweep.md", page)
    title += f", the best {len(best)} of {len(points)} points" if len(best) < len(points) else ""
    curves = [record for name in best for record in records if record.group == name]
    _plot_curves(path, title, curves, score, wall_time=False)
    if points[0]:
        with warn_on_failure(path / "settings.png"):
            from qmix_jax.analysis.curves import plot_settings

            plot_settings(path / "settings.png", title, [points[member.point] for member in members], records, score)
    lines = [f"warning: {warning}" for warning in warnings]
    return [*lines, f"best: {_first_line(ranked[0])}; all in {path / 'sweep.md'}"]


def write_comparison_findings(
    path: Path, comparison: comparison_spec.Comparison, members: Sequence[comparison_spec.Member]
) -> list[str]:
    """Write a comparison's files: also comparison.md and curves.png.

    Args:
        path: the comparison's folder.
        comparison: its specification.
        members: its runs that have ended, at least one.

    Returns:
        Warnings, a line each.

    Raises:
        DamagedError: a log of a run is not one that a run writes.
        OSError: a file cannot be read or written.
    """
    records = [_read_record(member.algorithm, member.seed, member.config, member.directory) for member in members]
    order = [name for name in comparison.settings.algorithms if any(record.group == name for record in records)]
    records.sort(key=lambda record: (order.index(record.group), record.seed))
    groups = {name: [record for record in records if record.group == name] for name in order}
    configs = {member.algorithm: member.config for member in members}
    score = score_name(records)
    reference = groups.get(REFERENCE, [])
    summaries = [
        summarise_group(group, score, count_parameters(configs[name]), reference) for name, group in groups.items()
    ]
    warnings = find_warnings(records, summaries)
    page = _comparison_page(comparison, members, summaries, score, warnings, improvement_blocks(records))
    _write_tables(path, "algorithm", records, summaries, "comparison.md", page)
    _plot_curves(path, _comparison_title(members[0].config, groups), records, score)
    return warnings


def _read_record(group: str, seed: int, config: Config, directory: RunDirectory) -> RunRecord:
    return read_record(group, seed, directory)._replace(random_return=play_random(config))


def _write_tables(
    path: Path,
    group_column: str,
    records: Sequence[RunRecord],
    summaries: Sequence[Summary],
    page_name: str,
    page: str,
) -> None:
    write_evaluations(path / "evaluations.csv", group_column, records)
    write_summary(path / "summary.csv", group_column, summaries)
    with replacing(path / page_name) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _plot_curves(path: Path, title: str, records: Sequence[RunRecord], score: str, wall_time: bool = True) -> None:
    with warn_on_failure(path / "curves.png"):
        from qmix_jax.analysis.curves import plot_curves

        plot_curves(path / "curves.png", title, records, score, wall_time)


def _first_line(first: Summary) -> str:
    share = "" if np.isnan(first.optimality.value) else f" ({first.optimality.value:z.1%} of the best possible)"
    diverged = f", of which {first.diverged} diverged" if first.diverged else ""
    return f"{first.group}, return {first.final_return.value:z.3f}{share} over {first.runs} seed(s){diverged}"


def _comparison_title(config: Config, groups: Mapping[str, Sequence[RunRecord]]) -> str:
    seeds = max(map(len, groups.values()))
    environment = task_name(config, make_environment(config).spec)
    return f"{', '.join(groups)} on {environment}, {seeds} seed{'s' * (seeds > 1)}"


def _sweep_page(
    path: Path,
    sweep: Sweep,
    members: Sequence[plan.Member],
    records: Sequence[RunRecord],
    ranked: Sequence[Summary],
    score: str,
    warnings: Sequence[str],
    blocks: Sequence[str],
) -> str:
    hparams, spec = RunDirectory(path / members[0].folder).hparams, make_environment(members[0].config).spec
    workers = sweep.settings.workers or 1
    command = shlex.join(flag_words(sweep.words()))
    only_seeds = not sweep.points()[0]
    return "\n\n".join(
        [
            f"# {len(members)} runs of {members[0].config.env_steps:,} environment steps",
            f"`qmix-jax sweep {command}` on {spec.name}; {workers} x {machine_line(hparams)}.",
            *(f"**Warning**: {warning}." for warning in warnings),
            figures_table("settings", ranked),
            _SWEEP_EXPLANATION.format(figures=explain_figures(score)),
            *([seeds_table(records)] if only_seeds else ["![Final scores by setting](settings.png)"]),
            "\n\n".join(["![Learning curves](curves.png)", *blocks]) + "\n",
        ]
    )


def _comparison_page(
    comparison: comparison_spec.Comparison,
    members: Sequence[comparison_spec.Member],
    summaries: Sequence[Summary],
    score: str,
    warnings: Sequence[str],
    blocks: Sequence[str],
) -> str:
    settings, config = comparison.settings, members[0].config
    words = ["--algorithms", *settings.algorithms, "--num_seeds", str(settings.num_seeds)]
    command = shlex.join([*words, *flag_words(comparison.flags)])
    concurrency = f"{settings.workers} runs at once" if settings.workers > 1 else "one run at a time"
    missing = settings.num_seeds * len(settings.algorithms) - len(members)
    has_reference = len(summaries) > 1 and any(summary.group == REFERENCE for summary in summaries)
    return "\n\n".join(
        [
            f"# {', '.join(settings.algorithms)} at {config.env_steps:,} environment steps",
            f"`qmix-jax compare {command}` on {task_name(config, make_environment(config).spec)}; "
            f"{machine_line(members[0].directory.hparams, config.num_devices)}.",
            *([f"**{missing} runs are missing**: they have not ended."] if missing else []),
            *(f"**Warning**: {warning}." for warning in warnings),
            figures_table("algorithm", summaries),
            _COMPARISON_EXPLANATION.format(figures=explain_figures(score), concurrency=concurrency),
            "## Question by question",
            questions_table(summaries, REFERENCE if has_reference else None),
            *blocks,
            "![Learning curves](curves.png)\n",
        ]
    )
