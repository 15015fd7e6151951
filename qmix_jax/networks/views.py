"""Network inputs: encoded observations for the agents, encoded state and clock for the mixer."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.types import Array


class Views(NamedTuple):
    """Inputs of the networks, batched over B."""

    agents: Callable[[Array], Array]  # observations [B, N, O], any dtype -> float32[N, B, F]
    mixer: Callable[[Array, Array | None, Array], Array]  # (observations, state, elapsed) -> float32[B, G]
    num_features: int  # F
    state_size: int  # G


def make_views(spec: EnvSpec, encoding: str, state_clock: bool, squash_state: bool = False) -> Views:
    """Build the networks' inputs. `encoding` 'env' applies the environment's feature maps, 'raw' none.

    `state_clock` appends the elapsed fraction of the episode to the mixer's state: without a clock, a penalty at the
    time limit cannot be predicted, and Q diverges.

    `squash_state` maps the mixer's state to sign(x) log(1 + |x|) (symlog, Hafner et al. 2023, eq. 10). Hypernetworks
    extrapolate linearly: without terminal states to ground them, values of distant states grow faster than the discount
    shrinks them. (LayerNorm bounds how far agents extrapolate.)
    """
    encoded = encoding == "env"
    encode_observations = (encoded and spec.encode_observations) or _identity
    encode_state = (encoded and spec.encode_state) or _identity

    def agents(observations: Array) -> Array:
        features = jax.vmap(encode_observations)(observations.astype(jnp.float32))
        return jnp.swapaxes(features, 0, 1)

    def one_mixer_state(observations: Array, state: Array | None, elapsed: Array) -> Array:
        if state is None:
            assert spec.state_from_observations is not None  # otherwise replay stores the state
            state = spec.state_from_observations(observations.astype(jnp.float32))
        features = encode_state(state)
        if squash_state:
            features = jnp.sign(features) * jnp.log1p(jnp.abs(features))
        if not state_clock:
            return features
        clock = elapsed.astype(jnp.float32) / spec.max_steps
        return jnp.concatenate([features, clock[None]])

    mixer = jax.vmap(one_mixer_state)
    observations = jax.ShapeDtypeStruct((1, spec.num_agents, spec.observation_size), jnp.float32)
    state = None if spec.state_from_observations else jax.ShapeDtypeStruct((1, spec.state_size), jnp.float32)
    elapsed = jax.ShapeDtypeStruct((1,), jnp.int32)
    return Views(
        agents=agents,
        mixer=mixer,
        num_features=jax.eval_shape(agents, observations).shape[-1],
        state_size=jax.eval_shape(mixer, observations, state, elapsed).shape[-1],
    )


def _identity(numbers: Array) -> Array:
    return numbers
