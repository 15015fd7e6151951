"""Suggestions of Optuna in batches, and what their runs were worth: the study of a search, kept in a journal file.

After T. Akiba, S. Sano, T. Yanase, T. Ohta, M. Koyama. Optuna: A Next-generation Hyperparameter Optimization Framework.
KDD 2019. The sampler is its tree-structured Parzen estimator (J. Bergstra et al. 2011). `optuna-dashboard` shows the
file.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from qmix_jax.experiments.points import Point, Range, rounded

NAME = "search"  # of the study in its file
_STARTING = 10  # most suggestions that are drawn at random before the sampler learns from results
_STRIDE = 1_000_003  # between the sampler's seeds, so that those of two searches do not meet


class Suggestion(NamedTuple):
    """A point that the sampler suggested, and what is known of its runs."""

    number: int
    point: Point
    state: str  # running, complete or pruned
    values: Mapping[int, float]  # by environment steps, at the rungs it has reached


class Study:
    """A search's suggestions; the same ranges, seed and values always give the same suggestions.

    Args:
        path: the journal file, made if it is missing. The caller holds a lock of its folder.
        ranges: what is searched.
        suggestions: how many there will be.
        seed: of the sampler.
    """

    def __init__(self, path: Path, ranges: Mapping[str, Range], suggestions: int, seed: int) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        for left in path.parent.glob(f"{path.name}.lock*"):  # by a process that was killed
            left.unlink()
        backend = JournalFileBackend(str(path), JournalFileOpenLock(str(path)))
        self._study = optuna.create_study(
            storage=JournalStorage(backend), study_name=NAME, direction="maximize", load_if_exists=True
        )
        self._ranges = ranges
        self._starting = min(_STARTING, max(4, suggestions // 4))
        self._seed = seed

    def suggestions(self) -> list[Suggestion]:
        """Return all suggestions in their order."""
        return [
            Suggestion(
                trial.number, self._point(trial.params), trial.state.name.lower(), dict(trial.intermediate_values)
            )
            for trial in self._trials()
        ]

    def ask(self, count: int) -> None:
        """Suggest further points, until there are `count` suggestions; running ones count as bad guesses meanwhile."""
        for number in range(len(self._trials()), count):
            # A sampler for each suggestion: its random numbers do not depend on which process asks.
            seed = (self._seed * _STRIDE + number) % 2**32
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=self._starting, seed=seed, constant_liar=True
            )
            self._study.ask({name: _distribution(limits) for name, limits in self._ranges.items()})

    def report(self, number: int, env_steps: int, value: float) -> None:
        """Keep a suggestion's value after so many steps of each of its runs, the first one given; NaN is not kept."""
        trial = self._trials()[number]
        if not math.isnan(value) and env_steps not in trial.intermediate_values:
            Trial(self._study, trial._trial_id).report(value, env_steps)

    def tell(self, number: int, value: float | None) -> None:
        """End a suggestion: with its value, or pruned. Nothing changes for one that has ended."""
        if self._trials()[number].state == TrialState.RUNNING:
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            self._study.tell(number, value, state)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _point(self, params: Mapping[str, Any]) -> Point:
        return {name: rounded(params[name], limits) for name, limits in self._ranges.items()}


def _distribution(limits: Range) -> BaseDistribution:
    if limits.is_whole:
        return IntDistribution(int(limits.low), int(limits.high), log=limits.is_logarithmic)
    return FloatDistribution(limits.low, limits.high, log=limits.is_logarithmic)
