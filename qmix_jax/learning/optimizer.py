"""One step of an optimiser on one flat vector of parameters, its learning rate, and the target network's copies."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from qmix_jax.config import Config
from qmix_jax.learning.selection import select
from qmix_jax.types import Array, Params, Schedule

# Height of the decay over its end, from what is left of it.
_SHAPES: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "constant": jnp.ones_like,
        "linear": lambda left: left,
        "quadratic": jnp.square,
        "cosine": lambda left: 0.5 * (1.0 - jnp.cos(jnp.pi * left)),
    }
)


def initial_schedule(config: Config) -> Schedule:
    """The decay of a new run: over all its updates."""
    return Schedule(start=jnp.int32(0), left=jnp.float32(1.0), end=jnp.int32(config.total_updates))


def share_left(schedule: Schedule, updates: Array) -> Array:
    """What is left of the decay after int32[] `updates`, from 1 at a run's start to 0 at its end. float32[]."""
    length = jnp.maximum(schedule.end - schedule.start, 1).astype(jnp.float32)
    made = (updates - schedule.start).astype(jnp.float32)
    return schedule.left * (1.0 - jnp.clip(made / length, 0.0, 1.0))


def learning_rate(config: Config, schedule: Schedule, updates: Array) -> Array:
    """Step size of the update that follows int32[] `updates` others. float32[]."""
    left = share_left(schedule, updates)
    end = config.lr_end_fraction
    if config.lr_schedule == "exponential":
        return config.lr * end ** (1.0 - left)
    lowest = config.lr * end
    return lowest + (config.lr - lowest) * _SHAPES[config.lr_schedule](left)


def extend_schedule(schedule: Schedule, updates: Array, end: int) -> Schedule:
    """Go on from where the decay stands after int32[] `updates`, towards another last update."""
    return Schedule(start=updates, left=share_left(schedule, updates), end=jnp.int32(end))


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Global-norm clipping, weight decay and the optimiser's direction; not the learning rate.

    Weight decay is L2 in the gradient, as PyTorch's optimisers have it, but for AdamW (Loshchilov & Hutter 2019,
    algorithm 2). Elementwise all of it, so it works on one flat vector of all parameters: a few large operations.
    """
    directions = {
        "adam": optax.scale_by_adam(eps=config.optimizer_epsilon),
        "adamw": optax.scale_by_adam(eps=config.optimizer_epsilon),
        "radam": optax.scale_by_radam(eps=config.optimizer_epsilon),
        "rmsprop": optax.scale_by_rms(decay=0.99, eps=config.optimizer_epsilon, eps_in_sqrt=False),
    }
    steps = [optax.add_decayed_weights(config.weight_decay), directions[config.optimizer]]
    if config.optimizer == "adamw":
        steps.reverse()
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), *steps)


def step_parameters(
    config: Config, schedule: Schedule, updates: Array, usable: Array, gradient: Array, state: Any, params: Params
) -> tuple[Params, Any]:
    """Parameters and optimiser's state after one step along a flat gradient; as they were where it is not usable.

    Args:
        config: names the optimiser and its learning rate.
        schedule: where the learning rate's decay stands.
        updates: int32[], updates before this one.
        usable: bool[], whether the step may be made.
        gradient: float32[P], over all parameters as `ravel_pytree` lays them out.
        state: the optimiser's, for float32[P].
        params: of P numbers in all.
    """
    flat, unravel = ravel_pytree(params)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to its int32 step count
        direction, new_state = make_optimizer(config).update(gradient, state, flat)
    stepped = flat - learning_rate(config, schedule, updates) * direction
    # One flat vector, read and written in any case: to choose costs nothing.
    flat, state = select(usable, (stepped, new_state), (flat, state))
    return unravel(flat), state


def copy_targets(config: Config, updates: Array, usable: Array, params: Params, target_params: Params) -> Params:
    """Target parameters after int32[] `updates`: a copy, whole or in part, is due at every interval."""
    # A loop of one turn, or none: a select would read and write all parameters in every update.
    copies = (updates % config.target_update_interval == 0).astype(jnp.int32)
    return jax.lax.fori_loop(
        0, copies, lambda _, old: select(usable, _move_towards(params, old, config.target_tau), old), target_params
    )


def _move_towards(params: Params, target_params: Params, tau: float | Array) -> Params:
    """The target parameters, moved by the share `tau` of their distance to `params`; at 1 a copy."""
    if isinstance(tau, float) and tau == 1.0:
        return params
    return optax.incremental_update(params, target_params, tau)
