"""What a run says at its end."""

import math

import numpy as np

from qmix_jax.records import EVALUATION_COLUMNS, read_log
from qmix_jax.run_directory import RunDirectory
from qmix_jax.types import Evaluation

_CLEARLY = 0.05  # share of the best score that the last one lacks


def conclusion_lines(evaluation: Evaluation, directory: RunDirectory) -> list[str]:
    """How good the final policy is, and where a clearly better one is kept.

    Args:
        evaluation: of the final policy.
        directory: the run's, whose evaluation_log.csv is complete.
    """
    optimality = "" if math.isnan(evaluation.optimality) else f" ({evaluation.optimality:z.1%} of the best possible)"
    lines = [f"final policy: return {evaluation.mean_return:z.3f}{optimality}, solved {evaluation.solved:.0%}"]
    evaluations = read_log(directory.evaluation_log, EVALUATION_COLUMNS)
    score = "mean_return" if np.isnan(evaluations["optimality"]).any() else "optimality"
    scores = evaluations[score]
    best = int(np.argmax(scores))
    if scores[-1] < scores[best] - _CLEARLY * abs(scores[best]):
        at = f"at {int(evaluations['env_steps'][best])} environment steps"
        lines.append(f"its best was {score} {scores[best]:z.3f} {at}: models/best_model, --checkpoint best")
    return lines
