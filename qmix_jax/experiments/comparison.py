"""Runs a comparison: trains each run in a process of its own and writes the findings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qmix_jax.analysis.run_record import has_diverged, has_ended, read_record
from qmix_jax.config import names_module
from qmix_jax.errors import (
    CannotWriteError,
    DamagedError,
    DivergedError,
    RunError,
    StoppedError,
    warn_on_failure,
)
from qmix_jax.experiments.comparison_spec import Comparison, Member, write_comparison
from qmix_jax.experiments.findings import write_comparison_findings
from qmix_jax.experiments.notices import notice_lines
from qmix_jax.experiments.outcomes import DIVERGED, DONE, Run, follow, group_progress, reason
from qmix_jax.experiments.workers import Job, Outcome, WorkerPool
from qmix_jax.output import print_lines
from qmix_jax.presets import preset_lines
from qmix_jax.reports.options import ReportOptions
from qmix_jax.reports.report import report_findings
from qmix_jax.runs.messages import folder_line
from qmix_jax.runs.signals import StopRequest
from qmix_jax.storage.lock import RunLock

_SHARE_MODULE = "qmix_jax.experiments.comparison_worker"


def run_comparison(path: Path, comparison: Comparison) -> None:
    """Train the runs that have not ended; write specification and findings into the folder, named in the last line.

    Raises:
        ConfigError: a run is refused, is not this comparison's, or is being trained by another process.
        RunError: runs diverged (the findings are written), could not write, failed, or were stopped.
    """
    with RunLock(path):
        members = comparison.members(path)
        quiet = members[0].config.quiet
        runs = [Run(member.name, member.config, member.directory) for member in members]
        lines = [*preset_lines(comparison.flags), folder_line(path), *notice_lines(path, runs)]
        write_comparison(path, comparison)
        if not quiet:
            print_lines(*lines)
        failures = _train(path, comparison, members, runs)
        ended = [member for member in members if has_ended(member.directory)]
        try:
            if ended:
                for warning in write_comparison_findings(path, comparison, ended):
                    if not quiet:
                        print_lines(f"warning: {warning}")
                if ended[0].config.report:
                    with warn_on_failure(path / "report.html"):
                        report_findings(path / "comparison.md", ReportOptions())
        except DamagedError as error:
            raise RunError(str(error)) from error
        except OSError as error:
            raise CannotWriteError(f"cannot write {error.filename or path}: {error.strerror}") from error
        if not quiet:
            print_lines(f"comparison directory: {path}")
    diverged = [member.name for member in members if has_diverged(member.directory)]
    if failures:
        reasons = "; ".join(f"{name} {why}" for name, why in failures.items())
        raise RunError(f"{len(failures)} of {len(members)} runs failed: {reasons}; to continue: --resume {path}")
    if diverged:
        raise DivergedError(f"{len(diverged)} of {len(members)} runs diverged: {', '.join(diverged)}")


def _train(path: Path, comparison: Comparison, members: Sequence[Member], runs: Sequence[Run]) -> dict[str, str]:
    """Train the runs. Returns why some of them failed, by name."""
    by_name = {member.name: member for member in members}
    jobs = [_job(comparison, member) for member in members if not has_ended(member.directory)]
    with (
        group_progress(runs, members[0].config.quiet) as progress,
        WorkerPool(comparison.settings.workers, _SHARE_MODULE) as pool,
        StopRequest(last_act=pool.kill) as stop,
    ):
        outcomes = pool.train(jobs, lambda: stop.signal_number)
        failures = follow(outcomes, pool, stop, lambda outcome: progress.say(_line(by_name, outcome)))
        progress.refresh()
    if stop.signal_number is not None:
        done = sum(has_ended(run.directory) for run in runs)
        raise StoppedError(path, stop.signal_number, f"{done} of {len(runs)} runs")
    return failures


def _job(comparison: Comparison, member: Member) -> Job:
    """Return the job that starts a run, or resumes it."""
    if member.directory.hparams.is_file():
        # Whoever continues a comparison has repeated the name of a module, see `compare`.
        env = [f"--env={member.config.env}"] if names_module(member.config.env) else []
        return Job(member.name, [f"--resume={member.directory.path}", *env])
    return Job(member.name, comparison.train_words(member))


def _line(by_name: Mapping[str, Member], outcome: Outcome) -> str:
    """Return the line printed when a run has ended."""
    member = by_name[outcome.job.name]
    if outcome.status not in (DONE, DIVERGED):
        return f"{member.name}: failed, {reason(outcome)}"
    record = read_record(member.algorithm, member.seed, member.directory)
    last = {name: values[-1] for name, values in record.evaluations.items() if len(values)}
    parts = [f"diverged, {reason(outcome)}"] if record.diverged else []
    if record.skipped and not record.diverged:
        parts.append(f"{record.skipped} of {record.updates} updates skipped")
    if last:
        parts += [] if np.isnan(last["optimality"]) else [f"optimality {last['optimality']:z.3f}"]
        parts.append(f"return {last['mean_return']:z.3f}")
        parts += [] if np.isnan(last["solved"]) else [f"success rate {last['solved']:.0%}"]
        parts.append(f"{last['seconds']:.0f} s")
    return f"{member.name}: {', '.join(parts)}"
