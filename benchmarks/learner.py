"""Measure the learner's updates per second, their limit and where the time goes: `python benchmarks/learner.py`.

At the PyTorch script's sizes: 128-128 networks per agent, mixing 32, hypernetworks 64, batch 64, double Q, one-step
targets, raw observations. Everything runs in turn in one process on one core (`--cores` for more): the loop
of sampling and updating as in the trainer, the same loop's parts, every matrix product of an update by itself, and the
PyTorch baseline (`pip install '.[bench]'`; skipped where torch is missing).
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from counting import Layer, count_elementwise, count_layers
from measuring import Options, Work, finish, make_options, make_parser, number, pin, ratio, spread, table

from qmix_jax.config import Config
from qmix_jax.learning.batch import Batch
from qmix_jax.learning.learner import make_learner
from qmix_jax.learning.loss import make_loss, make_target_values
from qmix_jax.learning.model import make_networks
from qmix_jax.runs.compilation import enable_compilation_cache
from qmix_jax.training.environments import make_environment
from qmix_jax.training.replay import make_replay
from qmix_jax.training.trainer import make_trainer, make_updates
from qmix_jax.types import Array, TrainState, UpdateMetrics

CONFIG = Config(
    num_envs=512,
    hidden_sizes=(128, 128),
    mixing_size=32,
    hypernet_size=64,
    batch_size=64,
    n_step=1,
    double_q=True,
    encoding="raw",
    state_clock=False,
    total_steps=2**30,  # the schedules end far beyond the benchmark
    eval_interval=2048,  # chunks of four vector steps, 512 updates
)
_LOOP, _UPDATE, _SAMPLING, _FORWARD_PASS, _GRADIENT = _PARTS = (
    "sampling and update",
    "update",
    "sampling",
    "forward pass",
    "forward and backward pass",
)
_TRAINING, _TORCH_UPDATE, _TORCH_TRAINING = "training", "PyTorch update", "PyTorch training"
_BATCHES = 16  # different batches for the parts that do not sample
_LARGE = Layer("1024 x 1024 by 1024 x 1024", 1, 1024, 1024, 1024, 0, 0, 0)

# Contracted axes of a layer's three products: inputs by weights, inputs by gradient, gradient by weights.
_FORWARD, _WEIGHT_GRADIENT, _INPUT_GRADIENT = "forward", "weight gradient", "input gradient"
_EQUATIONS = {_FORWARD: "cbi,cio->cbo", _WEIGHT_GRADIENT: "cbi,cbo->cio", _INPUT_GRADIENT: "cbo,cio->cbi"}
_TRANSPOSED = {_FORWARD: "cbi,coi->cbo", _WEIGHT_GRADIENT: "cbo,cbi->coi", _INPUT_GRADIENT: "cbo,coi->cbi"}


def repeat(body: Callable[[Any, Array, Any], Any], data: Any, carry: Any, turns: int) -> Work:
    """Run `turns` iterations of `body(data, turn, carry) -> carry` per compiled call, each continuing the last one."""

    def call(data: Any, start: Array, carry: Any) -> Any:
        return jax.lax.fori_loop(start, start + turns, partial(body, data), carry)

    compiled = jax.jit(call, donate_argnums=2)
    carry = jax.tree.map(jnp.copy, carry)  # the parts start from the same arrays, and each donates its own
    done = 0

    def work() -> float:
        nonlocal carry, done
        carry = jax.block_until_ready(compiled(data, jnp.int32(done), carry))
        done += turns
        return turns

    return work


def product_work(layer: Layer, kind: str, operations: float) -> Work:
    """Repeat one of a layer's products, about `operations` per call; the work counts operations."""
    shapes = {
        "cbi": (layer.copies, layer.rows, layer.inputs),
        "cio": (layer.copies, layer.inputs, layer.outputs),
        "coi": (layer.copies, layer.outputs, layer.inputs),
        "cbo": (layer.copies, layer.rows, layer.outputs),
    }
    equation = (_TRANSPOSED if layer.transposed else _EQUATIONS)[kind]
    terms, result = equation.split("->")
    keys = jax.random.split(jax.random.key(0))
    left, right = (jax.random.normal(key, shapes[term]) for key, term in zip(keys, terms.split(","), strict=True))

    def body(right: Array, _: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        left, product = carry
        # One number of the last product makes this one new: XLA would take a constant product out of the loop.
        left = jax.lax.dynamic_update_slice(left, 1e-3 * product[:1, :1, :1], (0, 0, 0))
        return left, jnp.einsum(equation, left, right)

    work = repeat(body, right, (left, jnp.zeros(shapes[result])), turns=max(1, int(operations / layer.product)))
    return lambda: layer.product * work()


def product_counts(layers: list[Layer]) -> dict[tuple[Layer, str], int]:
    """Return how often an update makes each product, by layer and kind."""
    counts = {}
    for layer in layers:
        counts[layer, _FORWARD] = layer.forwards
        counts[layer, _WEIGHT_GRADIENT] = layer.weight_gradients
        counts[layer, _INPUT_GRADIENT] = layer.input_gradients
    return {product: count for product, count in counts.items() if count}


def trained_state(config: Config) -> tuple[TrainState, Callable[[TrainState], TrainState]]:
    """Return the state of a trainer that has begun to update, and its next chunk as a function."""
    trainer = make_trainer(config, make_environment(config))
    compiled = jax.jit(trainer.train_chunk, donate_argnums=0)
    state = jax.jit(trainer.init)(jax.random.key(0))
    while state.learner.updates == 0:
        state, _ = compiled(state)
    return state, lambda state: compiled(state)[0]


def training_work(state: TrainState, train_chunk: Callable[[TrainState], TrainState]) -> Work:
    """The whole trainer: environments, exploration, replay and updates, counted in updates."""
    state = jax.tree.map(jnp.copy, state)

    def work() -> float:
        nonlocal state
        before = int(state.learner.updates)
        state = train_chunk(state)
        return int(state.learner.updates) - before  # waits for it

    return work


def part_works(config: Config, state: TrainState, turns: int) -> dict[str, Work]:
    """The loop of updates as the trainer runs it, and its parts, each of one batch at a time in a loop of its own."""
    spec = make_environment(config).spec
    learner, replay, networks = make_learner(config, spec), make_replay(config, spec), make_networks(config, spec)
    loss, target_values = make_loss(config, networks), make_target_values(config, networks)
    gradient = jax.grad(loss, has_aux=True)

    key, at_once = jax.random.key(0), config.num_envs // config.train_frequency
    numbers = jax.random.bits(key, (_BATCHES, 2, config.batch_size))

    def sample(data: Any, turn: Array, _: Any) -> Batch:
        replay_state, numbers = data
        return learner.prepare(replay.sample(replay_state, numbers[turn % _BATCHES]))

    def stored(batches: Batch, turn: Array) -> Batch:
        return jax.tree.map(lambda leaves: leaves[turn % _BATCHES], batches)

    def loop(_: Any, turn: Array, carry: Any) -> Any:
        return make_updates(config, learner, replay, jax.random.fold_in(key, turn), jnp.int32(at_once), *carry[:2])

    def update(batches: Batch, turn: Array, carry: Any) -> Any:
        batch = stored(batches, turn)
        learner_state, metrics, _ = learner.update(carry[0], batch, learner.read_targets(carry[0], batch))
        return learner.copy_targets(learner_state), jax.tree.map(jnp.add, carry[1], metrics)

    def forward(data: Any, turn: Array, _: Any) -> Any:
        params, target_params, batches = data
        batch = stored(batches, turn)
        return loss(params, target_params, batch, target_values(target_params, batch))

    def forward_and_backward(data: Any, turn: Array, _: Any) -> Any:
        params, target_params, batches = data
        batch = stored(batches, turn)
        return gradient(params, target_params, batch, target_values(target_params, batch))

    samples, turn = (state.replay, numbers), jnp.int32(0)
    batches = jax.jit(jax.vmap(sample, (None, 0, None)))(samples, jnp.arange(_BATCHES), None)
    data = state.learner.params, state.learner.target_params, batches
    metrics = UpdateMetrics(*(jnp.zeros(()) for _ in UpdateMetrics._fields))
    whole = repeat(loop, None, (state.learner, state.replay, metrics), max(1, turns // at_once))
    return {
        _LOOP: lambda: at_once * whole(),
        _UPDATE: repeat(update, batches, (learner.pack(state.learner), metrics), turns),
        _SAMPLING: repeat(sample, samples, _zeros(lambda: sample(samples, turn, None)), turns),
        _FORWARD_PASS: repeat(forward, data, _zeros(lambda: forward(data, turn, None)), turns),
        _GRADIENT: repeat(forward_and_backward, data, _zeros(lambda: forward_and_backward(data, turn, None)), turns),
    }


def _zeros(function: Callable[[], Any]) -> Any:
    """Return zeros like the output of `function`: an initial carry, without compiling it operation by operation."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function))


def torch_works(cores: int, quick: bool) -> dict[str, Work]:
    """Return the PyTorch baseline, or nothing where torch is missing."""
    if find_spec("torch") is None:
        return {}
    import torch_baseline

    size = (200, 2) if quick else (torch_baseline.MIN_BUFFER_SIZE, 20)
    update, training = torch_baseline.make_works(cores, *size)
    return {_TORCH_UPDATE: update, _TORCH_TRAINING: training}


def measure(options: Options, cores: int) -> dict[str, Any]:
    """Measure rates, counts, limit and parts."""
    spec = make_environment(CONFIG).spec
    layers = count_layers(CONFIG, spec)
    counts = product_counts(layers)
    operations = sum(layer.total for layer in layers)
    state, train_chunk = trained_state(CONFIG)

    works: dict[Any, Work] = part_works(CONFIG, state, turns=2 if options.quick else 50)
    works[_TRAINING] = training_work(state, train_chunk)
    works |= torch_works(cores, options.quick)
    works |= {
        product: product_work(*product, 1e6 if options.quick else 1e9) for product in (*counts, (_LARGE, _FORWARD))
    }
    rates = options.interleave(works)

    # Seconds that an update's products take by themselves, round by round.
    product_seconds = [
        sum(count * product[0].product / rates[product][i] for product, count in counts.items())
        for i in range(options.rounds)
    ]
    limit = [1 / seconds for seconds in product_seconds]
    figures = {
        "updates_per_second": spread(rates[_LOOP]),
        "training_updates_per_second": spread(rates[_TRAINING]),
        "training_steps_per_second": spread(CONFIG.train_frequency * rate for rate in rates[_TRAINING]),
        "operations_per_update": operations,
        "operations": {layer.name: layer.total for layer in layers},
        "elementwise_operations": count_elementwise(CONFIG, spec, _num_parameters(state)),
        "parameters": _num_parameters(state),
        "gflops_reached": spread(operations * rate / 1e9 for rate in rates[_LOOP]),
        "gflops_of_the_products": spread(operations * rate / 1e9 for rate in limit),
        "gflops_of_a_large_product": spread(rate / 1e9 for rate in rates[_LARGE, _FORWARD]),
        "updates_per_second_of_the_products": spread(limit),
        "share_of_the_products_rate": ratio(rates[_LOOP], limit),
        "share_of_the_products_rate_without_sampling": ratio(rates[_UPDATE], limit),
        "microseconds": {name: spread(1e6 / rate for rate in rates[name]) for name in _PARTS},
        "products": [
            {
                "layer": layer.name,
                "kind": kind,
                "shape": [layer.copies, layer.rows, layer.inputs, layer.outputs],
                "count": count,
                "share_of_operations": count * layer.product / operations,
                "gflops": spread(rate / 1e9 for rate in rates[layer, kind]),
            }
            for (layer, kind), count in counts.items()
        ],
    }
    if _TORCH_UPDATE in rates:
        figures["torch_updates_per_second"] = spread(rates[_TORCH_UPDATE])
        figures["torch_training_updates_per_second"] = spread(rates[_TORCH_TRAINING])
        figures["ratio_to_torch"] = ratio(rates[_LOOP], rates[_TORCH_UPDATE])
        figures["training_ratio_to_torch"] = ratio(rates[_TRAINING], rates[_TORCH_TRAINING])
    return figures


def _num_parameters(state: TrainState) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(state.learner.params))


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    summary = [
        ["updates/s, sampling and update", figures["updates_per_second"]],
        ["updates/s of the whole trainer", figures["training_updates_per_second"]],
        ["environment steps/s of the whole trainer", figures["training_steps_per_second"]],
        ["matrix-product operations of an update", f"{figures['operations_per_update'] / 1e6:.1f} million"],
        ["GFLOP/s reached", figures["gflops_reached"]],
        ["GFLOP/s of the same products alone", figures["gflops_of_the_products"]],
        ["GFLOP/s of a 1024 x 1024 product", figures["gflops_of_a_large_product"]],
        ["updates/s if there were only the products", figures["updates_per_second_of_the_products"]],
        ["**share of the products' rate** (target: 0.75)", figures["share_of_the_products_rate"]],
        ["the same without sampling", figures["share_of_the_products_rate_without_sampling"]],
    ]
    if "ratio_to_torch" in figures:
        summary += [
            ["PyTorch: updates/s, sampling and update", figures["torch_updates_per_second"]],
            ["PyTorch: updates/s of the whole trainer", figures["torch_training_updates_per_second"]],
            ["**times PyTorch**, sampling and update", figures["ratio_to_torch"]],
            ["**times PyTorch**, whole trainer", figures["training_ratio_to_torch"]],
        ]
    time = figures["microseconds"]
    whole = time[_LOOP].median
    measured = {
        "sampling and preparation": time[_SAMPLING].median,
        "forward pass": time[_FORWARD_PASS].median,
        "backward pass": time[_GRADIENT].median - time[_FORWARD_PASS].median,
        "optimiser, metrics, target copy": time[_UPDATE].median - time[_GRADIENT].median,
    }
    measured["blocks of updates (negative: what they save)"] = whole - sum(measured.values())
    measured["whole"] = whole
    measured["for comparison: the products alone"] = 1e6 / figures["updates_per_second_of_the_products"].median
    products = [
        [
            f"{row['layer']}, {row['kind']}",
            "[{0}, {1}, {2}] x [{0}, {2}, {3}]".format(*row["shape"]),
            row["count"],
            f"{row['share_of_operations']:.1%}",
            row["gflops"],
        ]
        for row in figures["products"]
    ]
    elementwise = figures["elementwise_operations"]
    return "\n\n".join(
        [
            f"## Learner on {figures['cores']} core(s)\n\nNetworks 128-128 for each agent, mixing 32, hypernetworks "
            f"64, batch 64, double Q, raw observations; {figures['parameters']:,} parameters.",
            table(["figure", "median (range)"], summary),
            table(
                ["where an update's time goes", "microseconds", "share"],
                [[name, number(value), f"{value / whole:.0%}"] for name, value in measured.items()],
            ),
            table(["matrix product", "shape of the layer", "times", "share of operations", "GFLOP/s"], products),
            table(
                ["other operations of an update, about", "million"],
                [[name, f"{count / 1e6:.1f}"] for name, count in elementwise.items()],
            ),
        ]
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--cores", type=int, default=1, metavar="N", help="cores to run on (default: 1)")
    arguments = parser.parse_args()
    cores = pin(arguments.cores)
    enable_compilation_cache()
    figures = {"cores": cores, **measure(make_options(arguments, rounds=5, seconds=0.1), cores)}
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
