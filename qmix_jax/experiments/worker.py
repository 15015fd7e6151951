"""Worker process of an experiment: trains the group of runs that it reads from standard input.

A launcher starts it with a pipe as standard input and signals it to stop. When the launcher ends, for whatever reason,
the pipe closes and the worker ends too; its files are complete at any moment. Workers exchange nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.errors import StoppedError, reporting
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.runs.signals import StopRequest, exit_with_parent


def main(argv: Sequence[str] | None = None) -> int:
    """Train one group of runs. Returns the exit status (`command.run_command`)."""
    parser = FlagParser("qmix-jax", "Train a group of runs, for `qmix-jax sweep` and `qmix-jax compare`.")
    parser.add_flag("folder", "FOLDER", "results/sweep_<i>", "The group")
    parser.add_flag("env", "NAME", "the --env of the command line, see `user_module`", "The group")
    return run_command(parser, argv, _train)


def _train(arguments: dict[str, Any]) -> None:
    path, text = Path(arguments["folder"]), sys.stdin.readline()
    exit_with_parent()
    with StopRequest(leaves=False) as stop:
        prepare_libraries()
        from qmix_jax.experiments.jobs import read_group, train_job
        from qmix_jax.runs.compilation import provide_cpu_devices
        from qmix_jax.runs.user_module import import_repeated

        group = read_group(text)
        config = group.members[0].config
        provide_cpu_devices(config.num_devices)
        check_backend()
        import_repeated(arguments.get("env"), config.env)
        with reporting(path, "group", quiet=True):
            stopped_by = train_job(path, group, lambda: stop.signal_number)
        if stopped_by is not None:
            raise StoppedError(path, stopped_by, f"{len(group.members)} runs")


if __name__ == "__main__":
    sys.exit(main())
