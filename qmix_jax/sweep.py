"""`python -m qmix_jax.sweep`: many seeds and settings, in one compiled program where they can share it.

What it imports at the top must stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import Config, ConfigError
from qmix_jax.experiments.sweep_spec import Sweep, SweepSettings, read_flags, read_sweep, write_sweep
from qmix_jax.runs.distributed import FLAGS, end_joined, join, leave, take_machines
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.storage.directory import RunDirectory, check_results_dir, create_numbered, missing_folders, remove_refused
from qmix_jax.storage.lock import check_system


def main(argv: Sequence[str] | None = None) -> int:
    """Train and rank as the flags say. Returns the exit status, see `command.run_command`."""
    return end_joined(lambda: run_command(_make_parser(), argv, _sweep))


def _make_parser() -> FlagParser:
    parser = FlagParser(
        "Train many seeds and settings, as one compiled program where they can share it, on all cores or devices; "
        "everything is written to a new folder sweep_<i> of --results_dir.",
        ["All other flags are those of train.py, the same for every run: see `python train.py --help`."],
        prog="python -m qmix_jax.sweep",
    )
    parser.add_flag("resume", "FOLDER", "go on with the sweep in this folder, results/sweep_<i>")
    parser.add_flag("preset", "NAME", "where the other flags' defaults come from, see train.py")
    for name, (metavar, help) in FLAGS.items():
        parser.add_flag(name, metavar, help)
    parser.add_settings(SweepSettings)
    parser.add_settings(Config, explained=False)
    return parser


def _sweep(arguments: dict[str, Any]) -> None:
    check_system()
    machines = take_machines(arguments)
    if "resume" in arguments:
        path = Path(arguments.pop("resume"))
        for name in arguments:
            raise ConfigError(f"--{name}: cannot be given with --resume")
        read_sweep(path)
        open_sweep, missing = partial(str, path), None
    else:
        sweep = read_flags(arguments)
        if machines is not None and sweep.settings.workers is not None:
            raise ConfigError(f"--workers {sweep.settings.workers}: cannot be given with --coordinator")
        check_results_dir(sweep.config().results_dir)
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

    path = Path(broadcast_from_first(open_sweep))
    if machines is not None:
        _leave_and_train(path)
    found = read_sweep(path)
    try:
        run_sweep(path, found)
    except ConfigError:  # something that only a run could know
        if missing is not None:
            remove_refused(path, [RunDirectory(path / member.folder) for member in found.members()], missing)
        raise


def _leave_and_train(path: Path) -> NoReturn:
    """Train a share in each of the processes that were joined to agree on the folder."""
    import jax

    from qmix_jax.experiments.sweep import become_share

    processes, share, workers = jax.process_count(), jax.process_index(), read_sweep(path).settings.workers
    if workers != processes:
        raise ConfigError(f"--num_processes {processes}: must be {workers}, as the sweep was begun with")
    leave()
    become_share(path, share, jax.config.values.get("jax_cuda_visible_devices"))


def _begin(sweep: Sweep, joined: bool) -> str:
    """Make the folder of a new sweep, once it is known that its members fit."""
    import jax

    from qmix_jax.experiments.sweep import count_workers, plan_shares

    if joined and jax.process_count() > len(sweep.members()):
        raise ConfigError(
            f"--num_processes {jax.process_count()}: must be at most {len(sweep.members())}, the runs there are"
        )
    sweep = sweep.shared_by(jax.process_count() if joined else count_workers(sweep))
    plan_shares(sweep)
    path = create_numbered(sweep.config().results_dir, "sweep")
    write_sweep(path, sweep)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
