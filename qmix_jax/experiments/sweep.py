"""A whole sweep: what fits at once, which process trains what, and what it all comes to."""

import math
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NoReturn

import jax

from qmix_jax.analysis.run_record import has_diverged, has_ended
from qmix_jax.config import Config
from qmix_jax.errors import DivergedError, RunError, StoppedError, reporting, warn_on_failure
from qmix_jax.experiments.group import is_finished, train_group
from qmix_jax.experiments.outcomes import follow, show_runs
from qmix_jax.experiments.plan import Group, split_group
from qmix_jax.experiments.sweep_findings import write_findings
from qmix_jax.experiments.sweep_spec import Sweep
from qmix_jax.experiments.workers import Job, Members, available_cores, program_environment, program_words
from qmix_jax.reports.report import report_findings
from qmix_jax.reports.report_options import ReportOptions
from qmix_jax.runs.compilation import device_memory, sharing_devices
from qmix_jax.runs.dashboards import check_dashboards
from qmix_jax.runs.descriptors import fitting_runs, needed_descriptors
from qmix_jax.runs.progress import GroupProgress
from qmix_jax.runs.signals import StopRequest, StopSignal
from qmix_jax.settings import ConfigError
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.lock import InUseError, RunLock
from qmix_jax.storage.machine_memory import format_bytes
from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import make_trainer

SHARE_MODULE = "qmix_jax.experiments.worker"
_USED = 0.7  # share of a device's memory that members may take unless told: compiled programs need the rest
_PROCESS_BYTES = 2**30  # a process with its programs, besides its members: 0.8 GiB at most where it was measured


def run_sweep(path: Path, sweep: Sweep) -> None:
    """Train what has not ended, and write the findings into the sweep's folder, which the last line names.

    Raises:
        ConfigError: members do not fit in memory, or another process trains them.
        RunError: something could not be written, or the sweep was stopped.
    """
    shares = plan_shares(sweep)
    runs = [(member.config, RunDirectory(path / member.folder)) for member in sweep.members()]
    with RunLock(path), reporting(path, "sweep"):
        print(*start_lines(shares), sep="\n", flush=True)
        with GroupProgress(sum(config.env_steps for config, _ in runs), len(runs)) as progress:
            stopped_by = _train(path, shares, lambda: show_runs(progress, runs))
            show_runs(progress, runs)
        if stopped_by is not None:
            raise StoppedError(path, stopped_by, count_ended(path, sweep))
        sum_up(path, sweep)


def share_flags(path: Path, share: int) -> list[str]:
    """The flags that stand for a share of the sweep in the folder `path`."""
    return [f"--folder={path}", f"--share={share}"]


def become_share(path: Path, share: int, gpus: str | None) -> NoReturn:
    """Go on as a fresh process of the same number, with its own devices alone.

    Args:
        path: the sweep's folder.
        share: which share is this process's.
        gpus: JAX's `jax_cuda_visible_devices`, which it sets where SLURM or MPI started several processes on a machine.
    """
    words = [sys.executable, *program_words(SHARE_MODULE), *share_flags(path, share), f"--joined={gpus or 'all'}"]
    os.execve(sys.executable, words, program_environment())


def train_share(path: Path, groups: list[Group], show: Callable[[], None], stop_signal: StopSignal) -> int | None:
    """Train a process's groups, one after another; the number that `stop_signal` gave, if it did."""
    for group in groups:
        if not is_finished(group, path):
            stopped_by = train_group(group, path, show, stop_signal)
            if stopped_by is not None:
                return stopped_by
    return None


def sum_up(path: Path, sweep: Sweep) -> None:
    """Write the tables and plots of a sweep whose runs have all ended, and its report where that is wanted.

    Raises:
        DivergedError: runs diverged.
    """
    members = sweep.members()
    print(*write_findings(path, sweep, members), sep="\n")
    if sweep.config().report:
        with warn_on_failure(path / "report.html"):
            report_findings(path / "sweep.md", ReportOptions())
    diverged = [member.folder for member in members if has_diverged(RunDirectory(path / member.folder))]
    if diverged:
        raise DivergedError(f"{len(diverged)} of {len(members)} runs diverged: {', '.join(diverged)}")


def conclude(path: Path, sweep: Sweep) -> None:
    """`sum_up` for one of several processes: only the one that ends last writes.

    Raises:
        ConfigError: the folder cannot be locked.
        DivergedError: runs diverged.
    """
    if not all(has_ended(directory) for directory in _directories(path, sweep)):
        print(f"{count_ended(path, sweep)} have ended; the last process writes what they come to")
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(RunLock(path))
        except InUseError:
            return  # two ended at the same moment, and the other one writes
        sum_up(path, sweep)


def count_ended(path: Path, sweep: Sweep) -> str:
    """How many runs nothing is left to train of, as text."""
    ended = [has_ended(directory) for directory in _directories(path, sweep)]
    return f"{sum(ended)} of {len(ended)} runs"


def count_workers(sweep: Sweep) -> int:
    """How many processes are to share a new sweep.

    Raises:
        ConfigError: there is no use for as many as the user wants.
    """
    wanted, runs, cores = sweep.settings.workers, len(sweep.members()), len(available_cores())
    if jax.default_backend() != "cpu":
        if wanted not in (None, 1):
            raise ConfigError(f"--workers {wanted}: must be 1 where JAX has an accelerator, which trains all at once")
        return 1
    if wanted is not None and wanted > min(cores, runs):
        raise ConfigError(f"--workers {wanted}: must be at most {min(cores, runs)}, of {cores} cores and {runs} runs")
    fitting = int(_USED * device_memory() // _PROCESS_BYTES)
    return wanted or min(cores, runs, max(1, fitting))


def plan_shares(sweep: Sweep) -> list[list[Group]]:
    """For each process its groups of members, one compiled program each, that fit in memory one after another.

    Raises:
        ConfigError: there is not memory or files enough for one member, or a dashboard is not installed.
    """
    check_dashboards(sweep.config())
    shares = sweep.shares()
    limit = _memory_limit(sweep, len(shares))
    return [_split_groups(groups, limit, sweep.settings.memory_limit is not None) for groups in shares]


def _split_groups(groups: list[Group], limit: float, is_set: bool) -> list[Group]:
    """Groups whose members all fit into `limit` bytes on each device, and for whose files the process may have."""
    fitting_groups = []
    for group in groups:
        config = group.members[0].config
        size, files = member_bytes(config), fitting_runs(config)
        if size > limit:
            capacity = f"--buffer_capacity {config.buffer_capacity}"
            if is_set:
                least = f"{1.005 * size / 2**30:.3g} GiB"  # not rounded down
                raise ConfigError(
                    f"--memory_limit {limit / 2**30:.3g}: must be at least {least}, what one run takes with {capacity}"
                )
            raise ConfigError(
                f"{capacity}: one run takes {format_bytes(size)}, but only {format_bytes(limit)} are free"
            )
        if not files:
            raise ConfigError(f"ulimit -n: must be at least {needed_descriptors(config, 1)}, for the files of one run")
        fitting_groups += split_group(group, int(min(files, limit // size * jax.local_device_count())))
    return fitting_groups


@cache  # tracing a run's initialisation takes a moment, and plans and start lines ask for the same
def member_bytes(config: Config) -> int:
    """Bytes of a member's state, its replay above all; compiled programs need more while they run."""
    state = jax.eval_shape(make_trainer(config, make_environment(config)).init, seed_key(0))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def start_lines(shares: list[list[Group]]) -> list[str]:
    """What is said before anything is compiled."""
    device, processes = jax.local_devices()[0], len(shares)
    groups = [group for share in shares for group in share]
    members = [member for group in groups for member in group.members]
    steps = sum(member.config.env_steps for member in members)
    sizes = ", ".join(str(len(group.members)) for group in groups)
    at_once = sum(max(map(_group_bytes, share)) for share in shares)
    each = ", in a process each" if processes > 1 else ""
    return [
        f"{len(members)} runs, {steps} environment steps together, in {len(groups)} group{'s' * (len(groups) > 1)} "
        f"of {sizes} on {processes * jax.local_device_count()} x {device.device_kind} ({device.platform}){each}",
        f"memory: {format_bytes(max(map(_group_bytes, groups)))} a group at most, replay above all; "
        f"{format_bytes(at_once)} at most at once",
    ]


def _group_bytes(group: Group) -> int:
    return len(group.members) * member_bytes(group.members[0].config)


def _train(path: Path, shares: list[list[Group]], show: Callable[[], None]) -> int | None:
    """Train all shares, here if there is only one; the number of the signal that stopped them, if one did."""
    if len(shares) == 1 or jax.default_backend() != "cpu":  # an accelerator is one process's
        with StopRequest() as stop:
            return train_share(path, [group for share in shares for group in share], show, lambda: stop.signal_number)
    jobs = [
        Job(f"process {i}", share_flags(path, i))
        for i, groups in enumerate(shares)
        if not all(is_finished(group, path) for group in groups)
    ]
    if not jobs:
        return None
    with (
        Members(min(len(jobs), len(available_cores())), SHARE_MODULE) as processes,
        StopRequest(last_act=processes.kill) as stop,
    ):
        outcomes = processes.train(jobs, lambda: stop.signal_number, show)
        failures = follow(outcomes, processes, stop, lambda _: None)
    if stop.signal_number is None and failures:
        told = "; ".join(f"{name} {why}" for name, why in failures.items())
        raise RunError(f"{len(failures)} of {len(jobs)} processes failed: {told}; to continue: --resume {path}")
    return stop.signal_number


def _directories(path: Path, sweep: Sweep) -> list[RunDirectory]:
    return [RunDirectory(path / member.folder) for member in sweep.members()]


def _memory_limit(sweep: Sweep, processes: int) -> float:
    """Bytes that members may take on each device."""
    if sweep.settings.memory_limit is not None:
        return sweep.settings.memory_limit * 2**30
    shared = processes if jax.default_backend() == "cpu" else 1
    return _USED * device_memory() / (shared * sharing_devices())
