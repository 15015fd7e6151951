"""Measure environment steps per second on one core, JAX against NumPy: `python benchmarks/environment.py`.

Random mode with auto-reset and observations, uniformly random actions. The JAX side is a `lax.scan` over vector steps,
as in the trainer. The NumPy side steps one environment in a Python loop, which draws its actions step by step as the
JAX side does; a second figure excludes the draws.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from curves import Panel, draw
from measuring import (
    Options,
    Work,
    finish,
    machine,
    make_options,
    make_parser,
    number,
    pin,
    ratio,
    spread,
    table,
)
from numpy_environment import NumpyGridWorld

from env_jax.gridworld import GridWorld25
from env_jax.gridworld.constants import NUM_ACTIONS, NUM_AGENTS
from env_jax.gridworld.state import State
from env_jax.types import TimeStep
from qmix_jax.runs.compilation import enable_compilation_cache
from qmix_jax.training.rollout import step_environments
from qmix_jax.types import Array

SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_QUICK_SIZES = (1, 64)
_STEPS_PER_CALL = 2**20
_LONGEST_SCAN = 2**14
_NUMPY, _NUMPY_ALONE = "numpy", "numpy alone"


def random_actions(key: Array, num_envs: int) -> Array:
    """Draw uniform joint actions, int32[num_envs, 4], all four from the digits of one random word."""
    words = jax.random.bits(key, (num_envs, 1), jnp.uint32)  # its bias is below 1e-6
    digits = words // NUM_ACTIONS ** np.arange(NUM_AGENTS, dtype=np.uint32)[None] % np.uint32(NUM_ACTIONS)
    return digits.astype(jnp.int32)


def jax_steps(num_envs: int, length: int) -> Work:
    """Take `length` steps of `num_envs` environments in one compiled call that continues the last one."""
    environment = GridWorld25(mode="random")

    def step(carry: tuple[State, TimeStep], key: Array) -> tuple[tuple[State, TimeStep], Array]:
        action_key, env_key = jax.random.split(key)
        actions = random_actions(action_key, num_envs)
        env_state, time_step, stepped, _ = step_environments(environment, env_key, carry[0], actions)
        return (env_state, time_step), stepped.rewards.sum()

    def call(key: Array, carry: tuple[State, TimeStep]) -> tuple[Array, tuple[State, TimeStep], Array]:
        key, steps_key = jax.random.split(key)
        carry, rewards = jax.lax.scan(step, carry, jax.random.split(steps_key, length))
        return key, carry, rewards

    compiled = jax.jit(call, donate_argnums=(0, 1))
    reset_key, key = jax.random.split(jax.random.key(0))
    state = key, jax.vmap(environment.reset)(jax.random.split(reset_key, num_envs))

    def work() -> float:
        nonlocal state
        *state, rewards = compiled(*state)
        jax.block_until_ready((state, rewards))
        return num_envs * length

    return work


def numpy_steps(length: int, actions_beforehand: bool) -> Work:
    """Take `length` steps of one NumPy environment."""
    environment = NumpyGridWorld(seed=0)
    rng = np.random.default_rng(1)
    environment.reset()
    beforehand = rng.integers(0, NUM_ACTIONS, (length, NUM_AGENTS)).tolist()

    def work() -> float:
        for step in range(length):
            actions = beforehand[step] if actions_beforehand else rng.integers(0, NUM_ACTIONS, NUM_AGENTS).tolist()
            _, _, terminated, truncated = environment.step(actions)
            if terminated or truncated:
                environment.reset()
        return length

    return work


def measure(options: Options) -> dict[str, Any]:
    """Measure steps/s by number of environments, and the ratio to NumPy."""
    sizes = _QUICK_SIZES if options.quick else SIZES
    per_call, numpy_per_call = (2**8, 100) if options.quick else (_STEPS_PER_CALL, 4000)
    works = {
        _NUMPY: numpy_steps(numpy_per_call, actions_beforehand=False),
        _NUMPY_ALONE: numpy_steps(numpy_per_call, actions_beforehand=True),
    }
    works |= {str(size): jax_steps(size, max(1, min(per_call // size, _LONGEST_SCAN))) for size in sizes}
    rates = options.interleave(works)
    return {
        "numpy_steps_per_second": spread(rates[_NUMPY]),
        "numpy_alone_steps_per_second": spread(rates[_NUMPY_ALONE]),
        "environments": [
            {
                "num_envs": size,
                "steps_per_second": spread(rates[str(size)]),
                "ratio_to_numpy": ratio(rates[str(size)], rates[_NUMPY]),
                "ratio_to_numpy_alone": ratio(rates[str(size)], rates[_NUMPY_ALONE]),
            }
            for size in sizes
        ],
    }


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    rows = [
        ["NumPy, 1", figures["numpy_steps_per_second"], "1", ""],
        ["NumPy, 1, actions drawn beforehand", figures["numpy_alone_steps_per_second"], "", "1"],
    ]
    for row in figures["environments"]:
        name = f"JAX, {row['num_envs']:,}"
        rows.append([name, row["steps_per_second"], row["ratio_to_numpy"], row["ratio_to_numpy_alone"]])
    best = max(figures["environments"], key=lambda row: row["ratio_to_numpy"].median)
    return "\n\n".join(
        [
            f"## Environment\n\nRandom mode, auto-reset, observations, random actions, on {figures['cores']} core(s).",
            table(["environments", "steps/s", "times NumPy", "times NumPy without its draws"], rows),
            f"Best at {best['num_envs']:,} environments: {number(best['ratio_to_numpy'].median)} times NumPy "
            "(target: 100).",
        ]
    )


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Plot steps/s over environments."""
    rows, reference = figures["environments"], figures["numpy_steps_per_second"].median
    panel = Panel(
        title="",
        x_label="environments at once",
        y_label="environment steps/s (log scale)",
        sizes=[row["num_envs"] for row in rows],
        figures=[row["steps_per_second"] for row in rows],
        log=True,
        reference=(f"NumPy, one environment: {number(reference)} steps/s", reference),
    )
    draw(path, f"GridWorld25 in random mode, {figures['cores']} core of {machine()['cpu']}", [[panel]])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the curve as a PNG")
    arguments = parser.parse_args()
    cores = pin(1)
    enable_compilation_cache()
    figures = {"cores": cores, **measure(make_options(arguments, rounds=9, seconds=0.3))}
    finish(arguments, figures, describe(figures))
    if arguments.plot:
        plot(arguments.plot, figures)


if __name__ == "__main__":
    main()
