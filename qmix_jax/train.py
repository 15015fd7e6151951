"""The command line: `python train.py` and `qmix-train`. Flags, help and limits come from `Config`'s fields.

What it imports at the top must stay light: `--help` and a refused flag should answer before JAX could be imported.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser, make_config, preset_lines, read_settings
from qmix_jax.config import Config, ConfigError
from qmix_jax.runs.distributed import FLAGS, Machines, end_joined, join, local_devices, take_machines
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.runs.signals import StopRequest
from qmix_jax.storage.directory import RunDirectory, check_results_dir, check_run_directory
from qmix_jax.storage.lock import check_system


def main(argv: Sequence[str] | None = None, tied: bool = False) -> int:
    """Train as the flags say. Returns the exit status, see `command.run_command`.

    Args:
        argv: words of the command line, None for the process's own.
        tied: whether another process started this one and ends it, see `StopRequest`.
    """
    parser = _make_parser(program_name("qmix_jax.train", argv))
    return end_joined(lambda: run_command(parser, argv, partial(_train, tied=tied)))


def _make_parser(prog: str) -> FlagParser:
    notes = "Names may be written with hyphens: --num-envs is --num_envs. Lists are written --hidden_sizes 64 64."
    description = "Train QMIX; everything is written to a new folder run_<i> of --results_dir."
    parser = FlagParser(description, [*preset_lines(), notes], prog)
    parser.add_flag("resume", "FOLDER", "go on with the run in this folder, results/run_<i>")
    parser.add_flag("run_directory", "FOLDER", "write into exactly this folder, new or empty, instead of run_<i>")
    parser.add_flag("preset", "NAME", "where the flags' defaults come from, see below")
    for name, (metavar, help) in FLAGS.items():
        parser.add_flag(name, metavar, help)
    parser.add_settings(Config)
    return parser


def _train(arguments: dict[str, Any], tied: bool) -> None:
    check_system()
    machines = take_machines(arguments)
    with StopRequest(leaves=not tied) as stop:
        if "resume" in arguments:
            _resume(arguments, stop, machines)
        else:
            _run(arguments, stop, machines)


def _run(arguments: dict[str, Any], stop: StopRequest, machines: Machines | None) -> None:
    directory = arguments.pop("run_directory", None)
    on_all = _wants_all_devices(arguments)
    config = make_config(arguments)
    if directory is None:
        check_results_dir(config.results_dir)
    else:
        check_run_directory(directory)
    prepare_libraries()
    config = _start_jax(config, on_all, machines)
    from qmix_jax.reports.training import run

    run(config, lambda: stop.signal_number, directory)


def _resume(arguments: dict[str, Any], stop: StopRequest, machines: Machines | None) -> None:
    directory = RunDirectory(Path(arguments.pop("resume")))
    for name in ("preset", "run_directory"):
        if name in arguments:
            raise ConfigError(f"--{name} {arguments[name]}: cannot be given with --resume")
    on_all = _wants_all_devices(arguments)
    changes = read_settings(Config, arguments)
    prepare_libraries()
    from qmix_jax.runs.resume import resumed_config

    config = _start_jax(resumed_config(directory, changes), on_all, machines)
    changes["num_devices"] = config.num_devices
    from qmix_jax.reports.training import resume_run

    resume_run(directory.path, changes, lambda: stop.signal_number)


def _wants_all_devices(arguments: dict[str, Any]) -> bool:
    """Whether `--num_devices all` was given. It is taken out: only JAX, which is not imported yet, can count them."""
    on_all = arguments.get("num_devices") == "all"
    if on_all:
        del arguments["num_devices"]
    return on_all


def _start_jax(config: Config, on_all: bool, machines: Machines | None) -> Config:
    """Make the devices of all processes ready, and return `config` with their number."""
    cpu_devices = (os.cpu_count() or 1) if on_all else local_devices(machines, config.num_devices)
    import jax

    from qmix_jax.runs.compilation import provide_cpu_devices

    provide_cpu_devices(cpu_devices)
    if machines is not None:
        join(machines)
    check_backend()
    return replace(config, num_devices=jax.device_count()) if on_all else config


if __name__ == "__main__":
    sys.exit(main())
