"""What a sweep comes to: evaluations.csv, summary.csv, sweep.md, curves.png and settings.png in its folder."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qmix_jax.analysis.run_record import RunRecord, read_record, score_name, write_evaluations
from qmix_jax.analysis.summary import Summary, rank, summarise, write_summary
from qmix_jax.analysis.tables import figures_table, seeds_table
from qmix_jax.errors import warn_on_failure
from qmix_jax.experiments.findings import count_parameters, find_warnings
from qmix_jax.experiments.flags import flag_words
from qmix_jax.experiments.plan import Member
from qmix_jax.experiments.points import Point
from qmix_jax.experiments.sweep_spec import Sweep
from qmix_jax.runs.baselines import play_random
from qmix_jax.settings import as_text
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import replacing
from qmix_jax.storage.hparams import machine_line
from qmix_jax.training.environments import make_environment

_COLUMN = "settings"
_MOST_CURVES = 6
_EXPLANATION = """\
The best final return first; for this order a run that diverged, or skipped more than a tenth of its updates, is worse
than all others. Figures are interquartile means over seeds (Agarwal et al. 2021), in brackets their 95% percentile
bootstrap intervals over seeds, of the greedy policy's last evaluation; `-` is unknown. *Random actions*: their return
from the same starts; a run gains what its return is above that. *Optimality*: share of the best possible return, where
that is known and above 0. *Steps to 90% of its best*: environment steps of the first evaluation with 90% of the run's
own best gain. *Range over seeds*: interquartile range of the final {score}. *Kept its best*: share of runs that end
with 95% of their own best gain and did not diverge. These three are `-` where no run gains anything. *Steps/s* are
those of one run while its group was trained: at once on an accelerator, in turn on a CPU."""


def point_name(point: Point) -> str:
    """A point's settings as text, such as 'lr=0.001 gamma=0.95'."""
    return " ".join(f"{name}={as_text(value, 'x')}" for name, value in point.items()) or "all seeds"


def write_findings(path: Path, sweep: Sweep, members: Sequence[Member]) -> list[str]:
    """Write all five files; settings.png only where settings are tried.

    Args:
        path: the sweep's folder.
        sweep: what was tried.
        members: its runs, all of them ended.

    Returns:
        Lines: warnings, and what came first.

    Raises:
        DamagedError: a log of a run holds something else than a run writes.
        OSError: a file cannot be read or written.
    """
    points = sweep.points()
    names = [point_name(point) for point in points]
    records = [
        read_record(names[member.point], member.seed, RunDirectory(path / member.folder))._replace(
            random_return=play_random(member.config)
        )
        for member in members
    ]
    score = score_name(records)
    summaries, ranks = [], []
    for number in range(len(points)):
        own = [record for record, member in zip(records, members, strict=True) if member.point == number]
        config = next(member.config for member in members if member.point == number)
        summaries.append(summarise(own, score, count_parameters(config)))
        ranks.append(rank(own))
    order = sorted(range(len(points)), key=lambda i: ranks[i], reverse=True)
    ranked = [summaries[i] for i in order]
    write_evaluations(path / "evaluations.csv", _COLUMN, records)
    write_summary(path / "summary.csv", _COLUMN, ranked)
    warnings = find_warnings(records, summaries)
    with replacing(path / "sweep.md") as page:
        page.write_text(_page(path, sweep, members, records, ranked, score, warnings), encoding="utf-8")
    best = [names[i] for i in order[:_MOST_CURVES]]
    title = f"{members[0].config.algorithm} on {make_environment(members[0].config).spec.name}"
    title += f", the best {len(best)} of {len(points)} points" if len(best) < len(points) else ""
    curves = [record for name in best for record in records if record.group == name]
    with warn_on_failure(path / "curves.png"):
        from qmix_jax.analysis.curves import plot_curves

        plot_curves(path / "curves.png", title, curves, score, wall_time=False)
    if points[0]:
        with warn_on_failure(path / "settings.png"):
            from qmix_jax.analysis.sweep_plots import plot_settings

            plot_settings(path / "settings.png", title, [points[member.point] for member in members], records, score)
    lines = [f"warning: {warning}" for warning in warnings]
    return [*lines, f"best: {_first_line(ranked[0])}; all in {path / 'sweep.md'}"]


def _first_line(first: Summary) -> str:
    share = "" if np.isnan(first.optimality.value) else f" ({first.optimality.value:z.1%} of the best possible)"
    diverged = f", of which {first.diverged} diverged" if first.diverged else ""
    return f"{first.group}, return {first.final_return.value:z.3f}{share} over {first.runs} seed(s){diverged}"


def _page(
    path: Path,
    sweep: Sweep,
    members: Sequence[Member],
    records: Sequence[RunRecord],
    ranked: Sequence[Summary],
    score: str,
    warnings: Sequence[str],
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
            figures_table(_COLUMN, ranked),
            _EXPLANATION.format(score={"optimality": "optimality", "mean_return": "return"}[score]),
            *([seeds_table(records)] if only_seeds else ["![Final scores by setting](settings.png)"]),
            "![Learning curves](curves.png)\n",
        ]
    )
