"""Successive halving: which runs of a batch stop early, and when (K. Jamieson, A. Talwalkar. AISTATS 2016)."""

import math
from collections.abc import Mapping, Sequence

REDUCTION = 3  # of so many runs one goes on, to so many times the steps
RUNGS = 3


def survivors(values: Mapping[int, float], reduction: int = REDUCTION) -> list[int]:
    """Return the numbers of the best suggestions, at least one of `reduction`, in their order; NaN is never kept.

    Args:
        values: by number, at one rung.
        reduction: of so many, one goes on.
    """
    known = [number for number, value in values.items() if not math.isnan(value)]
    best = sorted(known, key=lambda number: (-values[number], number))[: math.ceil(len(values) / reduction)]
    return sorted(best)


def rung_steps(ends: Sequence[int], total: int, rungs: int = RUNGS) -> list[int]:
    """Return the environment steps at which runs are compared, ascending; the last one is `total`.

    Args:
        ends: steps at which runs are evaluated.
        total: a whole run's.
        rungs: how many, if evaluations are frequent enough.
    """
    wanted = [total / REDUCTION**rung for rung in reversed(range(rungs))]
    return sorted({min((end for end in ends if end >= steps), default=total) for steps in wanted})
