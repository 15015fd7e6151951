"""What training many runs in one program brings: `python benchmarks/sweep.py`.

Grids of learning rates and seeds of the default run at 512 environments, of 1 to 64 members, on all cores, against one
seed in `train.py`'s own program on one core. Every point is a process of its own.
"""

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
    ratio,
    spread,
    table,
)
from processes import run_alone

from qmix_jax.config import Config
from qmix_jax.environments import make_environment
from qmix_jax.sweep_plan import group_members, plan_members
from qmix_jax.sweep_programs import compile_group

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_QUICK_SIZES = (1, 4)
_SEEDS = 4  # of each learning rate, in grids that have as many members
_BAR = 8  # members of which the bar speaks


def measure_alone(config: Config, rounds: int, seconds: float) -> dict[str, Any]:
    """Rates of one seed on one core. For a fresh process."""
    pin(1)
    return measure_point(Point(config, 1), rounds, seconds)


def measure_members(config: Config, size: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Steps/s of a sweep's members together, on all cores, and what their program takes. For a fresh process."""
    from qmix_jax.compilation import provide_cpu_devices

    provide_cpu_devices(pin(None))
    seeds = min(size, _SEEDS)
    points = [{"lr": 1e-3 / (1 + i)} for i in range(size // seeds)]
    (group,) = group_members(plan_members(config, points, seeds))
    started = time.perf_counter()
    programs = compile_group(group, make_environment(config))
    compile_time = time.perf_counter() - started
    state = programs.init()
    while not state.learner.updates:
        state, _ = programs.train_chunk(state)
    rates = []
    for _ in range(rounds):
        chunks, started = 0, time.perf_counter()
        while chunks == 0 or time.perf_counter() - started < seconds:
            state, _ = jax.block_until_ready(programs.train_chunk(state))
            chunks += 1
        steps = chunks * config.chunk_length * config.num_envs * size
        rates.append(steps / (time.perf_counter() - started))
    return {"steps_per_second": rates, "compile_seconds": compile_time, "peak_memory_mib": peak_memory()}


def measure(options: Options) -> dict[str, Any]:
    """Every size, each after a measurement of one seed alone, so that their ratio is of one time."""
    config = replace(BASE, num_envs=8, buffer_capacity=800, hidden_sizes=(8,)) if options.quick else BASE
    rows = []
    for size in _QUICK_SIZES if options.quick else _SIZES:
        alone, together, other = [], [], {}
        for _ in range(options.rounds):
            alone.append(run_alone(measure_alone, config, 1, options.seconds)["steps_per_second"].median)
            other = run_alone(measure_members, config, size, 1, options.seconds)
            together += other.pop("steps_per_second")
        rows.append(
            {
                "members": size,
                "steps_per_second": spread(together),
                "alone": spread(alone),
                "ratio": ratio(together, alone),
                **other,
            }
        )
    return {"rows": rows}


def describe(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    header = [
        "members",
        "steps/s of all, all cores",
        "steps/s of one seed, one core",
        f"ratio (the bar at {_BAR}: 1.9)",
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
    return f"## Many runs in one program\n\nDefault flags, {figures['cores']} core(s).\n\n" + table(header, body)


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Speed and memory over the number of members."""
    rows = figures["rows"]
    sizes = [row["members"] for row in rows]
    memory = [Spread(*[row["peak_memory_mib"]] * 3) for row in rows]
    panels = [
        Panel("", "members", "times the steps/s of one seed on one core", sizes, [row["ratio"] for row in rows]),
        Panel("", "members", "peak memory (MiB)", sizes, memory),
    ]
    draw(path, f"Many runs in one program, {figures['cores']} cores of {machine()['cpu']}", [panels])


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
