"""The optimiser step on a flat parameter vector, the learning rate decay, and target network updates."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from qmix_jax.config import Config
from qmix_jax.learning.selection import select
from qmix_jax.types import Array, Schedule

# Learning rate above its final value, from the remaining fraction of the decay.
_SHAPES: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "constant": jnp.ones_like,
        "linear": lambda left: left,
        "quadratic": jnp.square,
        "cosine": lambda left: 0.5 * (1.0 - jnp.cos(jnp.pi * left)),
    }
)


def initial_schedule(config: Config) -> Schedule:
    """Return the schedule of a new run: decay over all its updates."""
    return Schedule(start=jnp.int32(0), left=jnp.float32(1.0), end=jnp.int32(config.total_updates))


def share_left(schedule: Schedule, updates: Array) -> Array:
    """Return the remaining fraction of the decay after int32[] `updates`: 1 at the start, 0 at the end. float32[]."""
    length = jnp.maximum(schedule.end - schedule.start, 1).astype(jnp.float32)
    made = (updates - schedule.start).astype(jnp.float32)
    return schedule.left * (1.0 - jnp.clip(made / length, 0.0, 1.0))


def learning_rate(config: Config, schedule: Schedule, updates: Array) -> Array:
    """Return the learning rate after int32[] `updates`. float32[]."""
    left = share_left(schedule, updates)
    end = config.lr_end_fraction
    if config.lr_schedule == "exponential":
        return config.lr * end ** (1.0 - left)
    lowest = config.lr * end
    return lowest + (config.lr - lowest) * _SHAPES[config.lr_schedule](left)


def extend_schedule(schedule: Schedule, updates: Array, end: int) -> Schedule:
    """Continue the decay from its value after int32[] `updates` to a new last update `end`."""
    return Schedule(start=updates, left=share_left(schedule, updates), end=jnp.int32(end))


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Build the gradient transformation: global-norm clipping, weight decay and direction, without learning rate.

    Weight decay is L2 regularisation in the gradient, as in PyTorch's optimisers, except for AdamW (Loshchilov & Hutter
    2019, algorithm 2). All of it is elementwise, so it works on one flat vector of all parameters.
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


@jax.named_scope("optimizer")
def step_parameters(
    config: Config, schedule: Schedule, updates: Array, usable: Array, gradient: Array, state: Any, params: Array
) -> tuple[Array, Any]:
    """Take one optimiser step along a gradient; return parameters and state, unchanged if not usable.

    Args:
        config: selects the optimiser and learning rate.
        schedule: progress of the learning rate decay.
        updates: int32[], updates before this one.
        usable: bool[], whether to apply the step.
        gradient: float32[P].
        state: optimiser state for float32[P].
        params: float32[P].
    """
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to its int32 step count
        direction, new_state = make_optimizer(config).update(gradient, state, params)
    stepped = params - learning_rate(config, schedule, updates) * direction
    return select(usable, (stepped, new_state), (params, state))


def copy_targets(config: Config, updates: Array, usable: Array, params: Array, target_params: Array) -> Array:
    """Update the target parameters float32[P] after int32[] `updates`: a hard or soft copy every interval."""
    due = usable & (updates % config.target_update_interval == 0)
    return select(due, _move_towards(params, target_params, config.target_tau), target_params)


def _move_towards(params: Array, target_params: Array, tau: float | Array) -> Array:
    """Move the target parameters towards `params` by the fraction `tau`; 1 is a copy."""
    if isinstance(tau, float) and tau == 1.0:
        return params
    return optax.incremental_update(params, target_params, tau)
