"""`qmix-jax sweep`: many seeds and settings, in one compiled program where they can share it.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.sweep_spec import (
    Sweep,
    SweepSettings,
    check_search,
    read_sweep,
    sweep_from_flags,
    write_sweep,
)
from qmix_jax.runs.distributed import FLAGS, end_joined, join, leave, take_machines
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.storage.directory import RunDirectory, create_numbered, missing_folders, remove_refused
from qmix_jax.storage.lock import check_system
from qmix_jax.storage.output_file import check_output_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Train and rank as the flags say. Returns the exit status, see `command.run_command`."""
    return end_joined(lambda: run_command(make_parser(program_name("sweep", argv)), argv, _sweep))


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = (
        "Train many seeds and settings, as one compiled program where they can share it, on all cores or devices. "
        "Everything is written to a new folder sweep_<i> in --results_dir."
    )
    note = "All settings of `qmix-jax train` are flags too, with the same value for every run."
    parser = FlagParser(prog, description, [note])
    group = "The sweep"
    parser.add_beginnings(group, "results/sweep_1")
    parser.add_settings(SweepSettings)
    for name, (metavar, help) in FLAGS.items():
        parser.add_flag(name, metavar, help, group, False)
    parser.add_settings(Config, common=())
    return parser


def _sweep(arguments: dict[str, Any]) -> None:
    check_system()
    machines = take_machines(arguments)
    if "resume" in arguments:
        path = Path(arguments.pop("resume"))
        given = arguments.pop("env", None)
        for name in arguments:
            raise ConfigError(f"--{name}: cannot be given with --resume")
        resumed = read_sweep(path)
        check_search(resumed)
        recorded = resumed.config().env
        open_sweep, missing = partial(str, path), None
    else:
        sweep = sweep_from_flags(arguments)
        given = recorded = sweep.config().env
        check_search(sweep)
        if machines is not None and sweep.settings.workers is not None:
            raise ConfigError(f"--workers {sweep.settings.workers}: cannot be given with --coordinator")
        check_output_folder("results_dir", sweep.config().results_dir)
        open_sweep = partial(_begin, sweep, machines is not None)
        missing = missing_folders(Path(sweep.config().results_dir))
    prepare_libraries()
    from qmix_jax.runs.descriptors import raise_limit

    raise_limit()
    if machines is not None:
        join(machines)
    check_backend()
    from qmix_jax.experiments.sweep import run_sweep
    from qmix_jax.runs.collectives import broadcast_from_first
    from qmix_jax.runs.user_module import import_repeated

    import_repeated(given, recorded)
    path = Path(broadcast_from_first(open_sweep))
    if machines is not None:
        _leave_and_train(path, given)
    found = read_sweep(path)
    try:
        if found.settings.optuna is not None:
            from qmix_jax.experiments.search import run_search

            run_search(path, found)
        else:
            run_sweep(path, found, given)
    except ConfigError:  # which only a run could find
        if missing is not None:
            remove_refused(path, [RunDirectory(path / member.folder) for member in found.members()], missing)
        raise


def _leave_and_train(path: Path, env: str | None) -> NoReturn:
    """Train one share of the sweep in each of the processes, which were joined to agree on the folder."""
    import jax

    from qmix_jax.experiments.sweep import become_share

    processes, share, workers = jax.process_count(), jax.process_index(), read_sweep(path).settings.workers
    if workers != processes:
        raise ConfigError(f"--num_processes {processes}: must be {workers}, as at the start of the sweep")
    leave()
    become_share(path, share, env, jax.config.values.get("jax_cuda_visible_devices"))


def _begin(sweep: Sweep, joined: bool) -> str:
    """Make the folder of a new sweep, after a check that its members fit into memory."""
    import jax

    from qmix_jax.experiments.capacity import count_workers, plan_shares
    from qmix_jax.runs.initial import initial_params
    from qmix_jax.training.environments import choose_environment

    if joined and jax.process_count() > len(sweep.members()):
        raise ConfigError(
            f"--num_processes {jax.process_count()}: must be at most {len(sweep.members())}, the number of runs"
        )
    configs = [replace(member.config, seed=0) for member in sweep.members()]
    for config in {(config.env, config.env_args): config for config in configs}.values():
        choose_environment(config, None, check=True)
    for config in dict.fromkeys(configs):
        initial_params(config, choose_environment(config, None).spec)
    sweep = sweep.shared_by(jax.process_count() if joined else count_workers(sweep))
    plan_shares(sweep)
    path = create_numbered(sweep.config().results_dir, "sweep")
    write_sweep(path, sweep)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
