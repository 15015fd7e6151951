"""Runs a search: suggestions of Optuna in batches, trained as a sweep's members are, until all are told.

A batch trains to the first rung, then its best third to the second, then its best to the end. Each rung continues
exactly from the checkpoints of the one before, and a killed search from those of its members.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qmix_jax.analysis.run_record import has_diverged, has_ended
from qmix_jax.analysis.stats import interquartile_mean
from qmix_jax.errors import DivergedError, StoppedError, reporting, warn_on_failure
from qmix_jax.experiments.capacity import fit_groups
from qmix_jax.experiments.group import train_group
from qmix_jax.experiments.halving import RUNGS, rung_steps, survivors
from qmix_jax.experiments.notices import notice_lines
from qmix_jax.experiments.outcomes import Run, group_progress, last_row
from qmix_jax.experiments.plan import Member, group_members
from qmix_jax.experiments.points import read_ranges
from qmix_jax.experiments.search_findings import write_search_findings
from qmix_jax.experiments.sweep_spec import Sweep
from qmix_jax.output import print_lines
from qmix_jax.presets import preset_lines
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.report import report_findings
from qmix_jax.runs.loop import chunk_ends, evaluation_due
from qmix_jax.runs.messages import folder_line
from qmix_jax.runs.signals import StopRequest, StopSignal
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.lock import RunLock
from qmix_jax.storage.logs import EVALUATION_COLUMNS, read_log

if TYPE_CHECKING:
    from qmix_jax.experiments.study import Study, Suggestion

JOURNAL = "optuna.log"  # in the sweep's folder: `optuna-dashboard results/sweep_1/optuna.log`
BATCH = 8  # suggestions trained at once, if --batch does not say


def run_search(path: Path, sweep: Sweep) -> None:
    """Train what Optuna suggests, and write the findings into the sweep's folder, named in the last line.

    Args:
        path: the sweep's folder.
        sweep: its specification.

    Raises:
        ConfigError: members do not fit in memory, or another process is training them.
        RunError: all suggestions diverged, a file could not be written, or the search was stopped.
    """
    from qmix_jax.experiments.study import Study

    settings, config = sweep.settings, sweep.config()
    total, size, said = settings.optuna or 0, settings.batch or BATCH, set[str]()

    def say(*lines: str) -> None:
        new = [line for line in lines if line not in said and not config.quiet]
        said.update(new)
        print_lines(*new)

    with RunLock(path), reporting(path, "sweep", config.quiet), StopRequest() as stop:
        study = Study(path / JOURNAL, read_ranges(settings.ranges or ()), total, config.seed)
        say(*preset_lines(sweep.flags), folder_line(path))
        for first in range(0, total, size):
            study.ask(min(first + size, total))
            batch = study.suggestions()[first : first + size]
            if any(suggestion.state == "running" for suggestion in batch):
                found = _with_points(sweep, study.suggestions())
                _train_batch(path, found, study, batch, say, lambda: stop.signal_number)
        suggestions = study.suggestions()
        if not any(suggestion.state == "complete" for suggestion in suggestions):
            raise DivergedError(f"all {total} suggestions diverged")
        say(*write_search_findings(path, _with_points(sweep, suggestions), suggestions))
        if config.report:
            with warn_on_failure(path / "report.html"):
                report_findings(path / "sweep.md", ReportOptions())


def find_rungs(sweep: Sweep) -> list[int]:
    """Return the environment steps at which a search compares runs; the last ones are a whole run's."""
    config = sweep.config()
    ends = [end for end in chunk_ends(config) if evaluation_due(config, end)]
    return rung_steps(ends, config.env_steps, 1 if sweep.settings.prune is False else RUNGS)


def _train_batch(
    path: Path,
    sweep: Sweep,
    study: "Study",
    batch: Sequence["Suggestion"],
    say: Callable[..., None],
    stop_signal: StopSignal,
) -> None:
    """Train the suggestions of a batch from rung to rung, and tell how they ended.

    Raises:
        StoppedError: a signal stopped the training.
    """
    rungs, values = find_rungs(sweep), {suggestion.number: math.nan for suggestion in batch}
    for env_steps in rungs:
        members = [member for member in sweep.members() if member.point in values]
        which = f"suggestions {batch[0].number + 1} to {batch[-1].number + 1} of {sweep.settings.optuna}"
        say(*notice_lines(path, _runs(path, members)), f"{which}: {len(values)} to {env_steps} environment steps")
        _train(path, sweep, members, env_steps, stop_signal)
        for number in values:
            study.report(number, env_steps, _value(path, [m for m in members if m.point == number], env_steps))
        reported = study.suggestions()
        values = {number: reported[number].values.get(env_steps, math.nan) for number in values}
        kept = survivors(values, 1) if env_steps == rungs[-1] else survivors(values)
        for number in values.keys() - kept:
            study.tell(number, None)
        values = {number: values[number] for number in kept}
    for number, value in values.items():
        study.tell(number, value)


def _train(path: Path, sweep: Sweep, members: Sequence[Member], env_steps: int, stop_signal: StopSignal) -> None:
    """Train members until each has made so many environment steps; groups that have made them already are skipped.

    Raises:
        StoppedError: a signal stopped the training.
    """
    with group_progress(_runs(path, members), sweep.config().quiet) as progress:
        for group in fit_groups(sweep, group_members(members)):
            if not all(_has_reached(RunDirectory(path / member.folder), env_steps) for member in group.members):
                stopped_by = train_group(group, path, stop_signal, env_steps)
                if stopped_by is not None:
                    raise StoppedError(path, stopped_by, f"{members[0].point} of {sweep.settings.optuna} suggestions")
        progress.refresh()


def _runs(path: Path, members: Sequence[Member]) -> list[Run]:
    return [Run(member.folder, member.config, RunDirectory(path / member.folder)) for member in members]


def _has_reached(run: RunDirectory, env_steps: int) -> bool:
    return has_ended(run) or last_row(run.evaluation_log).get("env_steps", 0) >= env_steps


def _value(path: Path, members: Sequence[Member], env_steps: int) -> float:
    """Return a suggestion's value, the interquartile mean over its seeds of the return at so many steps.

    NaN if a seed has none, or diverged.
    """
    returns = []
    for member in members:
        run = RunDirectory(path / member.folder)
        log = read_log(run.evaluation_log, EVALUATION_COLUMNS)
        at = log["mean_return"][log["env_steps"] == env_steps]
        returns.append(float(at[-1]) if len(at) and not has_diverged(run) else math.nan)
    return float(interquartile_mean(np.array(returns)))


def _with_points(sweep: Sweep, suggestions: Sequence["Suggestion"]) -> Sweep:
    return sweep._replace(found=tuple(suggestion.point for suggestion in suggestions))
