"""Runs a search: suggestions of Optuna in batches, trained as a sweep's runs are, until all are told.

A batch trains to the first rung, then its best third to the second, then its best to the end. Each rung continues
exactly from the checkpoints of the one before, and a killed search from those of its runs.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qmix_jax.analysis.run_record import has_diverged
from qmix_jax.analysis.stats import interquartile_mean
from qmix_jax.errors import DivergedError, RunError, reporting, warn_on_failure
from qmix_jax.experiments.capacity import plan_shares
from qmix_jax.experiments.engine import runs_of, train_groups
from qmix_jax.experiments.experiment import Experiment, write_experiment
from qmix_jax.experiments.halving import RUNGS, rung_steps, survivors
from qmix_jax.experiments.launcher import Launcher
from qmix_jax.experiments.notices import notice_lines
from qmix_jax.experiments.plan import Group, Member, plan_members, point_folders
from qmix_jax.experiments.points import read_ranges
from qmix_jax.experiments.search_findings import write_search_findings
from qmix_jax.experiments.sweep_spec import BATCH
from qmix_jax.output import print_lines
from qmix_jax.presets import preset_lines
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.report import report_findings
from qmix_jax.runs.loop import chunk_ends, evaluation_due
from qmix_jax.runs.messages import folder_line
from qmix_jax.storage.checkpoint import keep_parameters
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.lock import RunLock
from qmix_jax.storage.logs import EVALUATION_COLUMNS, read_log

if TYPE_CHECKING:
    from qmix_jax.experiments.study import Study, Suggestion

JOURNAL = "optuna.log"  # in the sweep's folder: `optuna-dashboard results/sweep_1/optuna.log`


class Search:
    """A search in the folder `path`.

    Args:
        path: the sweep's folder, which the caller has locked.
        sweep: its specification, with points that only stand for its ranges.
        study: its suggestions.
        make_launcher: returns what trains the runs of a rung.
    """

    def __init__(self, path: Path, sweep: Experiment, study: "Study", make_launcher: Callable[[], Launcher]) -> None:
        self._path = path
        self._sweep = sweep
        self._study = study
        self._make_launcher = make_launcher
        self._said: set[str] = set()

    def say(self, *lines: str) -> None:
        """Print the lines that have not been printed yet."""
        new = [line for line in lines if line not in self._said and not self._sweep.config.quiet]
        self._said.update(new)
        print_lines(*new)

    def found(self) -> Experiment:
        """Return the sweep with a point for each suggestion until now."""
        sweep = self._sweep
        points = [suggestion.point for suggestion in self._study.suggestions()]
        folders = point_folders(points)
        members = plan_members(sweep.config, points, sweep.settings.num_seeds, folders)
        return sweep._replace(points=points, folders=folders, members=members)

    def train_batch(self, batch: Sequence["Suggestion"]) -> None:
        """Train the suggestions of a batch from rung to rung, and tell how they ended.

        Raises:
            ConfigError: a run was refused.
            RunError: a run failed or could not write, or a signal stopped the training.
        """
        found, study = self.found(), self._study
        rungs, values = find_rungs(found), {suggestion.number: math.nan for suggestion in batch}
        for env_steps in rungs:
            members = [member for member in found.members if member.point in values]
            which = f"suggestions {batch[0].number + 1} to {batch[-1].number + 1} of {found.settings.optuna}"
            self.say(*notice_lines(self._path, runs_of(self._path, members)))
            self.say(f"{which}: {len(values)} to {env_steps} environment steps")
            self._train(found, members, env_steps)
            for number in values:
                study.report(number, env_steps, self._value([m for m in members if m.point == number], env_steps))
            reported = study.suggestions()
            values = {number: reported[number].values.get(env_steps, math.nan) for number in values}
            kept = survivors(values, 1) if env_steps == rungs[-1] else survivors(values)
            for number in values.keys() - kept:
                study.tell(number, None)
            for member in members:
                if member.point not in kept:  # it will not be trained further, and its replay takes most of the disk
                    keep_parameters(RunDirectory(self._path / member.folder).models)
            values = {number: values[number] for number in kept}
        for number, value in values.items():
            study.tell(number, value)

    def _train(self, found: Experiment, members: Sequence[Member], env_steps: int) -> None:
        """Train runs until each has made so many environment steps; those that have made them already are skipped."""
        workers = min(found.settings.workers or 1, len(members))
        shares = plan_shares(found._replace(members=tuple(members)).shared_by(workers))
        groups: list[Group] = [group._replace(until=env_steps) for share in shares for group in share]
        failures = train_groups(self._path, groups, self._make_launcher(), found.config.quiet)
        if failures:
            reasons = "; ".join(f"{name} {why}" for name, why in failures.items())
            raise RunError(f"{len(failures)} groups of runs failed: {reasons}; to continue: --resume {self._path}")

    def _value(self, members: Sequence[Member], env_steps: int) -> float:
        """Return a suggestion's value, the interquartile mean over its seeds of the return at so many steps.

        NaN if a seed has none, or diverged.
        """
        returns = []
        for member in members:
            run = RunDirectory(self._path / member.folder)
            log = read_log(run.evaluation_log, EVALUATION_COLUMNS)
            at = log["mean_return"][log["env_steps"] == env_steps]
            returns.append(float(at[-1]) if len(at) and not has_diverged(run) else math.nan)
        return float(interquartile_mean(np.array(returns)))


def run_search(path: Path, sweep: Experiment, make_launcher: Callable[[], Launcher]) -> None:
    """Train what Optuna suggests, and write the findings into the sweep's folder, named in the last line.

    Args:
        path: the sweep's folder.
        sweep: its specification, which is written.
        make_launcher: returns what trains the runs of a rung.

    Raises:
        ConfigError: a run is refused, or is being trained by another process.
        RunError: all suggestions diverged, a run failed, a file could not be written, or the search was stopped.
    """
    from qmix_jax.experiments.study import Study

    settings, config = sweep.settings, sweep.config
    size = settings.batch or BATCH
    with RunLock(path), reporting(path, "sweep", config.quiet):
        write_experiment(path, sweep)
        study = Study(path / JOURNAL, read_ranges(settings.ranges), settings.optuna, config.seed)
        search = Search(path, sweep, study, make_launcher)
        search.say(*preset_lines(sweep.flags), folder_line(path))
        for first in range(0, settings.optuna, size):
            study.ask(min(first + size, settings.optuna))
            batch = study.suggestions()[first : first + size]
            if any(suggestion.state == "running" for suggestion in batch):
                search.train_batch(batch)
        suggestions = study.suggestions()
        if not any(suggestion.state == "complete" for suggestion in suggestions):
            raise DivergedError(f"all {settings.optuna} suggestions diverged")
        search.say(*write_search_findings(path, search.found(), suggestions))
        if config.report:
            with warn_on_failure(path / "report.html"):
                report_findings(path / "sweep.md", ReportOptions())


def find_rungs(sweep: Experiment) -> list[int]:
    """Return the environment steps at which a search compares runs; the last ones are a whole run's."""
    ends = [end for end in chunk_ends(sweep.config) if evaluation_due(sweep.config, end)]
    return rung_steps(ends, sweep.config.env_steps, 1 if sweep.settings.prune is False else RUNGS)
