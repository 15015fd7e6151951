"""Measure the speedup of training many runs in one sweep: `python benchmarks/sweep.py`.

Grids of learning rates and seeds of the default run at 512 environments, with 1 to 64 members, shared by one process
per core as in `qmix-jax sweep`, against one seed in `train.py`'s own program on one core. Every size is measured in its
own processes, and the single seed after each; ratios are to its median.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from curves import Panel, draw
from growth import BASE, Point, measure_point
from measuring import (
    Options,
    Spread,
    finish,
    machine,
    make_options,
    make_parser,
    number,
    peak_memory,
    pin,
    spread,
    table,
)
from processes import run_alone, run_side_by_side, wait_for_others

from qmix_jax.config import Config
from qmix_jax.experiments.group import compile_group
from qmix_jax.experiments.plan import group_members, plan_members, share_groups
from qmix_jax.experiments.workers import core_shares
from qmix_jax.training.environments import make_environment

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_QUICK_SIZES = (1, 4)
_SEEDS = 4  # of each learning rate, in grids with at least as many members
_BAR = 8  # members to which the target applies


def measure_alone(config: Config, options: Options) -> Spread:
    """Measure one seed on one core. To be called in a fresh process."""
    pin(1)
    return measure_point(Point(config, 1), options.rounds, options.seconds)["steps_per_second"]


def measure_share(
    config: Config, size: int, workers: int, share: int, cores: set[int], options: Options
) -> tuple[list[float], float, float]:
    """Measure one process's steps/s, seconds of compilation and MiB of memory, as one of several fresh processes."""
    os.sched_setaffinity(0, cores)
    seeds = min(size, _SEEDS)
    points = [{"lr": 1e-3 / (1 + i)} for i in range(size // seeds)]
    (group,) = share_groups(group_members(plan_members(config, points, seeds)), workers)[share]
    started = time.perf_counter()
    programs = compile_group(group, make_environment(config))
    compile_time = time.perf_counter() - started
    state = programs.init()
    while not state.learner.updates:
        state, _ = programs.train_chunk(state)
    rates = []
    for _ in range(options.rounds):
        wait_for_others()
        chunks, started = 0, time.perf_counter()
        while chunks == 0 or time.perf_counter() - started < options.seconds:
            state, _ = jax.block_until_ready(programs.train_chunk(state))
            chunks += 1
        steps = chunks * config.chunk_length * config.num_envs * len(group.members)
        rates.append(steps / (time.perf_counter() - started))
    return rates, compile_time, peak_memory()


def measure_size(config: Config, size: int, options: Options) -> dict[str, Any]:
    """Measure one size: its processes run side by side, and then the single seed."""
    workers = min(size, len(core_shares(1)[0]))
    found = run_side_by_side(
        measure_share,
        [(config, size, workers, share, cores, options) for share, cores in enumerate(core_shares(workers))],
    )
    together = [sum(rates) for rates in zip(*(rates for rates, _, _ in found), strict=True)]
    alone = run_alone(measure_alone, config, options)
    return {
        "members": size,
        "steps_per_second": spread(together),
        "alone": alone,
        "ratio": spread(rate / alone.median for rate in together),
        "compile_seconds": max(seconds for _, seconds, _ in found),
        "peak_memory_mib": sum(memory for _, _, memory in found),
    }


def measure(options: Options) -> dict[str, Any]:
    """Measure every size, the large ones only once, as a repetition takes minutes."""
    config = replace(BASE, num_envs=8, buffer_capacity=800, hidden_sizes=(8,)) if options.quick else BASE
    return {
        "rows": [
            measure_size(config, size, options if size <= _BAR else options._replace(rounds=1))
            for size in (_QUICK_SIZES if options.quick else _SIZES)
        ]
    }


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    header = [
        "members",
        "steps/s of all, all cores",
        "steps/s of one seed, one core",
        f"ratio (target at {_BAR}: 1.9)",
        "compilation (s)",
        "peak memory (MiB)",
    ]
    body = [
        [
            row["members"],
            row["steps_per_second"],
            row["alone"],
            row["ratio"],
            number(row["compile_seconds"]),
            number(row["peak_memory_mib"]),
        ]
        for row in figures["rows"]
    ]
    return f"## Many runs in one sweep\n\nDefault flags, {figures['cores']} core(s).\n\n" + table(header, body)


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Plot speed and memory over the number of members."""
    rows = figures["rows"]
    sizes = [row["members"] for row in rows]
    memory = [Spread(*[row["peak_memory_mib"]] * 3) for row in rows]
    panels = [
        Panel("Steps/s", "members", "times those of one seed alone", sizes, [row["ratio"] for row in rows]),
        Panel("Peak memory", "members", "MiB, all processes", sizes, memory),
    ]
    draw(path, f"Many runs in one sweep, {figures['cores']} cores of {machine()['cpu']}", [panels])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the curves as a PNG")
    arguments = parser.parse_args()
    figures = {"cores": pin(None), **measure(make_options(arguments, rounds=3, seconds=2.0))}
    finish(arguments, figures, describe(figures))
    if arguments.plot:
        plot(arguments.plot, figures)


if __name__ == "__main__":
    main()
