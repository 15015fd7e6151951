"""Measure training on whatever device JAX finds, in at most eight minutes: `python benchmarks/accelerator.py`.

Training at the sizes of three presets, many seeds in one program, the environment alone, and what the device could do:
the rates of a large float32 product and of a large copy, and what a loop's iteration costs whether or not XLA knows how
often it runs. Every row is measured in its own process; one that fails or takes too long is a row that says so. Writes
`accelerator.md`, `accelerator.json` and `accelerator.png` into a folder named after the device.
"""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_page import describe, plot
from counting import count_layers
from device_rates import measure_device
from environment import jax_steps
from growth import BASE
from hlo import count_unknown_loops
from kernels import count_update
from measuring import ROOT, Options, commit, finish, make_options, make_parser, peak_memory, spread
from processes import describe_error, run_within

from qmix_jax.config import Config
from qmix_jax.learning.learner import make_learner
from qmix_jax.presets import preset_config
from qmix_jax.runs.compilation import repeated_options, run_once_options
from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import pinned, seed_key
from qmix_jax.training.population import make_population
from qmix_jax.training.replay import make_replay
from qmix_jax.training.trainer import make_trainer
from qmix_jax.types import Array, LearnerState, TrainState, UpdateMetrics

_MINUTES = 8.0
_ENVIRONMENTS = (64, 1_024, 8_192, 65_536)
_STEPS_PER_CALL = 2**20
_NEVER = 10_000  # vector steps that no measurement reaches


class Sizes(NamedTuple):
    """What is measured."""

    presets: dict[str, Config]
    seeds: tuple[int, ...]  # of the first preset, in one program as in a sweep
    environments: tuple[int, ...]
    product: int  # largest side of the matrices that are multiplied
    copy: int  # largest number of float32 that are copied
    turns: int  # of the loops


class Chunks(NamedTuple):
    """Chunks of one repetition."""

    chunks: int
    updates: int  # of each seed
    seconds: float


def training(name: str, **settings: Any) -> Config:
    """Return a preset that updates from the start, and whose schedules end far beyond the benchmark."""
    return preset_config(name, total_steps=2**30, min_buffer_size=0, **settings)


_SIZES = Sizes(
    presets={name: training(name) for name in ("default", "random", "throughput")},
    seeds=(8, 64),
    environments=_ENVIRONMENTS,
    product=2**14,
    copy=2**28,
    turns=1_000,
)
_TINY = {  # compiles in two seconds
    "algorithm": "vdn",
    "num_envs": 8,
    "buffer_capacity": 800,
    "batch_size": 4,
    "eval_interval": 32,
    "encoding": "raw",
    "state_clock": False,
    "hidden_sizes": (8,),
    "share_parameters": True,
    "layer_norm": False,
    "dueling": False,
    "double_q": False,
    "explore_repeat": 1,
}
_QUICK_SIZES = Sizes(
    presets={"default": training("default", **_TINY)},
    seeds=(2,),
    environments=(64,),
    product=2**6,
    copy=2**12,
    turns=10,
)


def measure_environment(num_envs: int, options: Options) -> dict[str, Any]:
    """Measure steps/s of the environment alone: random starts, auto-reset, observations, random actions."""
    length = 2 if options.quick else max(16, min(_STEPS_PER_CALL // num_envs, 1_024))
    rates = options.interleave({"": jax_steps(num_envs, length)})[""]
    return {"steps_per_second": spread(rates)}


def measure_training(config: Config, seeds: int, options: Options) -> dict[str, Any]:
    """Measure the training chunk of one run, or of `seeds` runs in one program.

    Returns:
        Rates summed over the seeds; seconds of an update of all of them, and of a vector step without updates: the same
        program is run with updates put off, and an update takes what they add; compilation and memory.
    """
    compiled, settings, state, compile_seconds = compile_training(config, seeds)
    analysis, text, train_chunk = compiled.memory_analysis(), compiled.as_text(), partial(compiled, *settings)
    while not np.all(state.learner.updates > 0):
        state, _ = train_chunk(state)
    trained, acted = [], []
    for _ in range(options.rounds):
        state, ran = run_chunks(train_chunk, state, options)
        trained.append(ran)
    state = replace(state, replay_start=state.vector_step + _NEVER)
    for _ in range(options.rounds):
        state, ran = run_chunks(train_chunk, state, options)
        acted.append(ran.seconds / ran.chunks)
    acting = spread(acted).median
    steps = config.chunk_length * config.num_envs * seeds
    return {
        "seeds": seeds,
        "steps_per_second": spread(ran.chunks * steps / ran.seconds for ran in trained),
        "updates_per_second": spread(ran.updates * seeds / ran.seconds for ran in trained),
        "update_seconds": spread((ran.seconds - ran.chunks * acting) / max(ran.updates, 1) for ran in trained),
        "acting_seconds": spread(seconds / config.chunk_length for seconds in acted),
        "compile_seconds": compile_seconds,
        **count_chunk(text, config),
        "unknown_loops": count_unknown_loops(text),
        "state_mib": analysis.alias_size_in_bytes / 2**20,
        "temporaries_mib": analysis.temp_size_in_bytes / 2**20,
        "peak_memory_mib": peak_device_memory(),
    }


def count_chunk(text: str, config: Config) -> dict[str, float]:
    """Return the kernels of an update; nothing where this device's compiler has taken the loops apart."""
    try:
        return {"kernels": sum(count_update(text, config).values())}
    except AssertionError:
        return {}


def compile_training(config: Config, seeds: int) -> tuple[Any, tuple[Any, ...], TrainState, float]:
    """Compile the chunk of one run or of several as a run or a sweep does.

    Returns:
        The compiled chunk, its arguments before the state, the first state, and the seconds of compilation.
    """
    environment = make_environment(config)
    trainer = make_trainer(config, environment) if seeds == 1 else make_population(config, environment, ())
    settings = () if seeds == 1 else ({},)
    keys = seed_key(0) if seeds == 1 else jax.random.split(seed_key(0), seeds)
    state = jax.jit(trainer.init, compiler_options=run_once_options())(*settings, keys)
    started = time.perf_counter()
    lowered = jax.jit(trainer.train_chunk, donate_argnums=len(settings)).lower(*settings, state)
    compiled = lowered.compile(repeated_options())
    return compiled, settings, state, time.perf_counter() - started


def run_chunks(train_chunk: Callable[..., Any], state: TrainState, options: Options) -> tuple[TrainState, Chunks]:
    """Run chunks for one repetition."""
    before, chunks, started = int(np.max(state.learner.updates)), 0, options.clock()
    while chunks == 0 or options.clock() - started < options.seconds:
        state, _ = jax.block_until_ready(train_chunk(state))
        chunks += 1
    seconds = options.clock() - started
    return state, Chunks(chunks, int(np.max(state.learner.updates)) - before, seconds)


def peak_device_memory() -> float:
    """Return the peak memory in MiB that JAX has allocated on the device; on a CPU, that of the process."""
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return peak_memory() if peak is None else peak / 2**20


def measure_update(config: Config) -> dict[str, Any]:
    """Count what one update computes and moves, from a program of its own that is compiled but not run.

    XLA counts the body of a loop once, however often it runs, so it cannot count a chunk. The target copy is counted as
    if every update made it. `product_operations` are counted from the shapes of the
    networks, see `counting.py`.
    """
    lowered = lower_update(config)
    compiled = lowered.compile(repeated_options())
    return {
        "operations": lowered.cost_analysis()["flops"],
        "product_operations": sum(layer.total for layer in count_layers(config, make_environment(config).spec)),
        "bytes": compiled.cost_analysis()["bytes accessed"],
    }


def lower_update(config: Config) -> Any:
    """Lower one update with all that it needs: sampling, preparation, target values, the target copy.

    XLA counts a gather as reading the whole array, so that replay has its smallest capacity here.
    """
    capacity = max(config.sample_length * config.num_envs, config.batch_size)
    config = replace(config, buffer_capacity=capacity, min_buffer_size=0)
    spec = make_environment(config).spec
    learner, replay = make_learner(config, spec), make_replay(config, spec)

    @pinned()
    def update(state: LearnerState, replay_state: Any, numbers: Array) -> tuple[LearnerState, UpdateMetrics]:
        batch = learner.prepare(replay.sample(replay_state, numbers))
        state, metrics, _ = learner.update(state, batch, learner.read_targets(state, batch))
        return learner.copy_targets(state), metrics

    packed = jax.eval_shape(lambda key: learner.pack(learner.init(key)), seed_key(0))
    numbers = jax.ShapeDtypeStruct((2, config.batch_size), jnp.uint32)
    return jax.jit(update, donate_argnums=0).lower(packed, jax.eval_shape(replay.init), numbers)


def rows(sizes: Sizes, options: Options) -> dict[str, tuple[Any, ...]]:
    """Return the function and arguments of every row but the device's, the most telling first."""
    (first, config), *others = sizes.presets.items()
    many = replace(config, eval_interval=min(config.eval_interval, BASE.eval_interval))  # chunks of a few vector steps
    found: dict[str, tuple[Any, ...]] = {
        f"training/{first}": (measure_training, config, 1, options),
        f"update/{first}": (measure_update, config),
    }
    found |= {f"environment/{size}": (measure_environment, size, options) for size in sizes.environments}
    for i, seeds in enumerate(sizes.seeds):
        found[f"training/{first}, {seeds} seeds"] = (measure_training, many, seeds, options)
        if i == 0:
            for name, other in others:
                found[f"training/{name}"] = (measure_training, other, 1, options)
                found[f"update/{name}"] = (measure_update, other)
    return found


def measure(sizes: Sizes, options: Options, minutes: float) -> dict[str, Any]:
    """Measure every row, in its own process unless quick."""
    started = time.perf_counter()

    def left() -> float:
        return 60 * minutes - (time.perf_counter() - started)

    def run(name: str, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        begun = time.perf_counter()
        try:
            if options.quick:
                row = function(*arguments)
            elif left() <= 0:
                raise TimeoutError(f"not begun within {minutes:g} minutes")
            else:
                row = run_within(left(), function, *arguments)
        except Exception as error:  # out of memory, above all
            row = {"error": describe_error(error)}
        outcome = row.get("error", "done")
        print(f"{name}: {outcome}, {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
        return row

    figures: dict[str, Any] = {
        "ceilings": run("device", measure_device, sizes.product, sizes.copy, sizes.turns, options)
    }
    figures["device"] = figures["ceilings"].pop("device", {"kind": "unknown"})
    figures |= {part: {} for part in ("training", "update", "environment")}
    for name, (function, *arguments) in rows(sizes, options).items():
        part, row = name.split("/")
        figures[part][row] = run(name, function, *arguments)
    add_shares(figures)
    figures["seconds"] = time.perf_counter() - started
    return figures


def add_shares(figures: dict[str, Any]) -> None:
    """Add to every counted update its shares of the device's two rates."""
    ceilings = figures["ceilings"]
    for name, update in figures["update"].items():
        seconds = figures["training"][name].get("update_seconds")
        if "error" in update or "error" in ceilings or seconds is None or seconds.median <= 0:
            continue
        update["share_of_products"] = (
            update["operations"] / seconds.median / ceilings["product_default"]["per_second"].median
        )
        update["share_of_bandwidth"] = update["bytes"] / seconds.median / ceilings["copy"]["per_second"].median


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="parent of the device's folder of results")
    parser.add_argument("--minutes", type=float, default=_MINUTES, metavar="N", help="time for all rows (default: 8)")
    arguments = parser.parse_args()
    if arguments.quick:
        jax.config.update("jax_disable_most_optimizations", True)
    options = make_options(arguments, rounds=3, seconds=1.0)
    sizes = _QUICK_SIZES if arguments.quick else _SIZES
    figures = {"commit": commit(), "cpu_time": arguments.cpu_time, **measure(sizes, options, arguments.minutes)}
    text = describe(figures)
    output = arguments.output
    if output is None and not arguments.quick:  # quick figures mean nothing and must not replace measured ones
        output = ROOT / "benchmarks" / "results" / "accelerator"
    if output is not None:
        folder = output / re.sub(r"[^a-z0-9]+", "-", figures["device"]["kind"].lower()).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        arguments.json = arguments.json or folder / "accelerator.json"
        (folder / "accelerator.md").write_text(text + "\n")
        plot(folder / "accelerator.png", figures)
    finish(arguments, figures, text)


if __name__ == "__main__":
    main()
