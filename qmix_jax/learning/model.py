"""The networks of a run and their values over a batch of sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.algorithms import ALGORITHMS, make_central_mixer
from qmix_jax.learning.batch import Batch, Steps, flat
from qmix_jax.learning.time_limit import bootstraps_at_limit, mixer_sees_clock
from qmix_jax.networks.agents import Agents, make_agents
from qmix_jax.networks.mixers import Mixer, allowed_values, value_actions
from qmix_jax.networks.views import Views, make_views
from qmix_jax.types import Array, Params


class Networks(NamedTuple):
    """Agents, mixer and their inputs."""

    views: Views
    agents: Agents
    mixer: Mixer
    central_mixer: Mixer | None  # of Q*, which has agents of the same kind; None for unweighted algorithms


def make_networks(config: Config, spec: EnvSpec) -> Networks:
    """Build the networks of `config` for an environment with `spec`."""
    algorithm = ALGORITHMS[config.algorithm]
    squash = bootstraps_at_limit(config, spec)
    views = make_views(spec, config.encoding, mixer_sees_clock(config, spec), squash_state=squash)
    agents = make_agents(config, spec.num_agents, views.num_features, spec.num_actions)
    mixer = algorithm.make_mixer(config, spec, views.state_size)
    weighted = algorithm.weighting is not None
    return Networks(views, agents, mixer, make_central_mixer(config, spec, views.state_size) if weighted else None)


def init_params(networks: Networks, key: Array) -> Params:
    """Initialise {'agents': ..., 'mixer': ...}, and for Q* the same under 'central'."""
    agents_key, mixer_key, central_key = jax.random.split(key, 3)
    params = {"agents": networks.agents.init(agents_key), "mixer": networks.mixer.init(mixer_key)}
    central = central_networks(networks)
    if central is not None:
        params["central"] = init_params(central, central_key)
    return params


def central_networks(networks: Networks) -> Networks | None:
    """Return the networks of Q*, or None without one."""
    if networks.central_mixer is None:
        return None
    return networks._replace(mixer=networks.central_mixer, central_mixer=None)


def learned_values(config: Config, networks: Networks, params: Params, batch: Batch) -> Array:
    """Return the agents' values at the learned steps. float32[N, B * K, A]."""
    if not networks.agents.memory_size:
        return step_values(networks, params, batch.first)
    values, _ = unroll_sequences(networks, params, batch, config.learned_steps)
    return values.reshape(values.shape[0], -1, values.shape[-1])


@jax.named_scope("agents")
def unroll_sequences(networks: Networks, params: Params, batch: Batch, steps: slice) -> tuple[Array, Array]:
    """Unroll the agents; return their values at `steps` of all sequences, float32[N, B, K, A], and hidden states."""
    start = 0 if networks.agents.memory_size else steps.start
    features, done = batch.features[:, :, start : steps.stop], batch.done[:, start : steps.stop]
    begins = jnp.concatenate([jnp.zeros_like(done[:, :1]), done[:, :-1]], axis=1)
    memory = batch.memory
    if memory is None:
        memory = jnp.zeros((begins.shape[0], features.shape[0], networks.agents.memory_size))
    return networks.agents.unroll(params["agents"], features, begins, memory, steps.start - start)


@jax.named_scope("agents")
def step_values(networks: Networks, params: Params, steps: Steps) -> Array:
    """Return the values of agents without memory at `steps`. float32[N, B * K, A]."""
    values, _ = networks.agents.step(params["agents"], steps.features, jnp.zeros(0))
    return values


@jax.named_scope("mixer")
def mix_steps(networks: Networks, params: Params, q_values: Array, steps: Steps, actions: Array, reading: Any) -> Array:
    """Mix the agents' values float32[N, B * K, A] of actions int[B, K, N] at `steps`. float32[B, K, V].

    `reading` is what the mixer reads of the states there, see `read_states`.
    """
    num_sequences, length, _ = actions.shape
    values = value_actions(q_values, flat(actions).T, steps.action_mask)
    return networks.mixer.mix(params["mixer"], values, reading).reshape(num_sequences, length, -1)


@jax.named_scope("mixer")
def read_states(networks: Networks, params: Params, steps: Steps) -> Any:
    """Return what the mixer reads of the states at `steps`."""
    return networks.mixer.read(params["mixer"], steps.states)


@jax.named_scope("agents")
def greedy_actions(q_values: Array, steps: Steps) -> Array:
    """Return the agents' greedy allowed actions at `steps`, from values float32[N, B * K, A]. int[B, K, N]."""
    actions = jnp.argmax(allowed_values(q_values, steps.action_mask), axis=-1)
    return actions.T.reshape(steps.actions.shape).astype(steps.actions.dtype)
