"""`qmix-jax compare`: train algorithms with the same flags, environment steps and seeds, and compare them.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.comparison_spec import Comparison, ComparisonSettings, comparison_from_flags, read_comparison
from qmix_jax.experiments.workers import available_cores
from qmix_jax.runs.shell import prepare_libraries
from qmix_jax.settings import read_settings
from qmix_jax.storage.directory import create_numbered, missing_folders, remove_refused
from qmix_jax.storage.lock import check_system
from qmix_jax.storage.output_file import check_output_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(make_parser(program_name("compare", argv)), argv, _compare)


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = (
        "Train several algorithms for equal environment steps and compare them. Everything is written to a new folder "
        "compare_<i> in --results_dir."
    )
    note = "Settings of `qmix-jax train` are flags too, the same for every run; only --algorithm and --seed are not."
    parser = FlagParser(prog, description, [note])
    parser.add_beginnings("The comparison", "results/compare_1")
    parser.add_settings(ComparisonSettings)
    parser.add_settings(Config, common=())
    return parser


def _compare(arguments: dict[str, Any]) -> None:
    check_system()
    if "resume" in arguments:
        _resume(Path(arguments.pop("resume")), arguments)
    else:
        _start(arguments)


def _start(arguments: dict[str, Any]) -> None:
    comparison = comparison_from_flags(arguments)
    _check_workers(comparison)
    results_dir = comparison.configs()[0].results_dir
    check_output_folder("results_dir", results_dir)
    _prepare(comparison, comparison.configs()[0].env)
    from qmix_jax.experiments.comparison import run_comparison

    missing = missing_folders(Path(results_dir))
    path = create_numbered(results_dir, "compare")
    try:
        run_comparison(path, comparison)
    except ConfigError:  # which only a run could find, such as too little memory
        remove_refused(path, [member.directory for member in comparison.members(path)], missing)
        raise


def _resume(path: Path, arguments: dict[str, Any]) -> None:
    env = arguments.pop("env", None)
    for name, text in arguments.items():
        if name != "workers":
            value = " ".join(text) if isinstance(text, list) else text
            raise ConfigError(f"--{name} {value}: cannot be given with --resume")
    comparison = read_comparison(path)
    settings = replace(comparison.settings, **read_settings(ComparisonSettings, arguments))
    comparison = comparison._replace(settings=settings)
    _check_workers(comparison)
    _prepare(comparison, env)
    from qmix_jax.experiments.comparison import run_comparison

    run_comparison(path, comparison)


def _prepare(comparison: Comparison, env: str | None) -> None:
    """Import JAX, and the environment that the command line's --env names; refuse one that cannot be trained on."""
    config = comparison.configs()[0]
    prepare_libraries()
    import jax

    from qmix_jax.runs.user_module import import_repeated
    from qmix_jax.training.environments import make_environment

    jax.config.update("jax_platforms", "cpu")  # a user's module may start the backend: an accelerator is for the runs
    import_repeated(env, config.env)
    make_environment(config)


def _check_workers(comparison: Comparison) -> None:
    workers, cores = comparison.settings.workers, len(available_cores())
    if workers > cores:
        raise ConfigError(f"--workers {workers}: must be at most {cores}, the number of cores")


if __name__ == "__main__":
    sys.exit(main())
