"""`qmix-jax train`, also `python train.py` and `qmix-train`: train one run. Its flags are the fields of `Config`.

Imports at the top stay light: `--help` and a refused flag answer before JAX could be imported.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.presets import make_config, preset_lines, with_preset
from qmix_jax.runs.distributed import FLAGS, Machines, end_joined, join, local_devices, take_machines
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.runs.signals import StopRequest
from qmix_jax.settings import read_settings
from qmix_jax.storage.directory import RunDirectory, check_run_directory
from qmix_jax.storage.lock import check_system
from qmix_jax.storage.output_file import check_output_folder

_COMMON = (
    "total_episodes",
    "total_steps",
    "num_envs",
    "seed",
    "env",
    "algorithm",
    "batch_size",
    "lr",
    "hidden_sizes",
    "num_devices",
    "results_dir",
)
_ELSEWHERE = {
    **dict.fromkeys(("seeds", "num_seeds", "n_seeds"), "`qmix-jax sweep --num_seeds N` trains several seeds"),
    **dict.fromkeys(("grid", "random", "ranges"), "it is a flag of `qmix-jax sweep`"),
    **dict.fromkeys(("algorithms", "algos", "algs"), "`qmix-jax compare` trains several algorithms"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say. Returns the exit status, see `command.run_command`."""
    parser = make_parser(program_name("train", argv))
    return end_joined(lambda: run_command(parser, argv, _train))


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = "Train one run. Everything is written to a new folder run_<i> in --results_dir."
    note = (
        "Flags may be written with hyphens (--num-envs), lists as --hidden_sizes 64 64 or 64,64, whole numbers as "
        "1000000 or 1e6."
    )
    parser = FlagParser(prog, description, [note], elsewhere=_ELSEWHERE)
    group = "The run"
    parser.add_beginnings(group, "results/run_1")
    parser.add_flag(
        "run_directory", "FOLDER", "write to exactly this folder, new or empty, instead of run_<i>", group, False
    )
    parser.add_settings(Config, common=_COMMON)
    for name, (metavar, help) in FLAGS.items():
        parser.add_flag(name, metavar, help, "Devices", False)
    return parser


def _train(arguments: dict[str, Any]) -> None:
    check_system()
    machines = take_machines(arguments)
    with StopRequest() as stop:
        if "resume" in arguments:
            _resume(arguments, stop, machines)
        else:
            _run(arguments, stop, machines)


def _run(arguments: dict[str, Any], stop: StopRequest, machines: Machines | None) -> None:
    directory = arguments.pop("run_directory", None)
    on_all = _wants_all_devices(arguments)
    chosen = with_preset(arguments)
    config = make_config(chosen)
    if directory is None:
        check_output_folder("results_dir", config.results_dir)
    else:
        check_run_directory(directory)
    prepare_libraries()
    config = _start_jax(config, on_all, machines)
    from qmix_jax.reports.training import run
    from qmix_jax.runs.user_module import import_environment

    import_environment(config.env)
    run(config, lambda: stop.signal_number, directory, heading=preset_lines(chosen))


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
    from qmix_jax.runs.user_module import import_repeated

    import_repeated(changes.get("env"), config.env)
    resume_run(directory.path, changes, lambda: stop.signal_number)


def _wants_all_devices(arguments: dict[str, Any]) -> bool:
    """Remove `--num_devices all`, and return whether it was given: JAX, which counts them, is not imported yet."""
    on_all = arguments.get("num_devices") == "all"
    if on_all:
        del arguments["num_devices"]
    return on_all


def _start_jax(config: Config, on_all: bool, machines: Machines | None) -> Config:
    """Start the devices of all processes, and return `config` with their number."""
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
