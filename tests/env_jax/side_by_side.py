"""An adapter and `env_jax` played side by side: what the adapters' tests share."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from env_jax import GridWorld25, State

# These programs run for milliseconds and compile for seconds: half of that without the compiler's optimisations.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@cache
def make_step(max_steps):
    """Return `env_jax`'s step, compiled, as a function of state and joint action."""
    step = quick_jit(GridWorld25(max_steps=max_steps).step)
    return lambda state, actions: step(jax.random.key(0), state, np.asarray(actions, np.int32))


def state_of(agents, foods):
    """Return the `env_jax` state at the start of an episode: agents (x, y), up to four foods (x, y) or (x, y, 1)."""
    cells = [tuple(food[:2]) for food in foods]
    return State(
        agent_positions=jnp.asarray(agents, jnp.int32),
        food_positions=jnp.asarray(cells + [(0, 0)] * (4 - len(cells)), jnp.int32),
        food_present=jnp.arange(4, dtype=jnp.int32) < len(cells),
        step_count=jnp.zeros((), jnp.int32),
    )


def start_from_observation(numbers):
    """Return the state that a start's observations, numbers[72] or [4, 18], show; all four foods are there."""
    views = np.asarray(numbers).reshape(4, 18)
    foods = [*views[0, 6:15].reshape(3, 3), views[1, 12:15]]  # agent 0 sees foods 0, 1, 2, agent 1 sees 1, 2, 3
    return state_of(views[:, :2], [food[:2] for food in foods])


def crowded_start(generator):
    """Return cells (x, y) of four agents and four foods in a square of 4 x 4: agents block each other, foods go."""
    cells = [(x, y) for x in range(4) for y in range(4)]
    return [cells[i] for i in generator.permutation(16)[:8]]
