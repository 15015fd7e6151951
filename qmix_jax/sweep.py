"""`python -m qmix_jax.sweep`: many seeds and settings in one compiled program.

What it imports at the top must stay light, see `cli`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmix_jax.command import run_command
from qmix_jax.config import Config, ConfigError
from qmix_jax.flags import FlagParser
from qmix_jax.run_directory import check_results_dir, create_numbered
from qmix_jax.sweep_settings import Sweep, SweepSettings, read_flags, read_sweep, write_sweep


def main(argv: Sequence[str] | None = None) -> int:
    """Train and rank as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(_make_parser(), argv, _sweep)


def _make_parser() -> FlagParser:
    parser = FlagParser(
        "Train many seeds and settings at once, in one compiled program and on all devices; everything is written to a "
        "new folder sweep_<i> of --results_dir.",
        ["All other flags are those of train.py, the same for every run: see `python train.py --help`."],
        prog="python -m qmix_jax.sweep",
    )
    parser.add_flag("resume", "FOLDER", "go on with the sweep in this folder, results/sweep_<i>")
    parser.add_flag("preset", "NAME", "where the other flags' defaults come from, see train.py")
    parser.add_settings(SweepSettings)
    parser.add_settings(Config, explained=False)
    return parser


def _sweep(arguments: dict[str, Any]) -> None:
    if "resume" in arguments:
        path = Path(arguments.pop("resume"))
        for name in arguments:
            raise ConfigError(f"--{name}: cannot be given with --resume")
        _run(path, read_sweep(path), resumes=True)
        return
    sweep = read_flags(arguments)
    results_dir = sweep.config().results_dir
    check_results_dir(results_dir)
    _prepare_jax()
    from qmix_jax.sweep_run import plan_groups

    plan_groups(sweep)  # refuses what does not fit, before anything is written
    path = create_numbered(results_dir, "sweep")
    write_sweep(path, sweep)
    _run(path, sweep, resumes=False)


def _run(path: Path, sweep: Sweep, resumes: bool) -> None:
    _prepare_jax()
    from qmix_jax.sweep_run import run_sweep

    run_sweep(path, sweep, resumes)


def _prepare_jax() -> None:
    from qmix_jax.compilation import enable_compilation_cache, provide_cpu_devices

    enable_compilation_cache()
    provide_cpu_devices(os.cpu_count() or 1)


if __name__ == "__main__":
    sys.exit(main())
