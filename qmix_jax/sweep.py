"""`qmix-jax sweep`: many seeds and settings, in one compiled program where they can share it.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from functools import partial

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.experiments.start import ELSEWHERE, add_experiment, start_experiment
from qmix_jax.experiments.sweep_spec import SWEEP


def main(argv: Sequence[str] | None = None) -> int:
    """Train and rank as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(make_parser(program_name("sweep", argv)), argv, partial(start_experiment, SWEEP))


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = (
        "Train many seeds and settings, as one compiled program where they can share it, on all cores or devices. "
        "Everything is written to a new folder sweep_<i> in --results_dir."
    )
    note = "All settings of `qmix-jax train` are flags too, with the same value for every run."
    parser = FlagParser(prog, description, [note], elsewhere=ELSEWHERE)
    add_experiment(parser, SWEEP)
    return parser


if __name__ == "__main__":
    sys.exit(main())
