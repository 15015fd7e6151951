"""Measure what checkpoints cost a run: `python benchmarks/checkpoints.py`.

Trains the default run in turn with `--save_interval 100` and without intermediate checkpoints. The time is that between
the first and the last row of `timing.csv`, which excludes the start and end of the process.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import ROOT, finish, make_options, make_parser, ratio, spread, table

from qmix_jax.storage.checkpoint import checkpoints
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import read_log

_FLAGS = ["--num_envs", "512"]
# Several chunks: the first and the last row must not be the same.
_QUICK_FLAGS = (
    "--num_envs 8 --total_episodes 64 --max_steps_per_ep 20 --min_buffer_size 100 --eval_interval 160".split()
)
_NEVER = 2**31 - 1


def time_run(flags: list[str], save_interval: int) -> tuple[float, int]:
    """Train one run; return its seconds and its number of checkpoints."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "train.py", *flags, "--save_interval", str(save_interval), "--results_dir", results]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        run = RunDirectory(Path(results) / "run_1")
        seconds = read_log(run.timing)["seconds"]
        return float(seconds[-1] - seconds[0]), len(checkpoints(run.models))


def measure(flags: list[str], rounds: int) -> dict[str, Any]:
    """Measure the times with and without checkpoints, round by round."""
    without, with_checkpoints, count = [], [], 0
    for _ in range(rounds):
        without.append(time_run(flags, _NEVER)[0])
        seconds, count = time_run(flags, 100)
        with_checkpoints.append(seconds)
    return {
        "flags": flags,
        "checkpoints": count,
        "seconds_without": spread(without),
        "seconds_with": spread(with_checkpoints),
        "ratio": ratio(with_checkpoints, without),
    }


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    header = ["checkpoints", "without (s)", "with (s)", "ratio (target: 1.05)"]
    row = [figures[name] for name in ("checkpoints", "seconds_without", "seconds_with", "ratio")]
    flags = " ".join(figures["flags"])
    return f"## Checkpoints\n\n`python train.py {flags}` with `--save_interval 100`.\n\n" + table(header, [row])


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    options = make_options(arguments, rounds=3, seconds=0.0)
    figures = measure(_QUICK_FLAGS if options.quick else _FLAGS, options.rounds)
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
