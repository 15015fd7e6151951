"""Count the kernels of an update, by part, in the compiled training program: `python benchmarks/kernels.py`.

What an update runs by itself, and its share of what a block of updates runs together (`trainer.make_updates`). Counts
are the same however busy the machine is, but are those of the device that it runs on. A GPU launches every kernel,
which costs it more than the arithmetic of a small network. `hlo.count_kernels` says what counts as a kernel.
"""

from typing import Any

import jax
from hlo import count_loop
from measuring import finish, make_parser, number, table

from qmix_jax.config import Config
from qmix_jax.presets import preset_config
from qmix_jax.runs.compilation import repeated_options
from qmix_jax.training.environments import make_environment
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import block_size, make_trainer

PRESETS = ("default", "random", "throughput", "general", "pqn")
_PARTS = {  # by a name that the operations of a part have in their path
    "agents": ("QNetwork", "/agents/"),
    "mixer": ("QMixer", "/mixer/", "(mixer)"),
    "targets": ("/targets/", "(targets)"),
    "optimizer": ("/optimizer/",),
    "metrics": ("/metrics/",),
    "parameters": ("/parameters/",),
    "batch": ("/batch/",),
}
_SHARED = "share of the block"


def part_of(op_name: str) -> str:
    """Return the part of an update that an operation belongs to, from its path of scopes."""
    return next((part for part, names in _PARTS.items() if any(name in op_name for name in names)), "loss and others")


def kernels_per_update(config: Config) -> dict[str, float]:
    """Count the kernels of an update by part, and its share of its block's."""
    trainer = make_trainer(config, make_environment(config))
    state = jax.eval_shape(trainer.init, seed_key(0))
    compiled = jax.jit(trainer.train_chunk, donate_argnums=0).lower(state).compile(repeated_options())
    return count_update(compiled.as_text(), config)


def count_update(text: str, config: Config) -> dict[str, float]:
    """Count them in the text of the compiled chunk."""
    own, size = count_loop(text, "updates", part_of), block_size(config)
    counted = size if config.replay == "none" else 1  # turns of the loop of updates, where its program tells them
    block = count_loop(text, "blocks", part_of).total() - counted * own.total()
    return {**own, _SHARED: block / size}


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    parts = sorted({part for counts in figures.values() for part in counts}, key=lambda part: (part == _SHARED, part))
    rows = [[part, *(number(counts.get(part, 0)) for counts in figures.values())] for part in parts]
    rows.append(["**all**", *(number(sum(counts.values())) for counts in figures.values())])
    return "## Kernels of an update\n\n" + table(["part", *figures], rows)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--presets", nargs="+", default=PRESETS, metavar="NAME", help="what to count (default: five)")
    arguments = parser.parse_args()
    figures = {name: kernels_per_update(preset_config(name)) for name in arguments.presets}
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
