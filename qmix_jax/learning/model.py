"""The networks of a run and their values over a batch of sequences."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.algorithms import ALGORITHMS, make_central_mixer
from qmix_jax.learning.devices import mean_over_devices
from qmix_jax.learning.time_limit import bootstraps_at_limit, mixer_sees_clock
from qmix_jax.networks.agents import Agents, make_agents
from qmix_jax.networks.mixers import Mixer, allowed_values, value_actions
from qmix_jax.networks.views import Views, make_views
from qmix_jax.types import Array, Cuts, Params, Transition


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


def sequence_values(networks: Networks, params: Params, batch: Transition, steps: slice) -> Array:
    """Unroll the agents and return their values at `steps` of all sequences. float32[N, B * K, A]."""
    values, _ = unroll_sequences(networks, params, batch, steps)
    return values.reshape(values.shape[0], -1, values.shape[-1])


def unroll_sequences(networks: Networks, params: Params, batch: Transition, steps: slice) -> tuple[Array, Array]:
    """Unroll the agents; return their values at `steps` of all sequences, float32[N, B, K, A], and hidden states."""
    views, agents = networks.views, networks.agents
    start = 0 if agents.memory_size else steps.start
    observations, done = batch.observations[:, start : steps.stop], batch.done[:, start : steps.stop]
    features = views.agents(flat(observations))
    features = features.reshape(-1, *done.shape, views.num_features)
    begins = jnp.concatenate([jnp.zeros_like(done[:, :1]), done[:, :-1]], axis=1)
    return agents.unroll(params["agents"], features, begins, steps.start - start)


def mix_steps(networks: Networks, params: Params, q_values: Array, steps: Transition, actions: Array) -> Array:
    """Mix the agents' values float32[N, B * K, A] of actions int[B, K, N] at `steps`. float32[B, K, V]."""
    num_sequences, length, _ = actions.shape
    rows: Transition = jax.tree.map(flat, steps)
    values = value_actions(q_values, flat(actions).T, rows.action_mask)
    states = networks.views.mixer(rows.observations, rows.state, rows.elapsed)
    return networks.mixer.apply(params["mixer"], values, states).reshape(num_sequences, length, -1)


def greedy_actions(q_values: Array, steps: Transition) -> Array:
    """Return the agents' greedy allowed actions at `steps`, from values float32[N, B * K, A]. int[B, K, N]."""
    action_mask = None if steps.action_mask is None else flat(steps.action_mask)
    actions = jnp.argmax(allowed_values(q_values, action_mask), axis=-1)
    return actions.T.reshape(steps.actions.shape).astype(steps.actions.dtype)


def take_steps(batch: Transition, steps: slice) -> Transition:
    """Slice the time axis of all sequences: [B, T, ...] -> [B, K, ...]."""
    return jax.tree.map(lambda x: x[:, steps], batch)


def flat(x: Array) -> Array:
    """Merge the sequence and time axes: [B, K, ...] -> [B * K, ...]."""
    return x.reshape(-1, *x.shape[2:])


def learned_step_weights(config: Config, batch: Transition, cuts: Cuts | None) -> Array | None:
    """Weights that restrict means over all learned steps to those trained on, float32[B, K, 1]; None: all are.

    Excluded are steps whose final step is no longer stored, and in sequences that begin with an episode
    (`--sequence_start episode`) the steps after its end. The others weigh alike and have mean 1 over all devices'
    batches.
    """
    included = None if cuts is None else cuts.known
    if config.sequence_start == "episode":
        done = batch.done[:, config.learned_steps]
        ended = jnp.cumsum(done, axis=1) - done.astype(jnp.int32) > 0
        # Before a whole episode is stored, replay gives sequences that do not begin with one.
        within = ~ended & (batch.elapsed[:, :1] == 0)
        included = within if included is None else included & within
    if included is None:
        return None
    flags = included.astype(jnp.float32)[..., None]
    return flags / jnp.maximum(mean_over_devices(jnp.mean(flags), config.num_devices), 1e-6)
