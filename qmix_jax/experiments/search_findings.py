"""Findings of a search: those of a sweep about its complete suggestions, all suggestions, and the best so far."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from qmix_jax.analysis.groups import settings_name
from qmix_jax.analysis.search_plot import plot_search
from qmix_jax.analysis.tables import markdown_table
from qmix_jax.errors import warn_on_failure
from qmix_jax.experiments.experiment import Experiment
from qmix_jax.experiments.findings import write_findings
from qmix_jax.storage.files import read_text, replacing

if TYPE_CHECKING:
    from qmix_jax.experiments.study import Suggestion

_EXPLANATION = """\
Every suggestion in its order. *Value*: interquartile mean over its seeds of the return of the evaluation after so many
environment steps of each run; a pruned suggestion was stopped there, because others of its batch were better, or
because a run diverged. The plot shows the best value of a complete suggestion by the steps spent on all so far."""


def write_search_findings(path: Path, sweep: Experiment, suggestions: Sequence["Suggestion"]) -> list[str]:
    """Write a sweep's files about the complete suggestions, and all suggestions into sweep.md and search.png.

    Args:
        path: the sweep's folder.
        sweep: its specification, with a point for each suggestion.
        suggestions: all of them, ended, at least one of them complete.

    Returns:
        Lines to print: warnings, and the best suggestion.

    Raises:
        DamagedError: a log of a run is not one that a run writes.
        OSError: a file cannot be read or written.
    """
    complete = {suggestion.number for suggestion in suggestions if suggestion.state == "complete"}
    members = tuple(member for member in sweep.members if member.point in complete)
    lines = write_findings(path, sweep._replace(members=members), members, {})
    steps = list(accumulate(sweep.settings.num_seeds * max(s.values, default=0) for s in suggestions))
    values = [max(s.values.items())[1] if s.number in complete else None for s in suggestions]
    with warn_on_failure(path / "search.png"):
        plot_search(path / "search.png", f"{len(suggestions)} suggestions", {"TPE": [(steps, values)]})
    page = [read_text(path / "sweep.md").rstrip(), "## Search", _table(suggestions), _EXPLANATION]
    with replacing(path / "sweep.md") as temporary:
        temporary.write_text("\n\n".join([*page, "![Best so far](search.png)\n"]), encoding="utf-8")
    return lines


def _table(suggestions: Sequence["Suggestion"]) -> str:
    rows = []
    for s in suggestions:
        steps, value = max(s.values.items(), default=(0, None))
        shown = "-" if value is None else f"{value:z.3f}"
        rows.append([f"{s.number + 1}", settings_name(s.point), s.state, f"{steps:,}", shown])
    return markdown_table(["suggestion", "settings", "ended", "steps", "value"], rows)
