"""A whole sweep: what fits at once, group after group, and what it all comes to."""

import math
from pathlib import Path

import jax

from qmix_jax.compilation import device_memory
from qmix_jax.config import Config
from qmix_jax.dashboards import check_dashboards
from qmix_jax.environments import make_environment
from qmix_jax.errors import DivergedError, StoppedError, reporting
from qmix_jax.lock import RunLock
from qmix_jax.progress import GroupProgress
from qmix_jax.report_options import ReportOptions
from qmix_jax.report_run import report_findings
from qmix_jax.run_directory import RunDirectory
from qmix_jax.run_record import has_diverged
from qmix_jax.settings import ConfigError
from qmix_jax.signals import StopRequest
from qmix_jax.sweep_findings import write_findings
from qmix_jax.sweep_plan import Group, group_members, split_group
from qmix_jax.sweep_runner import is_finished, train_group
from qmix_jax.sweep_settings import Sweep
from qmix_jax.trainer import make_trainer

_USED = 0.7  # share of a device's memory that members may take unless told: compiled programs need the rest


def run_sweep(path: Path, sweep: Sweep, resumes: bool) -> None:
    """Train what has not ended, and write the findings into the sweep's folder, which the last line names.

    Raises:
        ConfigError: members do not fit in memory, or another process trains them.
        RunError: something could not be written, or the sweep was stopped.
    """
    groups, members = plan_groups(sweep), sweep.members()
    steps = sum(member.config.env_steps for member in members)
    with RunLock(path), reporting(path, "sweep"):
        print(*start_lines(groups, len(members), steps), sep="\n", flush=True)
        done, ended = 0, 0
        with GroupProgress(steps, len(members)) as progress, StopRequest() as stop:

            def show(group_steps: int) -> None:
                progress.update(done + group_steps, ended)

            for group in groups:
                if not (resumes and is_finished(group, path)):
                    stopped_by = train_group(group, path, resumes, show, lambda: stop.signal_number)
                    if stopped_by is not None:
                        raise StoppedError(path, stopped_by, f"{ended} of {len(members)} runs")
                done += sum(member.config.env_steps for member in group.members)
                ended += len(group.members)
                show(0)
        write_findings(path, sweep, members)
        if sweep.config().report:
            report_findings(path / "sweep.md", ReportOptions())
    diverged = [member.folder for member in members if has_diverged(RunDirectory(path / member.folder))]
    if diverged:
        raise DivergedError(f"{len(diverged)} of {len(members)} runs diverged: {', '.join(diverged)}")


def plan_groups(sweep: Sweep) -> list[Group]:
    """Groups of members, one compiled program each, that fit in memory one after another.

    Raises:
        ConfigError: not even one member on each device fits, or a dashboard is not installed.
    """
    check_dashboards(sweep.config())
    groups = []
    for group in group_members(sweep.members()):
        config = group.members[0].config
        size, limit = member_bytes(config), _memory_limit(sweep)
        fitting = int(limit // size) * jax.device_count()
        if not fitting:
            raise ConfigError(
                f"--memory_limit {limit / 2**30:.3g}: must be at least {size / 2**30:.3g} GiB, what one member takes "
                f"with --buffer_capacity {config.buffer_capacity}"
            )
        groups += split_group(group, fitting)
    return groups


def member_bytes(config: Config) -> int:
    """Bytes of a member's state, its replay above all; compiled programs need more while they run."""
    state = jax.eval_shape(make_trainer(config, make_environment(config)).init, jax.random.key(0))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def start_lines(groups: list[Group], members: int, steps: int) -> list[str]:
    """What is said before anything is compiled."""
    device = jax.devices()[0]
    sizes = [len(group.members) for group in groups]
    largest = max(groups, key=lambda group: len(group.members) * member_bytes(group.members[0].config))
    each = member_bytes(largest.members[0].config)
    return [
        f"{members} runs, {steps} environment steps together, in {len(groups)} group{'s' * (len(groups) > 1)} "
        f"of {', '.join(map(str, sizes))} on {jax.device_count()} x {device.device_kind} ({device.platform})",
        f"memory: {each / 2**20:.1f} MiB a run, replay above all; {max(sizes) * each / 2**20:.1f} MiB at most at once",
    ]


def _memory_limit(sweep: Sweep) -> float:
    """Bytes that members may take on each device."""
    if sweep.settings.memory_limit is not None:
        return sweep.settings.memory_limit * 2**30
    shared = jax.device_count() if jax.default_backend() == "cpu" else 1  # a CPU's devices share its memory
    return _USED * device_memory() / shared
