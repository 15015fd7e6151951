"""Measure how speed, memory and compilation grow with a run's sizes: `python benchmarks/growth.py [SIZE ...]`.

One size at a time differs from `BASE`. Every point is its own process on all cores: it compiles the trainer without a
cache, trains until updates begin, and then times chunks of about 2,048 environment steps and 512 updates. The tables of
docs/speed.md, on one core: `taskset -c 0 python benchmarks/growth.py num_envs batch train_frequency --page
docs/speed.md`.
"""

import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from curves import Panel, draw
from measuring import (
    Options,
    commit,
    finish,
    machine,
    make_options,
    make_parser,
    number,
    peak_memory,
    pin,
    replace_section,
    spread,
    table,
)
from processes import run_alone

from qmix_jax.config import Config
from qmix_jax.runs.compilation import repeated_options
from qmix_jax.training.environments import make_environment
from qmix_jax.training.trainer import make_trainer

# Updates do not wait for a full buffer, and the schedules end far beyond the benchmark.
BASE = Config(num_envs=512, total_steps=2**30, min_buffer_size=0, eval_interval=2048)
SWEEPS: dict[str, tuple[int, ...]] = {
    "num_envs": (64, 256, 512, 1024, 2048, 4096),
    "batch": (32, 64, 128, 256, 512),
    "train_frequency": (1, 4, 16, 64, 256, 1024),
    "width": (32, 64, 128, 256),
    "seeds": (1, 2, 4, 8),
}
_QUICK_SWEEPS: dict[str, tuple[int, ...]] = {"seeds": (2,)}
_LABELS = {
    "num_envs": "environments",
    "batch": "batch size",
    "train_frequency": "environment steps per update",
    "width": "width of the agents' hidden layers",
    "seeds": "seeds, vmapped",
}
_FIGURES = {
    "steps_per_second": "environment steps/s",
    "updates_per_second": "updates/s",
    "peak_memory_mib": "peak memory (MiB)",
    "compile_seconds": "compilation (s)",
}


class Point(NamedTuple):
    """One process to measure."""

    config: Config
    seeds: int


def make_point(name: str, size: int) -> Point:
    """Return `BASE` with one size changed."""
    if name == "seeds":
        return Point(BASE, size)
    changes = {
        "num_envs": {"num_envs": size},
        "batch": {"batch_size": size},
        "train_frequency": {"train_frequency": size},
        "width": {"hidden_sizes": (size, size)},
    }
    return Point(replace(BASE, **changes[name]), 1)


def measure_point(
    point: Point, rounds: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Measure rates summed over seeds, peak memory of the process, and compilation of the training chunk."""
    config, seeds = point
    trainer = make_trainer(config, make_environment(config))
    init, train_chunk = trainer.init, trainer.train_chunk
    keys = jax.random.key(0)
    if seeds > 1:
        # Counters are the same in all seeds, but vmap batches them like everything else.
        init, train_chunk = jax.vmap(init), jax.vmap(train_chunk)
        keys = jax.random.split(keys, seeds)
    state = jax.jit(init)(keys)
    started = clock()
    lowered = jax.jit(train_chunk, donate_argnums=0).lower(state)
    compiled = lowered.compile(repeated_options(config.num_devices))
    compile_time = clock() - started
    while not np.all(state.learner.updates > 0):
        state, _ = compiled(state)

    updates, steps = [], []
    for _ in range(rounds):
        done, started = int(np.sum(state.learner.updates)), clock()
        chunks = 0
        while chunks == 0 or clock() - started < seconds:
            state, _ = jax.block_until_ready(compiled(state))
            chunks += 1
        elapsed = clock() - started
        updates.append((int(np.sum(state.learner.updates)) - done) / elapsed)
        steps.append(chunks * config.chunk_length * config.num_envs * seeds / elapsed)
    return {
        "steps_per_second": spread(steps),
        "updates_per_second": spread(updates),
        "peak_memory_mib": spread([peak_memory()]),
        "compile_seconds": spread([compile_time]),
    }


def measure(options: Options, names: list[str]) -> dict[str, Any]:
    """Measure the named sweeps, or all of them; a point that several share is measured once."""
    measured: dict[Point, dict[str, Any]] = {}
    sweeps: dict[str, Any] = {}
    for name, sizes in (_QUICK_SWEEPS if options.quick else SWEEPS).items():
        if names and name not in names:
            continue
        sweeps[name] = []
        for size in sizes:
            point = make_point(name, size)
            if point not in measured:
                measured[point] = run_alone(measure_point, point, options.rounds, options.seconds, options.clock)
            sweeps[name].append({"size": size, **measured[point]})
    return {"sweeps": sweeps}


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    about = (
        f"Default flags but for `--num_envs {BASE.num_envs}` and one size at a time, on {figures['cores']} core(s) of "
        f"{machine()['cpu']}, at commit {figures['commit']}{', in CPU time' if figures['cpu_time'] else ''}. Steps and "
        "updates are summed over seeds."
    )
    parts = ["## Growth", textwrap.fill(about, 120)]
    for name, rows in figures["sweeps"].items():
        body = [
            [
                row["size"],
                row["steps_per_second"],
                row["updates_per_second"],
                number(row["peak_memory_mib"].median),
                number(row["compile_seconds"].median),
            ]
            for row in rows
        ]
        parts.append(table([_LABELS[name], *_FIGURES.values()], body))
    return "\n\n".join(parts)


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Plot a row of panels per figure, a column per size."""
    rows = [
        [
            Panel(
                title="",
                x_label=_LABELS[name],
                y_label=label,
                sizes=[row["size"] for row in points],
                figures=[row[figure] for row in points],
            )
            for name, points in figures["sweeps"].items()
        ]
        for figure, label in _FIGURES.items()
    ]
    draw(path, f"Growth of a run with its sizes, {figures['cores']} cores of {machine()['cpu']}", rows)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the curves as a PNG")
    parser.add_argument("--page", type=Path, metavar="PATH", help="replace the tables on this Markdown page")
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"only these of {', '.join(SWEEPS)}")
    arguments = parser.parse_args()
    for name in arguments.sizes:
        if name not in SWEEPS:
            parser.error(f"{name}: must be one of {', '.join(SWEEPS)}")
    options = make_options(arguments, rounds=3, seconds=1.0)
    about = {"cores": pin(None), "commit": commit(), "cpu_time": arguments.cpu_time}
    figures = {**about, **measure(options, arguments.sizes)}
    finish(arguments, figures, describe(figures))
    if arguments.plot:
        plot(arguments.plot, figures)
    if arguments.page:
        replace_section(arguments.page, "growth", describe(figures))


if __name__ == "__main__":
    main()
