"""Aggregated results of groups of seeds: a row of figures with intervals for each group."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from qmix_jax.analysis.run_record import RunRecord, csv_number
from qmix_jax.analysis.stats import (
    Estimate,
    common_points,
    estimate,
    estimate_difference,
    interquartile_range,
    step_values,
)
from qmix_jax.config import Config
from qmix_jax.storage.files import replacing
from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import make_trainer

# Shares of the best evaluation's gain over random actions. Shares of returns would mean nothing where returns are
# negative, and little where the return of random actions is not 0.
NEAR_BEST = 0.9  # sample efficiency: the first evaluation that reaches this
KEPT = 0.95  # stability: a run that ends with at least this has kept its best
_NO_ESTIMATE = Estimate(np.nan, np.nan, np.nan)


class Summary(NamedTuple):
    """One group's figures: interquartile means over its seeds. Scores are optimality, or returns where unknown.

    A run that diverged counts with its last evaluation; a run without evaluations counts as worse than all others.
    `steps_to_near_best` and `kept` are unknown where no evaluation was better than random actions; in a group where
    others were, such a run counts as worse than them.
    """

    group: str
    runs: int
    diverged: int
    final_return: Estimate  # discounted team return of the last evaluation
    optimality: Estimate
    solved: Estimate
    mean_length: Estimate  # steps of an episode
    advantage: Estimate  # final score minus that of the reference group; NaN without one, or for itself
    mean_score: Estimate  # over all evaluations: the area under the learning curve
    steps_to_near_best: Estimate  # environment steps until 90 % of the run's best gain
    score_range: float  # interquartile range of the final score over seeds; NaN where no run gained anything
    kept: float  # share of the runs that did not diverge and end with 95 % of their best gain, likewise
    steps_per_second: Estimate
    parameters: float  # NaN: unknown
    random_return: float  # return of random actions from the runs' starts; NaN: not measured
    updates: int  # of all runs
    skipped: int  # of those, skipped because they were not finite


def summarise_group(
    records: Sequence[RunRecord], score: str, parameters: float, reference: Sequence[RunRecord] = ()
) -> Summary:
    """Return the figures of one group.

    Args:
        records: its runs, at least one.
        score: the column of the score, see `score_name`.
        parameters: number of trained parameters.
        reference: runs of the reference group.
    """
    final = _last(records, score)
    diverged = np.array([record.diverged for record in records])
    gains = [_gains(record) for record in records]
    has_gained = any((gain > 0.0).any() for gain in gains)
    own = not reference or reference[0].group == records[0].group
    return Summary(
        group=records[0].group,
        runs=len(records),
        diverged=int(diverged.sum()),
        final_return=estimate(_last(records, "mean_return")),
        optimality=estimate(_last(records, "optimality")),
        solved=estimate(_last(records, "solved")),
        mean_length=estimate(_last(records, "mean_length"), worst=np.inf),
        advantage=_NO_ESTIMATE if own else estimate_difference(final, _last(reference, score)),
        mean_score=estimate(_mean_scores(records, score)),
        steps_to_near_best=estimate(
            [_steps_to_near_best(record, gain) for record, gain in zip(records, gains, strict=True)], worst=np.inf
        ),
        score_range=interquartile_range(final) if has_gained else np.nan,
        kept=float(np.mean([_kept(gain) for gain in gains] & ~diverged)) if has_gained else np.nan,
        steps_per_second=estimate([run.steps_per_second for run in records if not np.isnan(run.steps_per_second)]),
        parameters=parameters,
        random_return=estimate([record.random_return for record in records]).value,
        updates=sum(record.updates for record in records),
        skipped=sum(record.skipped for record in records),
    )


def count_parameters(config: Config) -> int:
    """Return how many parameters a run learns, the mixer's included and target networks not, by tracing only."""
    config = replace(config, num_devices=1)  # may be more than there are, and does not change the count
    state = jax.eval_shape(make_trainer(config, make_environment(config)).init, seed_key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state.learner.params))


def rank(records: Sequence[RunRecord]) -> tuple[float, float]:
    """Return the sort key of groups, highest first: final return, with diverged runs below all others.

    The second number orders groups whose diverged runs decide the first, by their last evaluations.
    """
    returns = _last(records, "mean_return")
    healthy = np.where([record.diverged for record in records], np.nan, returns)
    first, second = (np.nan_to_num(estimate(values).value, nan=-np.inf) for values in (healthy, returns))
    return float(first), float(second)


def write_summary(
    path: Path, group_column: str, summaries: Sequence[Summary], folders: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write a CSV row for each group; a figure's interval follows it as <figure>_low and <figure>_high.

    The last column holds the groups' `folders`, by name, if there are any.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([group_column, *(name for name, _ in _flat(summaries[0])), *(["folder"] if folders else [])])
        for summary in summaries:
            figures = [csv_number(value) for _, value in _flat(summary)]
            writer.writerow([summary.group, *figures, *([folders[summary.group]] if folders else [])])


def _flat(summary: Summary) -> list[tuple[str, float]]:
    cells: list[tuple[str, float]] = []
    for name, value in list(summary._asdict().items())[1:]:
        if isinstance(value, Estimate):
            cells += [(name, value.value), (f"{name}_low", value.low), (f"{name}_high", value.high)]
        else:
            cells.append((name, value))
    return cells


def _last(records: Sequence[RunRecord], column: str) -> np.ndarray:
    """Return a column of every run's last evaluation, float64[S]; NaN for a run without evaluations."""
    return np.array([[np.nan, *record.evaluations[column]][-1] for record in records])


def _mean_scores(records: Sequence[RunRecord], score: str) -> np.ndarray:
    """Return every run's mean over all runs' evaluation points; a run keeps its last score after its end."""
    steps = [record.evaluations["env_steps"] for record in records]
    points = common_points(steps)
    curves = [step_values(at, run.evaluations[score], points) for at, run in zip(steps, records, strict=True)]
    return np.array([np.mean(curve) if len(curve) else np.nan for curve in curves])


def _gains(record: RunRecord) -> np.ndarray:
    """Return every evaluation's gain over random actions as a share of the best one's, float64[M].

    NaN throughout where the best one gained nothing.
    """
    gains = record.evaluations["mean_return"] - record.random_return
    best = np.max(gains, initial=-np.inf, where=np.isfinite(gains))
    return gains / best if best > 0.0 else np.full_like(gains, np.nan)


def _steps_to_near_best(record: RunRecord, gains: np.ndarray) -> float:
    near = gains >= NEAR_BEST
    return float(record.evaluations["env_steps"][np.argmax(near)]) if near.any() else np.nan


def _kept(gains: np.ndarray) -> bool:
    return bool((gains >= KEPT)[-1:].any())
