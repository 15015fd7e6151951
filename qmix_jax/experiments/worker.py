"""Worker process of a sweep: `python -m qmix_jax.experiments.worker --folder results/sweep_1 --share 0`.

On one machine, `qmix-jax sweep` starts the workers with a pipe as standard input and signals them to stop.
When it ends, for whatever reason, the pipe closes and the workers end too; their files are complete at any moment. On
several machines each process of the sweep becomes a worker once the folder is known (`--joined`). Workers exchange
nothing: if one dies, the others continue. The last one to end writes the findings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.errors import StoppedError, reporting
from qmix_jax.experiments.sweep_spec import read_sweep
from qmix_jax.output import print_lines
from qmix_jax.presets import preset_lines
from qmix_jax.runs.shell import prepare_libraries
from qmix_jax.runs.signals import StopRequest, exit_with_parent


def main(argv: Sequence[str] | None = None) -> int:
    """Train one share of a sweep. Returns the exit status (`command.run_command`)."""
    parser = FlagParser("qmix-jax sweep", "Train one share of a sweep, for `qmix-jax sweep`.")
    group = "The share"
    parser.add_flag("folder", "FOLDER", "results/sweep_<i>", group)
    parser.add_flag("share", "N", "index of the share, from 0", group)
    parser.add_flag("env", "NAME", "the --env of the command line, see `user_module`", group)
    parser.add_flag("joined", "GPUS", "other machines train the other shares; this one uses these GPUs", group)
    return run_command(parser, argv, _train)


def _train(arguments: dict[str, Any]) -> None:
    path, share, joined = Path(arguments["folder"]), int(arguments["share"]), "joined" in arguments
    if not joined:
        exit_with_parent()
    sweep = read_sweep(path, is_checked=True)
    prepare_libraries()
    import jax

    from qmix_jax.experiments.capacity import plan_lines, plan_shares
    from qmix_jax.experiments.notices import notice_lines
    from qmix_jax.experiments.outcomes import group_progress
    from qmix_jax.experiments.sweep import conclude, count_ended, member_runs, train_share
    from qmix_jax.runs.messages import folder_line
    from qmix_jax.runs.user_module import import_repeated

    if joined:
        jax.config.update("jax_cuda_visible_devices", arguments["joined"])
    import_repeated(arguments.get("env"), sweep.config().env)
    shares = plan_shares(sweep)
    quiet = sweep.config().quiet or not joined  # otherwise the process that started this one prints
    with reporting(path, "sweep", quiet), StopRequest(leaves=joined) as stop:
        runs = member_runs(path, sweep, [member for group in shares[share] for member in group.members])
        notices = notice_lines(path, runs) if joined else []
        if not quiet:
            heading = [*preset_lines(sweep.flags), folder_line(path)]
            print_lines(*heading, *plan_lines(shares), *notices)
        with group_progress(runs, quiet):
            stopped_by = train_share(path, shares[share], lambda: stop.signal_number)
        if stopped_by is not None:
            raise StoppedError(path, stopped_by, count_ended(path, sweep))
        if joined:
            conclude(path, sweep)


if __name__ == "__main__":
    sys.exit(main())
