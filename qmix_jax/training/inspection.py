"""Network outputs along recorded episodes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec, TimeStep
from qmix_jax.config import Config
from qmix_jax.learning.model import make_networks
from qmix_jax.networks.mixers import value_actions
from qmix_jax.types import Array, Params


class Activations(NamedTuple):
    """Network outputs at T steps of R episodes; None for those that the algorithm does not have."""

    q_values: Array  # float32[T, R, N, A]
    q_tot: Array | None  # float32[T, R], of the actions taken
    weights: Array | None  # float32[T, R, N], d q_tot / d q_i at the actions taken
    state_value: Array | None  # float32[T, R], the mixer's V(s)


def inspect(config: Config, spec: EnvSpec, params: Params, time_steps: TimeStep, actions: Array) -> Activations:
    """Unroll the networks over episodes, from their first steps.

    Args:
        config: of the run.
        spec: of its environment.
        params: of its networks.
        time_steps: the agents' observations, [T, R, ...].
        actions: the actions taken, int[T, R, N].
    """
    networks = make_networks(config, spec)

    def step(memory: Array, seen: tuple[TimeStep, Array, Array]) -> tuple[Array, Activations]:
        time_step, taken, elapsed = seen
        features = networks.views.agents(time_step.observations)
        q_values, memory = networks.agents.step(params["agents"], features, memory)
        values = value_actions(q_values, taken.T, time_step.action_mask if spec.masks_actions else None)
        states = networks.views.mixer(
            time_step.observations, time_step.state, jnp.broadcast_to(elapsed, taken.shape[:1])
        )

        def mix(chosen: Array) -> tuple[Array, Array]:
            mixed = networks.mixer.apply(params["mixer"], values._replace(chosen=chosen), states)
            return jnp.sum(mixed), mixed

        weights, mixed = jax.grad(mix, has_aux=True)(values.chosen)
        q_values = jnp.swapaxes(q_values, 0, 1)
        if mixed.shape[1] > 1:  # independent agents
            return memory, Activations(q_values, None, None, None)
        state_value = networks.mixer.state_value
        value = None if state_value is None else state_value(networks.mixer.read(params["mixer"], states))
        return memory, Activations(q_values, mixed[:, 0], weights, value)

    length, num_episodes, num_agents = actions.shape
    memory = jnp.zeros((num_episodes, num_agents, networks.agents.memory_size))
    _, activations = jax.lax.scan(step, memory, (time_steps, actions, jnp.arange(length)))
    return activations
