"""Runs a sweep: trains its members in one or several processes and writes the findings."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from textwrap import shorten
from typing import NoReturn

import jax

from qmix_jax.analysis.groups import settings_name
from qmix_jax.analysis.run_record import has_diverged, has_ended
from qmix_jax.errors import DivergedError, RunError, StoppedError, reporting, warn_on_failure
from qmix_jax.experiments.capacity import plan_lines, plan_shares
from qmix_jax.experiments.findings import write_sweep_findings
from qmix_jax.experiments.group import is_finished, train_group
from qmix_jax.experiments.notices import notice_lines
from qmix_jax.experiments.outcomes import Run, follow, group_progress
from qmix_jax.experiments.plan import Group, Member
from qmix_jax.experiments.points import Point
from qmix_jax.experiments.sweep_spec import Sweep
from qmix_jax.experiments.workers import Job, WorkerPool, available_cores, program_environment, program_words
from qmix_jax.output import print_lines
from qmix_jax.presets import preset_lines
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.report import report_findings
from qmix_jax.runs.messages import folder_line
from qmix_jax.runs.signals import StopRequest, StopSignal
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.lock import InUseError, RunLock

SHARE_MODULE = "qmix_jax.experiments.worker"
_LONGEST_SETTINGS = 40  # characters in a line of progress


def run_sweep(path: Path, sweep: Sweep, env: str | None = None) -> None:
    """Train the members that have not ended and write the findings into the sweep's folder, named in the last line.

    Args:
        path: the sweep's folder.
        sweep: its specification.
        env: the --env of the command line, which the processes of a sweep get too.

    Raises:
        ConfigError: members do not fit in memory, or another process is training them.
        RunError: a file could not be written, or the sweep was stopped.
    """
    shares, quiet = plan_shares(sweep), sweep.config().quiet
    runs = member_runs(path, sweep, sweep.members())
    with RunLock(path), reporting(path, "sweep", quiet):
        notices = notice_lines(path, runs)
        if not quiet:
            heading = [*preset_lines(sweep.flags), folder_line(path)]
            print_lines(*heading, *plan_lines(shares), *notices)
        with group_progress(runs, quiet) as progress:
            stopped_by = _train(path, shares, env)
            progress.refresh()
        if stopped_by is not None:
            raise StoppedError(path, stopped_by, count_ended(path, sweep))
        sum_up(path, sweep)


def share_flags(path: Path, share: int, env: str | None) -> list[str]:
    """Return the flags of `SHARE_MODULE` for one share of the sweep in the folder `path`; `env` as for `run_sweep`."""
    return [f"--folder={path}", f"--share={share}", *([] if env is None else [f"--env={env}"])]


def become_share(path: Path, share: int, env: str | None, gpus: str | None) -> NoReturn:
    """Replace this process by a fresh one that trains a share on its own devices only.

    Args:
        path: the sweep's folder.
        share: index of the share.
        env: the --env of the command line.
        gpus: JAX's `jax_cuda_visible_devices`, set where SLURM or MPI starts several processes on one machine.
    """
    words = [sys.executable, *program_words(SHARE_MODULE), *share_flags(path, share, env), f"--joined={gpus or 'all'}"]
    os.execve(sys.executable, words, program_environment())


def member_runs(path: Path, sweep: Sweep, members: Sequence[Member]) -> list[Run]:
    """Return members as runs in the sweep's folder, named by their settings as its tables are, and by their seeds."""
    points = sweep.points()
    return [
        Run(_shown_name(member, points[member.point]), member.config, RunDirectory(path / member.folder))
        for member in members
    ]


def train_share(path: Path, groups: list[Group], stop_signal: StopSignal) -> int | None:
    """Train a process's groups one after another. Returns the signal that stopped it, if one did."""
    for group in groups:
        if not is_finished(group, path):
            stopped_by = train_group(group, path, stop_signal)
            if stopped_by is not None:
                return stopped_by
    return None


def sum_up(path: Path, sweep: Sweep) -> None:
    """Write the tables and plots of a sweep whose runs have all ended, and its report if `--report` is set.

    Raises:
        DivergedError: runs diverged.
    """
    members = sweep.members()
    lines = write_sweep_findings(path, sweep, members)
    if not sweep.config().quiet:
        print_lines(*lines)
    if sweep.config().report:
        with warn_on_failure(path / "report.html"):
            report_findings(path / "sweep.md", ReportOptions())
    diverged = [member.folder for member in members if has_diverged(RunDirectory(path / member.folder))]
    if diverged:
        raise DivergedError(f"{len(diverged)} of {len(members)} runs diverged: {', '.join(diverged)}")


def conclude(path: Path, sweep: Sweep) -> None:
    """Call `sum_up` if all runs have ended: of several machines' processes, the last one writes the findings.

    Raises:
        ConfigError: the folder cannot be locked.
        DivergedError: runs diverged.
    """
    if not all(has_ended(directory) for directory in _directories(path, sweep)):
        if not sweep.config().quiet:
            print_lines(f"{count_ended(path, sweep)} have ended; the last process writes the findings")
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(RunLock(path))
        except InUseError:
            return  # another process ended at the same moment and writes them
        sum_up(path, sweep)


def count_ended(path: Path, sweep: Sweep) -> str:
    """Return how many runs have ended, as text."""
    ended = [has_ended(directory) for directory in _directories(path, sweep)]
    return f"{sum(ended)} of {len(ended)} runs"


def _shown_name(member: Member, point: Point) -> str:
    """Return a run's settings and seed. Settings are cut to fit on a line, and its folder then follows."""
    settings = settings_name(point)
    if not point:
        return member.folder
    if len(settings) > _LONGEST_SETTINGS:
        return f"{shorten(settings, _LONGEST_SETTINGS, placeholder=' ...').lstrip()} {member.folder}"
    return f"{settings} seed_{member.seed}"


def _train(path: Path, shares: list[list[Group]], env: str | None) -> int | None:
    """Train all shares, in this process if there is one. Returns the signal that stopped them, if one did."""
    if len(shares) == 1 or jax.default_backend() != "cpu":  # an accelerator belongs to one process
        with StopRequest() as stop:
            return train_share(path, [group for share in shares for group in share], lambda: stop.signal_number)
    jobs = [
        Job(f"process {i}", share_flags(path, i, env))
        for i, groups in enumerate(shares)
        if not all(is_finished(group, path) for group in groups)
    ]
    if not jobs:
        return None
    with (
        WorkerPool(min(len(jobs), len(available_cores())), SHARE_MODULE) as pool,
        StopRequest(last_act=pool.kill) as stop,
    ):
        outcomes = pool.train(jobs, lambda: stop.signal_number)
        failures = follow(outcomes, pool, stop, lambda _: None)
    if stop.signal_number is None and failures:
        reasons = "; ".join(f"{name} {why}" for name, why in failures.items())
        raise RunError(f"{len(failures)} of {len(jobs)} processes failed: {reasons}; to continue: --resume {path}")
    return stop.signal_number


def _directories(path: Path, sweep: Sweep) -> list[RunDirectory]:
    return [RunDirectory(path / member.folder) for member in sweep.members()]
