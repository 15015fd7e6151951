"""What an update computes and exchanges, what host devices cost, and a model of many: `python benchmarks/scaling.py`.

Only the table of host devices is measured, in CPU seconds, which a machine that is busy with other work disturbs less
than clock time. docs/scaling.md tells what the figures mean.
"""

import math
import time
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from counting import count_elementwise, count_layers
from growth import BASE
from measuring import Options, finish, make_options, make_parser, number, table
from processes import run_alone

from qmix_jax.config import Config
from qmix_jax.environments import make_environment
from qmix_jax.learner import BatchMoments
from qmix_jax.presets import preset_config
from qmix_jax.trainer import make_trainer

CASES = {
    "default": preset_config("default"),
    "128-128": preset_config("default", hidden_sizes=(128, 128)),
    "random": preset_config("random"),
}
DEVICES = (1, 2, 4, 8, 16, 64, 256, 1024)


class Update(NamedTuple):
    """One gradient update of a configuration."""

    parameters: int
    exchanged: int  # bytes of the one vector that devices average: the gradient and the batch's moments, float32
    operations: int  # of the whole batch, the optimiser's aside
    batch: int


class Accelerator(NamedTuple):
    """Assumed, not measured: what the model is made of."""

    fixed: float = 300e-6  # seconds of an update that no batch shortens: about a hundred kernels, and the optimiser
    rate: float = 5e12  # operations/s that such small products reach
    hop: float = 5e-6  # seconds from one device to another
    bandwidth: float = 50e9  # bytes/s between two of them


def count_update(config: Config) -> Update:
    """Count, from the shapes of the networks."""
    environment = make_environment(config)
    state = jax.eval_shape(make_trainer(config, environment).init, jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.learner.params))
    elementwise = count_elementwise(config, environment.spec, 0)  # of no parameters: every device does the optimiser's
    operations = sum(layer.total for layer in count_layers(config, environment.spec)) + sum(elementwise.values())
    return Update(parameters, 4 * (parameters + len(BatchMoments._fields)), operations, config.batch_size)


def exchange_seconds(accelerator: Accelerator, size: int, devices: int) -> float:
    """An all-reduce of `size` bytes: up and down a tree of hops, and each byte but the device's own share twice."""
    hops = 2 * math.ceil(math.log2(devices))
    return hops * accelerator.hop + 2 * (devices - 1) / devices * size / accelerator.bandwidth


def update_seconds(accelerator: Accelerator, update: Update, devices: int, growth: int = 1) -> float:
    """An update of `growth` times the batch, shared by `devices`."""
    compute = growth * update.operations / devices / accelerator.rate
    return accelerator.fixed + compute + exchange_seconds(accelerator, update.exchanged, devices)


def cpu_seconds(config: Config, seconds: float) -> float:
    """CPU seconds of all threads per update of a run on `config.num_devices` host devices. For a fresh process."""
    from qmix_jax.compilation import compile_programs, provide_cpu_devices

    provide_cpu_devices(config.num_devices)
    programs = compile_programs(make_trainer(config, make_environment(config)), jax.random.key(0))
    state, _ = programs.train_chunk(programs.init(jax.random.key(0)))
    begun, spent, started = int(state.learner.updates), time.process_time(), time.perf_counter()
    while int(state.learner.updates) == begun or time.perf_counter() - started < seconds:
        state, _ = jax.block_until_ready(programs.train_chunk(state))
    return (time.process_time() - spent) / (int(state.learner.updates) - begun)


def measure(options: Options) -> dict[str, Any]:
    """Counts, CPU seconds on host devices, and what the model says."""
    cases = {"default": BASE, "batch 512": replace(BASE, batch_size=512)}
    if options.quick:
        cases = {"small": replace(BASE, num_envs=8, buffer_capacity=800, hidden_sizes=(8,))}
    devices = (1, 2) if options.quick else (1, 2, 4)
    measured = {
        name: {d: run_alone(cpu_seconds, replace(config, num_devices=d), options.seconds) for d in devices}
        for name, config in cases.items()
    }
    counts = {name: count_update(config) for name, config in CASES.items()}
    modelled = {
        name: {d: [update_seconds(Accelerator(), update, d, growth) for growth in (1, d)] for d in DEVICES}
        for name, update in counts.items()
    }
    counted = {name: update._asdict() for name, update in counts.items()}
    return {"counts": counted, "cpu_seconds": measured, "assumed": Accelerator()._asdict(), "modelled": modelled}


def describe(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    counted = [
        [name, number(count["parameters"]), number(count["exchanged"]), number(count["operations"] / 1e6)]
        for name, count in figures["counts"].items()
    ]
    spent = [
        [name, d, number(1e3 * seconds), f"{by_devices[1] / seconds:.2f}"]
        for name, by_devices in figures["cpu_seconds"].items()
        for d, seconds in by_devices.items()
    ]
    modelled = []
    for name, by_devices in figures["modelled"].items():
        for d, (same, grown) in by_devices.items():
            rates = [number(steps * CASES[name].train_frequency) for steps in (1 / same, d / grown)]
            modelled.append([name, d, *rates, f"{by_devices[1][0] / grown:.2f}"])
    return "\n\n".join(
        [
            "## Scaling",
            table(["preset", "parameters", "bytes exchanged per update", "million operations per update"], counted),
            table(["run", "host devices", "CPU ms per update", "CPU time of one device over it"], spent),
            "Modelled, not measured:",
            table(
                [
                    "preset",
                    "devices",
                    "steps/s, same batch",
                    "steps/s, batch and steps per update x devices",
                    "efficiency",
                ],
                modelled,
            ),
        ]
    )


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    options = make_options(arguments, rounds=1, seconds=6.0)
    figures = measure(options)
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
