"""Progress bars, shown only in terminals and notebooks."""

import math
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

import numpy as np

from qmix_jax.storage.logs import EpisodeRows
from qmix_jax.types import EpisodeLog

if find_spec("ipywidgets"):
    from tqdm.auto import tqdm
else:  # tqdm.auto would warn in a notebook, and fall back to text anyway
    from tqdm import tqdm

RECENT_EPISODES = 100  # the displayed return is a mean over these
_FORMAT = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} steps, {rate_noinv_fmt}, ETA {remaining}{postfix}"
_GROUP_FORMAT = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} steps, ETA {remaining}{postfix}"


class Progress:
    """Progress bar over a run's environment steps, starting at `done`. `visible` None: if `is_watched`."""

    def __init__(self, env_steps: int, done: int = 0, episodes: int = 0, visible: bool | None = None) -> None:
        shown = is_watched() if visible is None else visible
        self._bar: Any = tqdm(
            total=env_steps,
            initial=done,
            disable=not shown,
            file=_stream(),
            bar_format=_FORMAT,
            unit="",
            unit_scale=True,
            dynamic_ncols=True,
        )
        self._bar.set_postfix_str("compiling")
        self._episodes = episodes
        self._recent = np.zeros(0, np.float32)
        self._epsilon = self._loss = math.nan
        self._greedy = self._skipped = ""  # text for the latest evaluation and for skipped updates

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def start(self) -> None:
        """Mark the end of compilation: speed and remaining time count from here."""
        self._bar.unpause()

    def update(
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
        self._episodes += len(rows.episode)
        self._recent = np.concatenate([self._recent, rows.episode_return])[-RECENT_EPISODES:]
        self._epsilon = float(log.epsilon[-1])
        losses = log.step_updates.loss[log.num_step_updates > 0]
        if len(losses):
            self._loss = float(losses[-1])
        if evaluation is not None:
            known = not math.isnan(evaluation["optimality"])
            self._greedy = (
                f"optimality {evaluation['optimality']:z.0%}"
                if known
                else f"greedy return {evaluation['mean_return']:z.2f}"
            )
        if diagnostics["skipped"]:
            self._skipped = f"{diagnostics['skipped']:.0f} of {diagnostics['updates']:.0f} updates skipped"
        self._bar.set_postfix_str(self._describe(), refresh=False)
        self._bar.update(env_steps - self._bar.n)

    def _describe(self) -> str:
        recent_return = self._recent.mean() if len(self._recent) else math.nan
        parts = [
            f"return {recent_return:z.2f}",
            self._greedy,
            f"epsilon {self._epsilon:.2f}",
            f"loss {self._loss:.2g}",
            self._skipped,
        ]
        return ", ".join([f"episodes {self._episodes}", *(part for part in parts if part and "nan" not in part)])


class GroupProgress:
    """Progress bar over the environment steps of several runs, below one line per run. `visible` as for `Progress`."""

    def __init__(self, env_steps: int, runs: int, visible: bool | None = None) -> None:
        shown = is_watched() if visible is None else visible
        self._runs = runs
        self._bar: Any = tqdm(
            total=env_steps,
            disable=not shown,
            file=_stream(),
            bar_format=_GROUP_FORMAT,
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.0,  # estimate from the whole history: runs report in bursts
        )
        self._bar.set_postfix_str("compiling")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    @property
    def visible(self) -> bool:
        """Whether the bar is shown."""
        return not self._bar.disable

    def update(self, env_steps: int, ended: int) -> None:
        """Set the total environment steps, and the number of runs that have ended."""
        if env_steps == 0:
            return
        self._bar.set_postfix_str(f"{ended} of {self._runs} runs", refresh=False)
        self._bar.update(env_steps - self._bar.n)

    def say(self, line: str) -> None:
        """Print a line to stdout, above the bar."""
        self._bar.write(line)
        sys.stdout.flush()


def is_watched() -> bool:
    """Whether standard error is a terminal or this is a notebook."""
    return sys.stderr.isatty() or _in_notebook()


def _stream() -> Any:
    """Return where the bar goes: standard error, which a notebook shows in red, so that there it is standard output."""
    return sys.stdout if _in_notebook() else sys.stderr


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
