"""Count what an update computes and exchanges, and model many devices: `python benchmarks/scaling.py`.

Counted and modelled; nothing is measured. docs/scaling.md explains the figures.
"""

import math
from typing import Any, NamedTuple

import jax
from counting import count_elementwise, count_layers
from measuring import finish, make_parser, number, table

from qmix_jax.config import Config
from qmix_jax.learning.learner import BatchMoments
from qmix_jax.presets import preset_config
from qmix_jax.training.environments import make_environment
from qmix_jax.training.trainer import make_trainer

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
    operations: int  # of the whole batch, without the optimiser's
    batch: int


class Accelerator(NamedTuple):
    """The model's assumptions, not measured."""

    fixed: float = 300e-6  # seconds of an update that no batch shortens: about a hundred kernels, and the optimiser
    rate: float = 5e12  # operations/s that such small products reach
    hop: float = 5e-6  # seconds from one device to another
    bandwidth: float = 50e9  # bytes/s between two of them


def count_update(config: Config) -> Update:
    """Count an update from the shapes of the networks."""
    environment = make_environment(config)
    state = jax.eval_shape(make_trainer(config, environment).init, jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.learner.params))
    elementwise = count_elementwise(config, environment.spec, 0)  # no optimiser: every device does all of it
    operations = sum(layer.total for layer in count_layers(config, environment.spec)) + sum(elementwise.values())
    return Update(parameters, 4 * (parameters + len(BatchMoments._fields)), operations, config.batch_size)


def exchange_seconds(accelerator: Accelerator, size: int, devices: int) -> float:
    """Return the seconds of an all-reduce of `size` bytes: a tree of hops, all but the own share sent twice."""
    hops = 2 * math.ceil(math.log2(devices))
    return hops * accelerator.hop + 2 * (devices - 1) / devices * size / accelerator.bandwidth


def update_seconds(accelerator: Accelerator, update: Update, devices: int, growth: int = 1) -> float:
    """Return the seconds of an update of `growth` times the batch, shared by `devices`."""
    compute = growth * update.operations / devices / accelerator.rate
    return accelerator.fixed + compute + exchange_seconds(accelerator, update.exchanged, devices)


def compute() -> dict[str, Any]:
    """Return counts, and the modelled seconds of an update of the same batch and of one that grows with the devices."""
    counts = {name: count_update(config) for name, config in CASES.items()}
    modelled = {
        name: {d: [update_seconds(Accelerator(), update, d, growth) for growth in (1, d)] for d in DEVICES}
        for name, update in counts.items()
    }
    counted = {name: update._asdict() for name, update in counts.items()}
    return {"counts": counted, "assumed": Accelerator()._asdict(), "modelled": modelled}


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    counted = [
        [name, number(count["parameters"]), number(count["exchanged"]), number(count["operations"] / 1e6)]
        for name, count in figures["counts"].items()
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
    figures = compute()
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
