"""What a comparison comes to: evaluations.csv, summary.csv, comparison.md and curves.png in its folder."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from qmix_jax.comparison import Comparison, Member
from qmix_jax.config import Config
from qmix_jax.curves import plot_curves
from qmix_jax.environments import make_environment
from qmix_jax.flags import flag_words
from qmix_jax.hparams import machine_line
from qmix_jax.integrity import replacing
from qmix_jax.run_record import RunRecord, read_record, score_name, write_evaluations
from qmix_jax.summary import Summary, summarise, write_summary
from qmix_jax.tables import figures_table, questions_table
from qmix_jax.trainer import make_trainer

REFERENCE = "iql"  # learns without any mixer from the same reward: what the others gain on it, they gain by mixing
_COLUMN = "algorithm"
_EXPLANATION = """\
Figures are interquartile means over seeds (Agarwal et al. 2021) of the greedy policy's last evaluation; in brackets
are their 95% percentile bootstrap intervals over seeds; `-` is unknown. *Steps to 90% of its best*: environment steps
of the first evaluation that reaches 90% of the run's own best one. *Range over seeds*: interquartile range of the
final {score}. *Kept its best*: share of runs that end within 5% of their own best evaluation and did not diverge.
*Steps/s*: environment steps a second, median over a run's chunks after the first, {concurrency}. A run that diverged
counts with its last evaluation, and one without any as worse than all others."""


def write_findings(path: Path, comparison: Comparison, members: Sequence[Member]) -> None:
    """Write all four files.

    Args:
        path: the comparison's folder.
        comparison: what is compared.
        members: its runs that have ended, at least one.

    Raises:
        DamagedError: a log of a run holds something else than a run writes.
        OSError: a file cannot be read or written.
    """
    records = [read_record(member.algorithm, member.seed, member.directory) for member in members]
    order = [name for name in comparison.settings.algorithms if any(record.group == name for record in records)]
    records.sort(key=lambda record: (order.index(record.group), record.seed))
    groups = {name: [record for record in records if record.group == name] for name in order}
    configs = {member.algorithm: member.config for member in members}
    score = score_name(records)
    reference = groups.get(REFERENCE, [])
    summaries = [summarise(group, score, count_parameters(configs[name]), reference) for name, group in groups.items()]
    write_evaluations(path / "evaluations.csv", _COLUMN, records)
    write_summary(path / "summary.csv", _COLUMN, summaries)
    with replacing(path / "comparison.md") as page:
        page.write_text(_page(comparison, members, summaries, score), encoding="utf-8")
    plot_curves(path / "curves.png", _title(members[0].config, groups), records, score)


def count_parameters(config: Config) -> int:
    """Numbers that a run learns, the mixer's among them and target networks not. Nothing is computed for it."""
    config = replace(config, num_devices=1)  # which does not change them, and may be more than there are
    state = jax.eval_shape(make_trainer(config, make_environment(config)).init, jax.random.key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state.learner.params))


def _title(config: Config, groups: Mapping[str, Sequence[RunRecord]]) -> str:
    seeds = max(map(len, groups.values()))
    environment = make_environment(config).spec.name
    return f"{', '.join(groups)} on {environment} ({config.env_mode}), {seeds} seed{'s' * (seeds > 1)}"


def _page(comparison: Comparison, members: Sequence[Member], summaries: Sequence[Summary], score: str) -> str:
    settings, config = comparison.settings, members[0].config
    words = ["--algorithms", *settings.algorithms, "--num_seeds", str(settings.num_seeds)]
    command = shlex.join([*words, *flag_words(comparison.flags)])
    shown = {"optimality": "optimality", "mean_return": "return"}[score]
    concurrency = f"{settings.workers} runs at once" if settings.workers > 1 else "one run at a time"
    missing = settings.num_seeds * len(settings.algorithms) - len(members)
    return "\n\n".join(
        [
            f"# {', '.join(settings.algorithms)} at {config.env_steps:,} environment steps",
            f"`python -m qmix_jax.compare {command}` on {make_environment(config).spec.name} ({config.env_mode}); "
            f"{machine_line(members[0].directory.hparams, config.num_devices)}.",
            *([f"**{missing} runs are missing**: they have not ended."] if missing else []),
            figures_table(_COLUMN, summaries),
            _EXPLANATION.format(score=shown, concurrency=concurrency),
            "## Question by question",
            questions_table(summaries, REFERENCE if len(summaries) > 1 and _has_reference(summaries) else None),
            "![Learning curves](curves.png)\n",
        ]
    )


def _has_reference(summaries: Sequence[Summary]) -> bool:
    return any(summary.group == REFERENCE for summary in summaries)
