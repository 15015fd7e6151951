"""`qmix-jax compare`: train algorithms with the same flags, environment steps and seeds, and compare them.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from functools import partial

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.experiments.comparison_spec import COMPARISON
from qmix_jax.experiments.start import ELSEWHERE, add_experiment, start_experiment


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(make_parser(program_name("compare", argv)), argv, partial(start_experiment, COMPARISON))


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = (
        "Train several algorithms for equal environment steps and compare them. Everything is written to a new folder "
        "compare_<i> in --results_dir."
    )
    note = "Settings of `qmix-jax train` are flags too, the same for every run; only --algorithm and --seed are not."
    parser = FlagParser(prog, description, [note], elsewhere=ELSEWHERE)
    add_experiment(parser, COMPARISON)
    return parser


if __name__ == "__main__":
    sys.exit(main())
