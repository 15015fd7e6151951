"""Trains the runs of a comparison that have not ended yet, each in a process of its own, and compares all that have."""

import signal
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from qmix_jax.comparison import Comparison, Member
from qmix_jax.config import Config
from qmix_jax.errors import CannotWriteError, DivergedError, RunError, StoppedError
from qmix_jax.findings import write_findings
from qmix_jax.hparams import read_config
from qmix_jax.lock import RunLock
from qmix_jax.members import Job, Members, Outcome, signal_name
from qmix_jax.progress import GroupProgress
from qmix_jax.report_options import ReportOptions
from qmix_jax.report_run import report_findings
from qmix_jax.run_directory import RunDirectory
from qmix_jax.run_record import has_diverged, has_ended, read_record
from qmix_jax.settings import ConfigError, DamagedError
from qmix_jax.signals import StopRequest

_REFUSED, _DIVERGED, _CANNOT_WRITE = 2, 3, 4  # exit statuses of a run, see `command`


def run_comparison(path: Path, comparison: Comparison) -> None:
    """Train what has not ended, and write the findings into the comparison's folder, which the last line names.

    Raises:
        ConfigError: a run is refused, is not this comparison's, or is trained by another process.
        RunError: runs diverged (the findings are written), could not write, failed, or were stopped.
    """
    with RunLock(path):
        members = comparison.members(path)
        for member in members:
            _check_member(path, member)
        failures = _train(path, comparison, members)
        ended = [member for member in members if has_ended(member.directory)]
        try:
            if ended:
                write_findings(path, comparison, ended)
                if ended[0].config.report:
                    report_findings(path / "comparison.md", ReportOptions())
        except DamagedError as error:
            raise RunError(str(error)) from error
        except OSError as error:
            raise CannotWriteError(f"cannot write {error.filename or path}: {error.strerror}") from error
        print(f"comparison directory: {path}", flush=True)
    diverged = [member.name for member in members if has_diverged(member.directory)]
    if failures:
        told = "; ".join(f"{name} {reason}" for name, reason in failures.items())
        raise RunError(f"{len(failures)} of {len(members)} runs failed: {told}; to go on: --resume {path}")
    if diverged:
        raise DivergedError(f"{len(diverged)} of {len(members)} runs diverged: {', '.join(diverged)}")


def _train(path: Path, comparison: Comparison, members: Sequence[Member]) -> dict[str, str]:
    """Returns what became of the runs that failed, by name."""
    by_name = {member.name: member for member in members}
    jobs = [_job(comparison, member) for member in members if not has_ended(member.directory)]
    failures: dict[str, str] = {}
    refusal: ConfigError | CannotWriteError | None = None
    with (
        GroupProgress(sum(member.config.env_steps for member in members), len(members)) as progress,
        Members(comparison.settings.workers) as processes,
        StopRequest(last_act=processes.kill) as stop,
    ):
        for outcome in processes.train(jobs, lambda: stop.signal_number, lambda: _show(progress, members)):
            if outcome.status in (_REFUSED, _CANNOT_WRITE):  # as would be the next one
                error = ConfigError if outcome.status == _REFUSED else CannotWriteError
                refusal = refusal or error(f"{outcome.job.name}: {_reason(outcome)}")
                processes.ask_to_stop(signal.SIGTERM)
            elif outcome.status in (0, _DIVERGED):
                progress.say(_line(by_name[outcome.job.name], outcome))
            elif stop.signal_number is None and refusal is None:
                failures[outcome.job.name] = _reason(outcome)
                progress.say(f"{outcome.job.name}: failed, {_reason(outcome)}")
        _show(progress, members)
    if refusal is not None:
        raise refusal
    if stop.signal_number is not None:
        done = sum(has_ended(member.directory) for member in members)
        raise StoppedError(path, stop.signal_number, f"{done} of {len(members)} runs")
    return failures


def _job(comparison: Comparison, member: Member) -> Job:
    """Begin it, or go on with what an earlier process saved."""
    if member.directory.hparams.is_file():
        return Job(member.name, [f"--resume={member.directory.path}"])
    return Job(member.name, comparison.train_words(member))


def _check_member(path: Path, member: Member) -> None:
    """Refuse a run that was trained with other settings than the comparison's.

    Raises:
        ConfigError: naming the run and the setting.
    """
    if not member.directory.hparams.is_file():
        return
    found = read_config(member.directory.hparams)
    for declared in fields(Config):
        expected, value = getattr(member.config, declared.name), getattr(found, declared.name)
        if value != expected and not declared.metadata["changeable"]:
            raise ConfigError(
                f"--resume {path}: {member.name} was trained with --{declared.name} {value}; must be {expected}"
            )


def _line(member: Member, outcome: Outcome) -> str:
    """What became of a run, in one line."""
    record = read_record(member.algorithm, member.seed, member.directory)
    last = {name: values[-1] for name, values in record.evaluations.items() if len(values)}
    parts = [f"diverged, {_reason(outcome)}"] if record.diverged else []
    if last:
        optimality = [] if np.isnan(last["optimality"]) else [f"optimality {last['optimality']:z.3f}"]
        parts += [*optimality, f"return {last['mean_return']:z.3f}", f"solved {last['solved']:.0%}"]
        parts.append(f"{last['seconds']:.0f} s")
    return f"{member.name}: {', '.join(parts)}"


def _reason(outcome: Outcome) -> str:
    ended = f"by {signal_name(outcome.status)}" if outcome.status < 0 else f"with status {outcome.status}"
    return outcome.message.partition(": error: ")[2] or f"ended {ended}"


def _show(progress: GroupProgress, members: Sequence[Member]) -> None:
    if progress.visible:
        ended = [member for member in members if has_ended(member.directory)]
        steps = sum(member.config.env_steps if member in ended else _steps_made(member.directory) for member in members)
        progress.update(steps, len(ended))


def _steps_made(directory: RunDirectory) -> int:
    """Environment steps of a run by its timing.csv, which is being written; 0 before the first row."""
    try:
        lines = directory.timing.read_text().split("\n")[1:-1]
    except OSError:
        return 0
    return int(lines[-1].partition(",")[0]) if lines else 0
