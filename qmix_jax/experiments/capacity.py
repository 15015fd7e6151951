"""Fits an experiment to this machine: how many processes train it, and how many runs share a compiled program."""

import math
from dataclasses import replace
from functools import cache

import jax

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.experiment import Experiment
from qmix_jax.experiments.plan import Group, group_members, share_groups, split_group
from qmix_jax.experiments.workers import available_cores
from qmix_jax.runs.compilation import device_memory, sharing_devices
from qmix_jax.runs.dashboards import check_dashboards
from qmix_jax.runs.descriptors import fitting_runs, needed_descriptors
from qmix_jax.storage.machine_memory import format_bytes
from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import make_trainer

_USED = 0.7  # share of a device's memory for members without --memory_limit; compiled programs need the rest
_PROCESS_BYTES = 2**30  # a process with its programs but without members: 0.8 GiB at most where measured


def count_workers(experiment: Experiment) -> int:
    """Return how many processes share an experiment.

    Raises:
        ConfigError: --workers is more than this machine or the experiment can use.
    """
    wanted, runs, cores = experiment.settings.workers, len(experiment.members), len(available_cores())
    devices = experiment.config.num_devices  # of each run
    most = max(1, min(runs, cores // devices))
    if jax.default_backend() != "cpu":
        if wanted not in (None, 1):
            raise ConfigError(f"--workers {wanted}: must be 1 where JAX has an accelerator, which trains all at once")
        return 1
    if wanted is not None and wanted > most:
        each = f" of {devices} devices" if devices > 1 else ""
        raise ConfigError(f"--workers {wanted}: must be at most {most}, of {cores} cores and {runs} runs{each}")
    fitting = int(_USED * device_memory() // _PROCESS_BYTES)
    return wanted or min(most, max(1, fitting))


def plan_shares(experiment: Experiment) -> list[list[Group]]:
    """Return each process's groups of members. A group is one compiled program, trained after the one before it.

    Raises:
        ConfigError: one member alone needs more memory or open files than there are, or a dashboard is not installed.
    """
    check_dashboards(experiment.config)
    shares = share_groups(group_members(experiment.members), experiment.settings.workers or 1)
    limit = _memory_limit(experiment, len(shares))
    return [_split_groups(groups, limit, experiment.settings.memory_limit is not None) for groups in shares]


def _split_groups(groups: list[Group], limit: float, is_set: bool) -> list[Group]:
    """Split groups so that each fits into `limit` bytes a device and into the open files a process may have."""
    fitting_groups = []
    for group in groups:
        config = group.members[0].config
        size, files = member_bytes(config), fitting_runs(config)
        if size > limit:
            capacity = config.capacity_flag
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


@cache  # traces a run's initialisation, for plan_shares and plan_lines alike
def member_bytes(config: Config) -> int:
    """Return the bytes of a member's training state, most of it replay. Running programs need more."""
    trainer = make_trainer(replace(config, num_devices=1), make_environment(config))
    state = jax.eval_shape(trainer.init, seed_key(0))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def plan_lines(shares: list[list[Group]]) -> list[str]:
    """Return the lines that describe a plan, printed before anything is compiled."""
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


def _memory_limit(experiment: Experiment, processes: int) -> float:
    """Return the bytes that members may take on each device."""
    if experiment.settings.memory_limit is not None:
        return experiment.settings.memory_limit * 2**30
    shared = min(processes, len(available_cores())) if jax.default_backend() == "cpu" else 1
    return _USED * device_memory() / (shared * sharing_devices())
