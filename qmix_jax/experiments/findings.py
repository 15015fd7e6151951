"""What a comparison comes to: evaluations.csv, summary.csv, comparison.md and curves.png in its folder."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from qmix_jax.analysis.run_record import RunRecord, read_record, score_name, write_evaluations
from qmix_jax.analysis.summary import Summary, summarise, write_summary
from qmix_jax.analysis.tables import few_seeds, figures_table, questions_table, some_skipped
from qmix_jax.config import Config
from qmix_jax.errors import warn_on_failure
from qmix_jax.experiments.comparison_spec import Comparison, Member
from qmix_jax.experiments.flags import flag_words
from qmix_jax.runs.baselines import play_random
from qmix_jax.storage.files import replacing
from qmix_jax.storage.hparams import machine_line
from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import make_trainer

REFERENCE = "iql"  # learns without any mixer from the same reward: what the others gain on it, they gain by mixing
_COLUMN = "algorithm"
_EXPLANATION = """\
Figures are interquartile means over seeds (Agarwal et al. 2021) of the greedy policy's last evaluation; in brackets
are their 95% percentile bootstrap intervals over seeds; `-` is unknown. *Random actions*: their return from the same
starts; a run gains what its return is above that. *Optimality*: share of the best possible return, where that is known
and above 0. *Steps to 90% of its best*: environment steps of the first evaluation with 90% of the run's own best gain.
*Range over seeds*: interquartile range of the final {score}. *Kept its best*: share of runs that end with 95% of their
own best gain and did not diverge. These three are `-` where no run gains anything. *Steps/s*: environment steps a
second, median over a run's chunks after the first, {concurrency}. A run that diverged, or skipped more than a tenth of
its updates, counts with its last evaluation, and one without any as worse than all others."""


def write_findings(path: Path, comparison: Comparison, members: Sequence[Member]) -> list[str]:
    """Write all four files.

    Args:
        path: the comparison's folder.
        comparison: what is compared.
        members: its runs that have ended, at least one.

    Returns:
        Warnings, a line each.

    Raises:
        DamagedError: a log of a run holds something else than a run writes.
        OSError: a file cannot be read or written.
    """
    records = [
        read_record(member.algorithm, member.seed, member.directory)._replace(random_return=play_random(member.config))
        for member in members
    ]
    order = [name for name in comparison.settings.algorithms if any(record.group == name for record in records)]
    records.sort(key=lambda record: (order.index(record.group), record.seed))
    groups = {name: [record for record in records if record.group == name] for name in order}
    configs = {member.algorithm: member.config for member in members}
    score = score_name(records)
    reference = groups.get(REFERENCE, [])
    summaries = [summarise(group, score, count_parameters(configs[name]), reference) for name, group in groups.items()]
    write_evaluations(path / "evaluations.csv", _COLUMN, records)
    write_summary(path / "summary.csv", _COLUMN, summaries)
    warnings = find_warnings(records, summaries)
    with replacing(path / "comparison.md") as page:
        page.write_text(_page(comparison, members, summaries, score, warnings), encoding="utf-8")
    with warn_on_failure(path / "curves.png"):
        from qmix_jax.analysis.curves import plot_curves

        plot_curves(path / "curves.png", _title(members[0].config, groups), records, score)
    return warnings


def find_warnings(records: Sequence[RunRecord], summaries: Sequence[Summary]) -> list[str]:
    """What a reader of the tables has to know first, a line each."""
    found = few_seeds(min(summary.runs for summary in summaries)), some_skipped(records)
    return [warning for warning in found if warning is not None]


def count_parameters(config: Config) -> int:
    """Numbers that a run learns, the mixer's among them and target networks not. Nothing is computed for it."""
    config = replace(config, num_devices=1)  # which does not change them, and may be more than there are
    state = jax.eval_shape(make_trainer(config, make_environment(config)).init, seed_key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state.learner.params))


def _title(config: Config, groups: Mapping[str, Sequence[RunRecord]]) -> str:
    seeds = max(map(len, groups.values()))
    environment = make_environment(config).spec.name
    return f"{', '.join(groups)} on {environment} ({config.env_mode}), {seeds} seed{'s' * (seeds > 1)}"


def _page(
    comparison: Comparison,
    members: Sequence[Member],
    summaries: Sequence[Summary],
    score: str,
    warnings: Sequence[str],
) -> str:
    settings, config = comparison.settings, members[0].config
    words = ["--algorithms", *settings.algorithms, "--num_seeds", str(settings.num_seeds)]
    command = shlex.join([*words, *flag_words(comparison.flags)])
    shown = {"optimality": "optimality", "mean_return": "return"}[score]
    concurrency = f"{settings.workers} runs at once" if settings.workers > 1 else "one run at a time"
    missing = settings.num_seeds * len(settings.algorithms) - len(members)
    return "\n\n".join(
        [
            f"# {', '.join(settings.algorithms)} at {config.env_steps:,} environment steps",
            f"`qmix-jax compare {command}` on {make_environment(config).spec.name} ({config.env_mode}); "
            f"{machine_line(members[0].directory.hparams, config.num_devices)}.",
            *([f"**{missing} runs are missing**: they have not ended."] if missing else []),
            *(f"**Warning**: {warning}." for warning in warnings),
            figures_table(_COLUMN, summaries),
            _EXPLANATION.format(score=shown, concurrency=concurrency),
            "## Question by question",
            questions_table(summaries, REFERENCE if len(summaries) > 1 and _has_reference(summaries) else None),
            "![Learning curves](curves.png)\n",
        ]
    )


def _has_reference(summaries: Sequence[Summary]) -> bool:
    return any(summary.group == REFERENCE for summary in summaries)
