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
from counting import count_layers
from curves import Panel, draw
from environment import jax_steps
from growth import BASE
from hlo import count_unknown_loops
from kernels import count_update
from measuring import (
    ROOT,
    Options,
    Spread,
    commit,
    finish,
    make_options,
    make_parser,
    number,
    peak_memory,
    spread,
    table,
)
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
_LONG_ENOUGH = 0.05  # seconds of a product or copy that are not the cost of starting it
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


def describe_device() -> dict[str, Any]:
    """Return what is known of the device that JAX finds."""
    device = jax.local_devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "devices": jax.local_device_count(),
        "memory_mib": (device.memory_stats() or {}).get("bytes_limit", 0) / 2**20 or None,
        "runtime": device.client.platform_version,
    }


def measure_device(sizes: Sizes, options: Options) -> dict[str, Any]:
    """Measure the device's ceilings: products, copies, and iterations of loops."""
    options = options._replace(seconds=options.seconds / 5)
    figures: dict[str, Any] = {"device": describe_device()}
    for precision in ("default", "highest"):
        figures[f"product_{precision}"] = product_rate(sizes.product, precision, options)
    figures["copy"] = copy_rate(sizes.copy, options)
    for name, is_known in (("known", True), ("unknown", False)):
        work = loop_work(sizes.turns, is_known)
        rates = options.interleave({name: work})[name]
        figures[f"loop_{name}"] = spread(1 / rate for rate in rates)
    return figures


def product_rate(largest: int, precision: str, options: Options) -> dict[str, Any]:
    """Measure operations/s of the product of two square float32 matrices, at the size where they are highest.

    Sizes double until one product takes long, or to `largest`.
    """
    best: dict[str, Any] = {}
    side = min(512, largest)
    while side <= largest:
        left, right = jax.random.normal(jax.random.key(0), (2, side, side))
        work = call_work(jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision)), (left, right), 2 * side**3)
        rate = spread(options.interleave({"": work})[""])
        if not best or rate.median > best["per_second"].median:
            best = {"side": side, "per_second": rate}
        if 2 * side**3 / rate.median > _LONG_ENOUGH:
            break
        side *= 2
    return best


def copy_rate(largest: int, options: Options) -> dict[str, Any]:
    """Measure the bytes/s that are read and written together, of the largest array that does not take long."""
    add_one = jax.jit(lambda x: x + 1.0, donate_argnums=0)  # in place: a CPU would also have to find new memory
    size = min(2**22, largest)
    while True:
        array = jnp.zeros(size)

        def work() -> float:
            nonlocal array
            array = jax.block_until_ready(add_one(array))
            return 2 * array.nbytes

        rate = spread(options.interleave({"": work})[""])
        if 2 * size > largest or 2 * array.nbytes / rate.median > _LONG_ENOUGH:
            return {"mib": array.nbytes / 2**20, "per_second": rate}
        size *= 2


def call_work(function: Callable[..., Any], arguments: tuple[Any, ...], amount: float) -> Callable[[], float]:
    """Call a function and wait for it, which is `amount` of work."""

    def work() -> float:
        jax.block_until_ready(function(*arguments))
        return amount

    return work


def loop_work(turns: int, is_known: bool) -> Callable[[], float]:
    """Run `turns` iterations of a loop around a small product; XLA knows their number, or learns it on the device."""
    matrix = jnp.eye(64)

    def body(_: Array, carry: Array) -> Array:
        return jnp.matmul(carry, carry)

    def call(matrix: Array, count: Array) -> Array:
        return jax.lax.fori_loop(0, turns if is_known else count, body, matrix)

    return call_work(jax.jit(call), (matrix, jnp.int32(turns)), turns)


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

    figures: dict[str, Any] = {"ceilings": run("device", measure_device, sizes, options)}
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


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    device = figures["device"]
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in device.items() if name != "kind" and value)
    parts = [
        f"## Accelerator: {device['kind']}\n\n{' '.join(about.split())}. Commit {figures['commit']}, measured in "
        f"{figures['seconds']:.0f} s{', in CPU time' if figures['cpu_time'] else ''}. Medians, with the range over "
        "repetitions in brackets.",
        _ceilings_table(figures["ceilings"]),
        "Training; rates are summed over seeds, and an update is one of all seeds at once. 'Acting' is a vector step "
        "without updates. 'Kernels' are those of an update with its share of its block (`kernels.py`). 'Unknown loops' "
        "are those whose iterations XLA does not know: a GPU's host waits for each.",
        _table(
            figures["training"],
            {
                "steps/s": lambda row: row["steps_per_second"],
                "updates/s": lambda row: row["updates_per_second"],
                "update (us)": lambda row: _scaled(row["update_seconds"], 1e6),
                "kernels": lambda row: number(row["kernels"]),
                "us per kernel": lambda row: number(1e6 * row["update_seconds"].median / row["kernels"]),
                "acting (us)": lambda row: _scaled(row["acting_seconds"], 1e6),
                "compilation (s)": lambda row: number(row["compile_seconds"]),
                "peak memory (MiB)": lambda row: number(row["peak_memory_mib"]),
                "state updated in place (MiB)": lambda row: number(row["state_mib"]),
                "temporaries (MiB)": lambda row: number(row["temporaries_mib"]),
                "unknown loops": lambda row: row["unknown_loops"],
            },
        ),
        "One update, counted from a program of its own, and its shares of the rates above, by the time of an update in "
        "training. Operations are XLA's count before optimisation, of which the products are counted from the shapes; "
        "bytes are what the compiled kernels read and write; more than the bandwidth means that they stay in a cache.",
        _table(
            figures["update"],
            {
                "million operations": lambda row: number(row["operations"] / 1e6),
                "of which products": lambda row: number(row["product_operations"] / 1e6),
                "MB": lambda row: number(row["bytes"] / 1e6),
                "share of the product rate": lambda row: f"{row['share_of_products']:.2%}",
                "share of the bandwidth": lambda row: f"{row['share_of_bandwidth']:.2%}",
            },
        ),
        "The environment alone: random starts, auto-reset, observations, random actions.",
        _table(figures["environment"], {"steps/s": lambda row: row["steps_per_second"]}),
    ]
    return "\n\n".join(parts)


def _ceilings_table(ceilings: dict[str, Any]) -> str:
    if "error" in ceilings:
        return f"The device's rates: {ceilings['error']}"
    body = [
        [
            f"float32 product, {precision} precision, side {found['side']} (GFLOP/s)",
            _scaled(found["per_second"], 1e-9),
        ]
        for precision in ("default", "highest")
        for found in [ceilings[f"product_{precision}"]]
    ]
    copy = ceilings["copy"]
    body.append([f"copy of {copy['mib']:.3g} MiB, read and written (GB/s)", _scaled(copy["per_second"], 1e-9)])
    for name in ("known", "unknown"):
        label = f"iteration of a loop around a 64 x 64 product, {name} trip count (us)"
        body.append([label, _scaled(ceilings[f"loop_{name}"], 1e6)])
    return table(["the device alone", "median (range)"], body)


def _table(rows: dict[str, Any], columns: dict[str, Callable[[dict[str, Any]], Any]]) -> str:
    """Format rows by name. A row that failed has its error in place of the first column, a missing figure a dash."""
    body = []
    for name, row in rows.items():
        label = f"{int(name):,} environments" if name.isdigit() else name
        if "error" in row:
            body.append([label, row["error"].replace("|", "/"), *[""] * (len(columns) - 1)])
            continue
        cells = []
        for column in columns.values():
            try:
                cells.append(column(row))
            except KeyError:  # a share of something that was not measured
                cells.append("-")
        body.append([label, *cells])
    return table(["", *columns], body)


def _scaled(figure: Spread, factor: float) -> Spread:
    return Spread(*(factor * value for value in figure))


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Plot the environment's steps/s over environments, and updates/s over seeds of one program."""
    environments = {int(name): row for name, row in figures["environment"].items() if "error" not in row}
    by_seeds = {
        row["seeds"]: row
        for name, row in figures["training"].items()
        if "error" not in row and name.startswith(next(iter(figures["training"])))
    }
    panels = []
    for title, x_label, y_label, rows, figure in (
        ("Environment alone", "environments", "environment steps/s", environments, "steps_per_second"),
        ("Training, default", "seeds in one program", "updates/s, all seeds", by_seeds, "updates_per_second"),
    ):
        if rows:
            rates = [row[figure] for row in rows.values()]
            medians = [rate.median for rate in rates]
            grows = max(medians) > 10 * min(medians)
            panels.append(Panel(title, x_label, y_label, list(rows), rates, log=grows))
    if panels:
        draw(path, figures["device"]["kind"], [panels])


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
