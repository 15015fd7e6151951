"""A sweep's progress bar: one over all members' environment steps."""

from types import TracebackType
from typing import Any, Self

import numpy as np
from tqdm.auto import tqdm

from qmix_jax.faults import QUANTITIES
from qmix_jax.progress import BAR_FORMAT, is_watched
from qmix_jax.sweep_loop import GroupChunk
from qmix_jax.sweep_plan import Group


class SweepProgress:
    """The bar, and a printed line for each member that diverges. Use it as a context.

    Args:
        env_steps: environment steps of all members together.
        visible: None: only where someone watches.
    """

    def __init__(self, env_steps: int, visible: bool | None = None) -> None:
        shown = is_watched() if visible is None else visible
        self._bar: Any = tqdm(
            total=env_steps, disable=not shown, bar_format=BAR_FORMAT, unit="", unit_scale=True, dynamic_ncols=True
        )
        self._bar.set_postfix_str("compiling")
        self._done = 0  # steps of groups that have ended
        self._diverged: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def begin_group(self, env_steps: int) -> None:
        """A group goes on after so many steps of all its members: compilation is over, and time counts from here."""
        self._bar.n = self._bar.initial = self._done + env_steps
        self._bar.unpause()

    def end_group(self, env_steps: int) -> None:
        """A group has made all its steps, now or in an earlier process."""
        self._done += env_steps
        self._bar.n = self._done
        self._bar.refresh()

    def update(self, chunk: GroupChunk, group: Group) -> None:
        """Show one chunk of a group."""
        size, faults = len(group.members), chunk.progression.faults
        if chunk.evaluation is not None:
            optimality = np.asarray(chunk.evaluation.optimality)[:size]
            shown = optimality if np.isfinite(optimality).any() else np.asarray(chunk.evaluation.mean_return)[:size]
            name = "optimality" if shown is optimality else "return"
            self._bar.set_postfix_str(f"{size} members, {name} {np.nanmin(shown):.2f} to {np.nanmax(shown):.2f}")
        self._bar.update(self._done + chunk.env_steps * size - self._bar.n)
        for number, member in enumerate(group.members):
            if faults.streak[number] >= member.config.max_bad_updates and member.folder not in self._diverged:
                self._diverged.add(member.folder)
                self._bar.write(
                    f"notice: {member.folder}: the {QUANTITIES[int(faults.quantity[number])]} was not finite from "
                    f"update {int(faults.since[number])} on; its parameters stay as they were before"
                )
