"""What one of a sweep's processes does: `python -m qmix_jax.sweep_share --folder results/sweep_1 --share 0`.

`python -m qmix_jax.sweep` starts them with a pipe as their standard input, and asks them to stop. When it ends, however
that happens, the pipe closes and they end too: their files are whole at any moment.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from qmix_jax.command import run_command
from qmix_jax.errors import StoppedError
from qmix_jax.flags import FlagParser
from qmix_jax.sweep_settings import read_sweep


def main(argv: Sequence[str] | None = None) -> int:
    """Train one share of a sweep. Returns the exit status, see `command.run_command`."""
    parser = FlagParser("Train one share of a sweep, for qmix_jax.sweep.", [], prog="python -m qmix_jax.sweep_share")
    parser.add_flag("folder", "FOLDER", "results/sweep_<i>")
    parser.add_flag("share", "N", "which share, from 0")
    return run_command(parser, argv, _train)


def _train(arguments: dict[str, Any]) -> None:
    Thread(target=_end_with_starter, daemon=True).start()
    path, share = Path(arguments["folder"]), int(arguments["share"])
    sweep = read_sweep(path)
    from qmix_jax.compilation import enable_compilation_cache
    from qmix_jax.errors import reporting
    from qmix_jax.signals import StopRequest
    from qmix_jax.sweep_run import plan_shares, train_share

    enable_compilation_cache()
    with reporting(path, "sweep"), StopRequest() as stop:
        stopped_by = train_share(path, plan_shares(sweep)[share], lambda: None, lambda: stop.signal_number)
    if stopped_by is not None:
        raise StoppedError(path, stopped_by, "the end of a chunk")


def _end_with_starter() -> None:
    os.read(0, 1)  # nothing is ever written
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
