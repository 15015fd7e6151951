"""Runs an experiment: trains its groups of runs with a launcher and writes the findings."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from qmix_jax.analysis.run_record import has_diverged, has_ended, read_record
from qmix_jax.errors import DivergedError, RunError, StoppedError, reporting, warn_on_failure
from qmix_jax.experiments.experiment import Experiment, write_experiment
from qmix_jax.experiments.findings import write_findings
from qmix_jax.experiments.jobs import group_jobs, read_group, unfinished
from qmix_jax.experiments.launcher import Launcher, Outcome
from qmix_jax.experiments.notices import notice_lines
from qmix_jax.experiments.outcomes import DIVERGED, DONE, Run, follow, group_progress, reason
from qmix_jax.experiments.plan import Group, Member
from qmix_jax.output import print_lines
from qmix_jax.presets import preset_lines
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.report import report_findings
from qmix_jax.runs.messages import folder_line
from qmix_jax.runs.progress import GroupProgress
from qmix_jax.runs.signals import StopRequest
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.lock import RunLock


def run_experiment(
    path: Path, experiment: Experiment, groups: Sequence[Group], launcher: Launcher, lines: Sequence[str] = ()
) -> None:
    """Train the runs that have not ended and write the findings into the folder, named in the last line.

    Args:
        path: the experiment's folder.
        experiment: its specification, which is written.
        groups: its runs, as the launcher trains them.
        launcher: trains them.
        lines: printed first, after the folder.

    Raises:
        ConfigError: a run is refused, is not this experiment's, or is being trained by another process.
        RunError: runs diverged (the findings are written), could not write, failed, or were stopped.
    """
    members, quiet = experiment.members, experiment.config.quiet
    with RunLock(path), reporting(path, experiment.kind.name, quiet):
        notices = notice_lines(path, runs_of(path, members))
        write_experiment(path, experiment)
        if not quiet:
            print_lines(*preset_lines(experiment.flags), folder_line(path), *lines, *notices)
        failures = train_groups(path, groups, launcher, quiet)
        missing = unfinished(path, members)
        if len(missing) < len(members):
            ended = [member for member in members if member not in missing] if missing else members
            printed = write_findings(path, experiment, ended, failures)
            if not quiet:
                print_lines(*printed)
            if experiment.config.report:
                with warn_on_failure(path / "report.html"):
                    report_findings(path / f"{experiment.kind.name}.md", ReportOptions())
    diverged = [member.folder for member in members if has_diverged(RunDirectory(path / member.folder))]
    if failures:
        reasons = "; ".join(f"{name} {why}" for name, why in failures.items())
        raise RunError(f"{len(missing)} of {len(members)} runs failed: {reasons}; to continue: --resume {path}")
    if diverged:
        raise DivergedError(f"{len(diverged)} of {len(members)} runs diverged: {', '.join(diverged)}")


def train_groups(path: Path, groups: Sequence[Group], launcher: Launcher, quiet: bool = False) -> dict[str, str]:
    """Train groups of runs, each from its newest checkpoints if it has any, and show the progress of all.

    Runs that have ended are not trained again. The caller holds the lock of `path`.

    Args:
        path: the experiment's folder, in which each member has its own.
        groups: the runs.
        launcher: trains them.
        quiet: whether to print nothing.

    Returns:
        Why groups failed, by the names of their jobs: the other groups were trained.

    Raises:
        ConfigError: a run was refused.
        RunError: a file could not be written, or a signal stopped the training.
    """
    members = [member for group in groups for member in group.members]
    runs = [run._replace(until=group.until) for group in groups for run in runs_of(path, group.members)]
    jobs = group_jobs(path, groups)
    with (
        group_progress(runs, quiet) as progress,
        launcher,
        StopRequest(last_act=launcher.kill) as stop,
    ):
        outcomes = launcher.train(jobs, lambda: stop.signal_number)
        failures = follow(outcomes, launcher, stop, _say_ended(path, progress))
        progress.refresh()
    if stop.signal_number is not None:
        done = len(members) - len(unfinished(path, members))
        raise StoppedError(path, stop.signal_number, f"{done} of {len(members)} runs")
    return failures


def runs_of(path: Path, members: Sequence[Member]) -> list[Run]:
    """Return members as runs in the experiment's folder."""
    return [Run(member.folder, member.config, RunDirectory(path / member.folder)) for member in members]


def _say_ended(path: Path, progress: GroupProgress) -> Callable[[Outcome], None]:
    """Return what prints a line for each run of a job that has ended, or why the job failed."""

    def say_ended(outcome: Outcome) -> None:
        members = read_group(outcome.job.text).members
        if outcome.status not in (DONE, DIVERGED):
            progress.say(f"{outcome.job.name}: failed, {reason(outcome)}")
            progress.count_failed(len(unfinished(path, members)))
            return
        for member in members:
            if has_ended(RunDirectory(path / member.folder)):
                progress.say(_ended_line(path, member, outcome))

    return say_ended


def _ended_line(path: Path, member: Member, outcome: Outcome) -> str:
    record = read_record(member.folder, member.seed, RunDirectory(path / member.folder))
    last = {name: values[-1] for name, values in record.evaluations.items() if len(values)}
    parts = []
    if record.diverged:
        parts.append(f"diverged, {reason(outcome)}" if outcome.status == DIVERGED else "diverged")
    if record.skipped and not record.diverged:
        parts.append(f"{record.skipped} of {record.updates} updates skipped")
    if last:
        parts += [] if np.isnan(last["optimality"]) else [f"optimality {last['optimality']:z.3f}"]
        parts.append(f"return {last['mean_return']:z.3f}")
        parts += [] if np.isnan(last["solved"]) else [f"success rate {last['solved']:.0%}"]
        parts.append(f"{last['seconds']:.0f} s")
    return f"{member.folder}: {', '.join(parts)}"
