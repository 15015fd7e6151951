"""What is shown of a run and of several runs while they train."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from qmix_jax.runs.display import Display
from qmix_jax.storage.logs import EpisodeRows
from qmix_jax.types import EpisodeLog

RECENT_EPISODES = 100  # the displayed return is a mean over these


class Progress(Display):
    """Progress of one run.

    Args:
        env_steps: environment steps of the run.
        done: those made before.
        quiet: whether to show nothing.
    """

    def __init__(self, env_steps: int, done: int = 0, quiet: bool = False) -> None:
        super().__init__(env_steps, done, quiet)
        self._recent = np.zeros(0, np.float32)
        self._loss = math.nan
        self._evaluated: list[str] = []  # fields of the latest evaluation
        self._is_first = True

    def record(
        self,
        env_steps: int,
        log: EpisodeLog,
        rows: EpisodeRows,
        evaluation: Mapping[str, float] | None,
        diagnostics: Mapping[str, float],
    ) -> None:
        """Advance by one chunk.

        Args:
            env_steps: environment steps by its end.
            log: the chunk's log, arrays [C, E] on the host.
            rows: episodes that finished in it.
            evaluation: the row of the evaluation at its end, None without one.
            diagnostics: its row of diagnostics_log.csv.
        """
        self._recent = np.concatenate([self._recent, rows.episode_return])[-RECENT_EPISODES:]
        losses = log.step_updates.loss[log.num_step_updates > 0]
        if len(losses):
            self._loss = float(losses[-1])
        if evaluation is not None:
            self._evaluated = evaluation_fields(evaluation)
        fields = [f"return {self._recent.mean():z.2f}"] if len(self._recent) else []
        fields += self._evaluated
        if diagnostics["skipped"]:
            fields.append(f"{diagnostics['skipped']:.0f} of {diagnostics['updates']:.0f} updates skipped")
        fields.append(f"epsilon {log.epsilon[-1]:.2f}")
        fields += [] if math.isnan(self._loss) else [f"loss {self._loss:.2g}"]
        self.update(env_steps, fields, is_news=self._is_first or evaluation is not None)
        self._is_first = False


class GroupStatus(NamedTuple):
    """How far several runs are."""

    env_steps: int  # made by all runs together
    ended: int  # runs
    running: int
    best: tuple[str, ...]  # fields: the run whose latest evaluation has the highest return, and that evaluation


class GroupProgress(Display):
    """Progress of several runs.

    Args:
        env_steps: environment steps of all runs.
        runs: their number.
        look: reads how far they are.
        quiet: whether to show nothing.
    """

    def __init__(self, env_steps: int, runs: int, look: Callable[[], GroupStatus], quiet: bool = False) -> None:
        self._runs = runs
        self._status = look
        self._begun = look()
        self._ended = self._begun.ended
        self._failed = 0
        super().__init__(env_steps, self._begun.env_steps, quiet, self.refresh)
        self._fields = self._describe(self._begun)

    def refresh(self) -> None:
        """Show how far the runs are now; a run's end is news."""
        status = self._status()
        if not self._marks and status.env_steps > self._begun.env_steps:
            self._steps = status.env_steps  # made in an unknown time
            self.start()
        self.update(status.env_steps, self._describe(status), is_news=status.ended != self._ended)
        self._ended = status.ended

    def count_failed(self, runs: int) -> None:
        """Take note of runs that will not be trained further."""
        self._failed += runs

    def _describe(self, status: GroupStatus) -> list[str]:
        ended = f"{status.ended} of {self._runs} runs ended"
        if self._bar is not None:  # which has little room
            ended = f"{status.ended}/{self._runs} ended"
        fields = [ended, f"{status.running} running"]
        waiting = self._runs - status.ended - status.running - self._failed
        others = {"waiting": waiting, "failed": self._failed}
        fields += [f"{runs} {which}" for which, runs in others.items() if runs > 0]
        return [*fields, f"best so far {status.best[0]}", *status.best[1:]] if status.best else fields


def evaluation_fields(row: Mapping[str, float]) -> list[str]:
    """Describe a row of evaluation_log.csv: optimality, or the return where it is unknown, and the success rate."""
    optimality, solved = (row.get(name, math.nan) for name in ("optimality", "solved"))
    known = not math.isnan(optimality)
    fields = [f"optimality {optimality:z.0%}" if known else f"greedy return {row['mean_return']:z.2f}"]
    return fields if math.isnan(solved) else [*fields, f"success rate {solved:.0%}"]
