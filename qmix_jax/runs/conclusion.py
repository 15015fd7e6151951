"""What a run says at its end."""

import math

import numpy as np

from qmix_jax.learning.faults import MOST_SKIPPED, skips_too_many
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import EVALUATION_COLUMNS, logged, read_log
from qmix_jax.types import Evaluation, Progression

_CLEARLY = 0.05  # share of the best evaluation's gain on random actions that the last one lacks


def conclusion_lines(
    evaluation: Evaluation, directory: RunDirectory, random_return: float, end: Progression
) -> list[str]:
    """How good the final policy is, where a clearly better one is kept, and which updates are missing in it.

    Args:
        evaluation: of the final policy.
        directory: the run's, whose evaluation_log.csv is complete.
        random_return: mean return of random actions from the same starts.
        end: the learner at the run's end.
    """
    lines = [f"final policy: return {evaluation.mean_return:z.3f}{_limit(evaluation)}, solved {evaluation.solved:.0%}"]
    lines += _best_lines(read_log(directory.evaluation_log, EVALUATION_COLUMNS), logged(random_return))
    skipped = int(end.faults.skipped)
    if skipped:
        lines.append(
            f"warning: {skipped} of {int(end.updates)} updates skipped: their loss or gradient was not finite. Large "
            "rewards and errors are the first to overflow, so that what they teach may be missing in the policy; "
            f"see `skipped` in {directory.diagnostics_log}"
        )
    return lines


def too_many_skipped(end: Progression) -> str | None:
    """Why a run that has trained to its end counts as diverged; None where it does not."""
    skipped, updates = int(end.faults.skipped), int(end.updates)
    if not skips_too_many(skipped, updates):
        return None
    return (
        f"{skipped} of {updates} updates skipped, which is more than {MOST_SKIPPED:.0%}: "
        "the run counts as diverged; its files are complete"
    )


def _limit(evaluation: Evaluation) -> str:
    """The final return against the best possible one: a share of it, or where there is none, the distance to it."""
    if not math.isnan(evaluation.optimality):
        return f" ({evaluation.optimality:z.1%} of the best possible)"
    if math.isnan(evaluation.best_return):
        return ""
    regret = evaluation.best_return - evaluation.mean_return
    return f" (regret {regret:z.3f}, best possible {evaluation.best_return:z.3f})"


def _best_lines(evaluations: dict[str, np.ndarray], random_return: float) -> list[str]:
    returns = np.nan_to_num(evaluations["mean_return"], nan=-np.inf)
    best = int(np.argmax(returns))
    if np.isinf(returns[best]):
        return ["warning: no evaluation has a finite return: the environment's rewards are not"]
    if returns[best] <= random_return:
        return [f"warning: no evaluation was better than random actions, whose return is {random_return:z.3f}"]
    gain = np.nan_to_num(returns[best] - random_return)  # 0 where random actions met rewards that are no numbers
    if returns[-1] >= returns[best] - _CLEARLY * gain:
        return []
    at = f"at {int(evaluations['env_steps'][best])} environment steps"
    return [f"its best was return {returns[best]:z.3f} {at}: models/best_model, --checkpoint best"]
