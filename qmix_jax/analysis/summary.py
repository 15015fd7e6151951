"""What several seeds of each algorithm come to: one row of figures for each, with intervals over the seeds."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
from qmix_jax.storage.files import replacing

# Shares of what a run's best evaluation gained on random actions: of the returns themselves they would mean nothing
# where those are negative, and little where random actions are not worth 0.
NEAR_BEST = 0.9  # whose first passing is counted in steps
KEPT = 0.95  # at which a run that ends has kept what it learned
_NO_ESTIMATE = Estimate(np.nan, np.nan, np.nan)


class Summary(NamedTuple):
    """One group's figures: interquartile means over its seeds. Scores are optimality, or returns where unknown.

    A run that diverged counts with its last evaluation: the policy that it left. One without any evaluation is
    worse than all others. What tells how a run came to its best and whether it stayed there is unknown where no
    evaluation was better than random actions; in a group where others were, such a run counts as worse than they.
    """

    group: str
    runs: int
    diverged: int
    final_return: Estimate  # discounted team return of the last evaluation
    optimality: Estimate
    solved: Estimate
    mean_length: Estimate  # steps of an episode
    advantage: Estimate  # final score minus that of the reference group, NaN where that is this one or none
    mean_score: Estimate  # over all evaluations: the area under the learning curve
    steps_to_near_best: Estimate  # environment steps of the first evaluation with 90 % of the run's best gain
    score_range: float  # interquartile range of the final score over seeds; NaN where no run has gained anything
    kept: float  # share of the runs that did not diverge and end with 95 % of their best gain, likewise
    steps_per_second: Estimate
    parameters: int
    random_return: float  # of random actions from the runs' starts; NaN where it was not measured
    updates: int  # of all runs
    skipped: int  # of those, not made, because they were not finite


def summarise_group(
    records: Sequence[RunRecord], score: str, parameters: int, reference: Sequence[RunRecord] = ()
) -> Summary:
    """Figures of one group.

    Args:
        records: its runs, at least one.
        score: the column of the score, see `score_name`.
        parameters: number of trained parameters.
        reference: runs of the group that its score is compared with.
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


def rank(records: Sequence[RunRecord]) -> tuple[float, float]:
    """What groups are ordered by, most first: their final returns, where runs that diverged are worse than all others.

    The second number orders groups of which so many did that they decide, by the policies that were left.
    """
    returns = _last(records, "mean_return")
    healthy = np.where([record.diverged for record in records], np.nan, returns)
    first, second = (np.nan_to_num(estimate(values).value, nan=-np.inf) for values in (healthy, returns))
    return float(first), float(second)


def write_summary(path: Path, group_column: str, summaries: Sequence[Summary]) -> None:
    """Write one CSV row for each group; the ends of a figure's interval follow it as <figure>_low and <figure>_high."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([group_column, *(name for name, _ in _flat(summaries[0]))])
        for summary in summaries:
            writer.writerow([summary.group, *(csv_number(value) for _, value in _flat(summary))])


def _flat(summary: Summary) -> list[tuple[str, float]]:
    cells: list[tuple[str, float]] = []
    for name, value in list(summary._asdict().items())[1:]:
        if isinstance(value, Estimate):
            cells += [(name, value.value), (f"{name}_low", value.low), (f"{name}_high", value.high)]
        else:
            cells.append((name, value))
    return cells


def _last(records: Sequence[RunRecord], column: str) -> np.ndarray:
    """A column's last evaluation of every run, float64[S], NaN of a run without any."""
    return np.array([[np.nan, *record.evaluations[column]][-1] for record in records])


def _mean_scores(records: Sequence[RunRecord], score: str) -> np.ndarray:
    """Every run's mean over the evaluations that any of them made; what a run ended with stands for later ones."""
    steps = [record.evaluations["env_steps"] for record in records]
    points = common_points(steps)
    curves = [step_values(at, run.evaluations[score], points) for at, run in zip(steps, records, strict=True)]
    return np.array([np.mean(curve) if len(curve) else np.nan for curve in curves])


def _gains(record: RunRecord) -> np.ndarray:
    """What every evaluation gained on random actions as a share of what the run's best one did.

    float64[M] up to 1; NaN throughout where the best one gained nothing.
    """
    gains = record.evaluations["mean_return"] - record.random_return
    best = np.max(gains, initial=-np.inf, where=np.isfinite(gains))
    return gains / best if best > 0.0 else np.full_like(gains, np.nan)


def _steps_to_near_best(record: RunRecord, gains: np.ndarray) -> float:
    near = gains >= NEAR_BEST
    return float(record.evaluations["env_steps"][np.argmax(near)]) if near.any() else np.nan


def _kept(gains: np.ndarray) -> bool:
    return bool((gains >= KEPT)[-1:].any())
