"""What a sweep comes to: evaluations.csv, summary.csv, sweep.md, curves.png and settings.png in its folder."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qmix_jax.curves import plot_curves
from qmix_jax.environments import make_environment
from qmix_jax.findings import count_parameters
from qmix_jax.flags import flag_words, shown
from qmix_jax.hparams import machine_line
from qmix_jax.integrity import replacing
from qmix_jax.run_directory import RunDirectory
from qmix_jax.run_record import RunRecord, read_record, score_name, write_evaluations
from qmix_jax.stats import Estimate
from qmix_jax.summary import Summary, summarise, write_summary
from qmix_jax.sweep_plan import Member
from qmix_jax.sweep_plots import plot_settings
from qmix_jax.sweep_points import Point
from qmix_jax.sweep_settings import Sweep
from qmix_jax.tables import figures_table, seeds_table

_COLUMN = "settings"
_MOST_CURVES = 6
_EXPLANATION = """\
The best first. Figures are interquartile means over seeds (Agarwal et al. 2021), in brackets their 95% percentile
bootstrap intervals over seeds, of the greedy policy's last evaluation; `-` is unknown. *Steps to 90% of its best*:
environment steps of the first evaluation that reaches 90% of the run's own best one. *Range over seeds*: interquartile
range of the final {score}. *Kept its best*: share of runs that end within 5% of their own best evaluation and did not
diverge. *Steps/s* are those of one run while its group was trained: at once on an accelerator, in turn on a CPU."""


def point_name(point: Point) -> str:
    """A point's settings as text, such as 'lr=0.001 gamma=0.95'."""
    return " ".join(f"{name}={shown(value, 'x')}" for name, value in point.items()) or "all seeds"


def write_findings(path: Path, sweep: Sweep, members: Sequence[Member]) -> str:
    """Write all five files; settings.png only where settings are tried.

    Args:
        path: the sweep's folder.
        sweep: what was tried.
        members: its runs, all of them ended.

    Returns:
        A line that says what came first.

    Raises:
        DamagedError: a log of a run holds something else than a run writes.
        OSError: a file cannot be read or written.
    """
    points = sweep.points()
    names = [point_name(point) for point in points]
    records = [read_record(names[member.point], member.seed, RunDirectory(path / member.folder)) for member in members]
    score = score_name(records)
    summaries = []
    for number in range(len(points)):
        own = [record for record, member in zip(records, members, strict=True) if member.point == number]
        config = next(member.config for member in members if member.point == number)
        summaries.append(summarise(own, score, count_parameters(config)))
    # The best score first; points whose seeds have none come last.
    order = sorted(range(len(points)), key=lambda i: -np.nan_to_num(_final(summaries[i], score).value, nan=-np.inf))
    ranked = [summaries[i] for i in order]
    write_evaluations(path / "evaluations.csv", _COLUMN, records)
    write_summary(path / "summary.csv", _COLUMN, ranked)
    with replacing(path / "sweep.md") as page:
        page.write_text(_page(path, sweep, members, records, ranked, score), encoding="utf-8")
    best = [names[i] for i in order[:_MOST_CURVES]]
    title = f"{members[0].config.algorithm} on {make_environment(members[0].config).spec.name}"
    title += f", the best {len(best)} of {len(points)} points" if len(best) < len(points) else ""
    plot_curves(
        path / "curves.png",
        title,
        [record for name in best for record in records if record.group == name],
        score,
        wall_time=False,
    )
    if points[0]:
        plot_settings(path / "settings.png", title, [points[member.point] for member in members], records, score)
    figure = _final(ranked[0], score)
    first = f"{score} {figure.value:z.3f} over {sweep.settings.num_seeds} seed(s)"
    return f"best: {names[order[0]]}, {first}; all in {path / 'sweep.md'}"


def _final(summary: Summary, score: str) -> Estimate:
    return summary.optimality if score == "optimality" else summary.final_return


def _page(
    path: Path,
    sweep: Sweep,
    members: Sequence[Member],
    records: Sequence[RunRecord],
    ranked: Sequence[Summary],
    score: str,
) -> str:
    hparams, spec = RunDirectory(path / members[0].folder).hparams, make_environment(members[0].config).spec
    workers = sweep.settings.workers or 1
    command = shlex.join(flag_words(sweep.words()))
    only_seeds = not sweep.points()[0]
    return "\n\n".join(
        [
            f"# {len(members)} runs of {members[0].config.env_steps:,} environment steps",
            f"`python -m qmix_jax.sweep {command}` on {spec.name}; {workers} x {machine_line(hparams)}.",
            figures_table(_COLUMN, ranked),
            _EXPLANATION.format(score={"optimality": "optimality", "mean_return": "return"}[score]),
            *([seeds_table(records)] if only_seeds else ["![Final scores by setting](settings.png)"]),
            "![Learning curves](curves.png)\n",
        ]
    )
