"""Measure the steps per second of every adapter on one core: `python benchmarks/adapters.py`.

Random starts, uniformly random joint actions, a reset at every end of an episode. Single environments are stepped in a
plain Python loop; the target for the drop-in is the reference's speed there.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from environment import random_actions
from measuring import Options, Work, finish, make_options, make_parser, number, pin, spread, table

from env_jax import GridWorld25
from env_jax.adapters.expert_rl import GridWorld25v0
from env_jax.adapters.gymnasium_vector import GridWorldVectorEnv
from env_jax.adapters.pettingzoo import parallel_env
from env_jax.gridworld.constants import NUM_ACTIONS, NUM_AGENTS
from qmix_jax.runs.compilation import enable_compilation_cache

REFERENCE = 47_000  # steps/s of the reference on one core, random mode
VECTOR_SIZES = (1, 64, 4096)
_JAXMARL_SIZE, _JAXMARL_LENGTH = 4096, 64
_DROP_IN = "expert_rl, actions drawn beforehand"


def loop(step: Callable[[list[int]], bool], reset: Callable[[], Any], length: int, beforehand: bool = True) -> Work:
    """Take `length` steps of one environment; `step` returns whether the episode is over."""
    rng = np.random.default_rng(0)
    actions = rng.integers(0, NUM_ACTIONS, (length, NUM_AGENTS)).tolist()
    reset()

    def work() -> float:
        for t in range(length):
            if step(actions[t] if beforehand else rng.integers(0, NUM_ACTIONS, NUM_AGENTS).tolist()):
                reset()
        return length

    return work


def expert_rl(length: int, beforehand: bool) -> Work:
    """Measure the drop-in."""
    env = GridWorld25v0(mode="mode_1")

    def step(actions: list[int]) -> bool:
        _, _, terminated, truncated, _ = env.step(actions)
        return terminated or truncated

    return loop(step, env.reset, length, beforehand)


def pettingzoo(length: int) -> Work:
    """Measure the parallel environment."""
    env = parallel_env("random")

    def step(actions: list[int]) -> bool:
        env.step(dict(zip(env.agents, actions, strict=True)))
        return not env.agents

    return loop(step, env.reset, length)


def one_compiled(length: int) -> Work:
    """Call `env_jax`'s compiled step for one environment: what the adapters above would cost with JAX."""
    environment, key = GridWorld25("random"), jax.random.key(0)
    begin, advance = jax.jit(environment.reset), jax.jit(environment.step)
    state = None

    def reset() -> None:
        nonlocal state
        state, _ = begin(key)

    def step(actions: list[int]) -> bool:
        nonlocal state
        state, shown = advance(key, state, np.array(actions, np.int32))
        shown = jax.device_get(shown)
        return bool(shown.terminated or shown.truncated)

    return loop(step, reset, length)


def gymnasium_vector(num_envs: int, length: int) -> Work:
    """Make `length` calls of the vector environment; steps that are resets count too."""
    env = GridWorldVectorEnv(num_envs, "random")
    actions = np.random.default_rng(0).integers(0, NUM_ACTIONS, (length, num_envs, NUM_AGENTS), np.int32)
    env.reset(seed=0)

    def work() -> float:
        for joint_actions in actions:
            env.step(joint_actions)
        return num_envs * length

    return work


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect file descriptor 1: JaxMARL prints on import and restores `sys.stdout`, and our output is Markdown."""
    kept = os.dup(1)
    os.dup2(2, 1)
    yield
    sys.stdout.flush()
    os.dup2(kept, 1)
    os.close(kept)


def jaxmarl(num_envs: int, length: int) -> Work:
    """Take `length` steps of many environments in one compiled scan, as JaxMARL's trainers do."""
    with stdout_to_stderr():
        from env_jax.adapters.jaxmarl import JaxMARLGridWorld
    env = JaxMARLGridWorld("random")

    def step(state: Any, key: jax.Array) -> tuple[Any, Any]:
        action_key, step_key = jax.random.split(key)
        actions = dict(zip(env.agents, random_actions(action_key, num_envs).T, strict=True))
        observations, state, rewards, _, _ = jax.vmap(env.step)(jax.random.split(step_key, num_envs), state, actions)
        return state, (observations["world_state"].sum(), rewards[env.agents[0]].sum())

    run = jax.jit(lambda state, key: jax.lax.scan(step, state, jax.random.split(key, length)))
    _, state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), num_envs))
    key = jax.random.key(1)

    def work() -> float:
        nonlocal state, key
        key, run_key = jax.random.split(key)
        state, sums = run(state, run_key)
        jax.block_until_ready((state, sums))
        return num_envs * length

    return work


def measure(options: Options) -> list[dict[str, Any]]:
    """Measure steps/s by adapter."""
    length = 100 if options.quick else 4000
    works = {
        _DROP_IN: expert_rl(length, beforehand=True),
        "expert_rl, actions drawn step by step": expert_rl(length, beforehand=False),
        "pettingzoo": pettingzoo(length),
        "(env_jax's compiled step for one environment)": one_compiled(length // 10),
    }
    for size in VECTOR_SIZES[: 1 if options.quick else None]:
        works[f"gymnasium_vector, {size:,}"] = gymnasium_vector(size, 20)
    size = 4 if options.quick else _JAXMARL_SIZE
    works[f"jaxmarl, {size:,}, in one scan"] = jaxmarl(size, _JAXMARL_LENGTH)
    return [{"adapter": name, "steps_per_second": spread(rates)} for name, rates in options.interleave(works).items()]


def describe(cores: int, rows: list[dict[str, Any]]) -> str:
    """Format the figures as Markdown."""
    drop_in = next(row["steps_per_second"] for row in rows if row["adapter"] == _DROP_IN)
    return "\n\n".join(
        [
            f"## Adapters\n\nRandom starts, random actions, reset at every end, on {cores} core(s).",
            table(["adapter", "steps/s"], [[row["adapter"], row["steps_per_second"]] for row in rows]),
            f"The drop-in makes {number(drop_in.median / REFERENCE)} times the reference's {REFERENCE:,} steps/s "
            "(target: 1).",
        ]
    )


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    cores = pin(1)
    enable_compilation_cache()
    rows = measure(make_options(arguments, rounds=5, seconds=0.5))
    finish(arguments, {"cores": cores, "adapters": rows}, describe(cores, rows))


if __name__ == "__main__":
    main()
