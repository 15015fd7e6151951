"""`qmix-jax evaluate results/run_1`: how good a trained policy is, with intervals, pictures and replays.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from typing import Any

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.errors import ConfigError
from qmix_jax.reports.options import EvaluateOptions
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.settings import read_settings
from qmix_jax.storage.directory import existing_run


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(make_parser(program_name("evaluate", argv)), argv, _evaluate)


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = "Evaluate a trained policy, beside the random and greedy-nearest policies on the same initial states."
    parser = FlagParser(prog, description, subject=("run", "results/run_<i>"))
    parser.add_settings(EvaluateOptions)
    return parser


def _evaluate(arguments: dict[str, Any]) -> None:
    path = arguments.pop("run", None)
    torch_file = arguments.get("import_torch")
    if path is None and torch_file is None:
        raise ConfigError("results/run_<i>: must be given, the folder of a run; see --help")
    if path is not None and torch_file is not None:
        raise ConfigError(f"{path} and --import_torch {torch_file}: give only one of them")
    run = None if path is None else existing_run(path)
    options = EvaluateOptions(**read_settings(EvaluateOptions, arguments))
    prepare_libraries()
    check_backend()
    from qmix_jax.reports.evaluate import evaluate_run

    evaluate_run(run, options)


if __name__ == "__main__":
    sys.exit(main())
