"""`python -m qmix_jax.compare`: algorithms trained with the same flags, environment steps and seeds, and compared.

What it imports at the top must stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser, read_settings
from qmix_jax.config import Config, ConfigError
from qmix_jax.experiments.comparison_spec import Comparison, ComparisonSettings, read_comparison, read_flags
from qmix_jax.experiments.workers import available_cores
from qmix_jax.runs.shell import prepare_libraries
from qmix_jax.storage.directory import check_results_dir, create_numbered, missing_folders, remove_refused
from qmix_jax.storage.lock import check_system


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(_make_parser(), argv, _compare)


def _make_parser() -> FlagParser:
    parser = FlagParser(
        "Train several algorithms at equal environment steps and compare them; everything is written to a new folder "
        "compare_<i> of --results_dir.",
        ["All other flags are those of train.py, the same for every run: see `python train.py --help`."],
        prog="python -m qmix_jax.compare",
    )
    parser.add_flag("resume", "FOLDER", "go on with the comparison in this folder, results/compare_<i>")
    parser.add_flag("preset", "NAME", "where the other flags' defaults come from, see train.py")
    parser.add_settings(ComparisonSettings)
    parser.add_settings(Config, explained=False)
    return parser


def _compare(arguments: dict[str, Any]) -> None:
    check_system()
    if "resume" in arguments:
        _resume(Path(arguments.pop("resume")), arguments)
    else:
        _start(arguments)


def _start(arguments: dict[str, Any]) -> None:
    comparison = read_flags(arguments)
    _check_workers(comparison)
    results_dir = comparison.configs()[0].results_dir
    check_results_dir(results_dir)
    prepare_libraries()
    from qmix_jax.experiments.comparison import run_comparison

    missing = missing_folders(Path(results_dir))
    path = create_numbered(results_dir, "compare")
    try:
        run_comparison(path, comparison)
    except ConfigError:  # a run was refused for something that only it could know, such as too little memory
        remove_refused(path, [member.directory for member in comparison.members(path)], missing)
        raise


def _resume(path: Path, arguments: dict[str, Any]) -> None:
    for name, text in arguments.items():
        if name != "workers":
            shown = " ".join(text) if isinstance(text, list) else text
            raise ConfigError(f"--{name} {shown}: cannot be given with --resume")
    comparison = read_comparison(path)
    settings = replace(comparison.settings, **read_settings(ComparisonSettings, arguments))
    comparison = comparison._replace(settings=settings)
    _check_workers(comparison)
    prepare_libraries()
    from qmix_jax.experiments.comparison import run_comparison

    run_comparison(path, comparison)


def _check_workers(comparison: Comparison) -> None:
    workers, cores = comparison.settings.workers, len(available_cores())
    if workers > cores:
        raise ConfigError(f"--workers {workers}: must be at most {cores}, the cores there are")


if __name__ == "__main__":
    sys.exit(main())
