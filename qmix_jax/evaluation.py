"""Greedy evaluation on environments of its own, measured against the best possible return of the same starts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from env_jax.types import Environment, EnvSpec, TimeStep
from qmix_jax.exploration import random_action
from qmix_jax.selection import select
from qmix_jax.types import Array, Evaluation

SCORE_DISCOUNT = 0.95  # whatever gamma trains, so that runs compare

# Folded into a run's key; far from the small numbers that `split` uses.
_EVALUATION_STREAM = 0x6576616C

# (key, TimeStep batched over K, memory) -> int32[K, N], new memory
Policy = Callable[[Array, TimeStep, Any], tuple[Array, Any]]


def evaluation_key(run_key: Array) -> Array:
    """The key of every evaluation of a run: the same starts each time."""
    return jax.random.fold_in(run_key, _EVALUATION_STREAM)


def evaluate(
    environment: Environment,
    policy: Policy,
    key: Array,
    num_episodes: int,
    gamma: float = SCORE_DISCOUNT,
    memory: Any = (),
) -> Evaluation:
    """Play `num_episodes` episodes at once, from one reset each until all have ended.

    `gamma` is the discount that trained the policy; only `q_bound` reads it. `memory` is what the policy begins with.
    """
    spec = environment.spec
    reset_key, play_key = jax.random.split(key)
    starts, first = jax.vmap(environment.reset)(jax.random.split(reset_key, num_episodes))
    zeros = jnp.zeros(num_episodes, jnp.float32)
    carry = (play_key, jnp.zeros((), jnp.int32), starts, first, memory, zeros, zeros, zeros > 0.0)

    def unfinished(carry: tuple[Any, ...]) -> Array:
        return jnp.any(~carry[-1]) & (carry[1] < spec.max_steps)  # the limit, should the environment not keep it

    def play(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        key, step, states, time_steps, memory, returns, lengths, finished = carry
        key, policy_key, step_key = jax.random.split(key, 3)
        actions, memory = policy(policy_key, time_steps, memory)
        next_states, next_steps = jax.vmap(environment.step)(jax.random.split(step_key, num_episodes), states, actions)
        reward = jnp.where(finished, 0.0, jnp.sum(next_steps.rewards, axis=-1))
        returns = returns + SCORE_DISCOUNT ** step.astype(jnp.float32) * reward
        lengths = lengths + jnp.where(finished, 0.0, 1.0)

        states, time_steps = select(finished, (states, time_steps), (next_states, next_steps))
        ended = time_steps.terminated | time_steps.truncated
        return key, step + 1, states, time_steps, memory, returns, lengths, ended

    _, _, final_states, final_steps, _, returns, lengths, _ = jax.lax.while_loop(unfinished, play, carry)
    mean_return = jnp.mean(returns)
    best_return = q_bound = jnp.full((), jnp.nan)
    if spec.best_return is not None:
        # Both discounts by one vmap: the planner is a large program.
        of_starts = jax.vmap(jax.vmap(spec.best_return, in_axes=(0, None)), in_axes=(None, 0))
        best_return, q_bound = jnp.mean(of_starts(starts, jnp.array([SCORE_DISCOUNT, gamma], jnp.float32)), axis=-1)
    extra = jax.vmap(spec.episode_metrics)(final_states) if spec.episode_metrics is not None else {}
    return Evaluation(
        mean_return=mean_return,
        best_return=best_return,
        q_bound=q_bound,
        optimality=mean_return / best_return,
        solved=jnp.mean(final_steps.terminated.astype(jnp.float32)),
        mean_length=jnp.mean(lengths),
        extra={name: jnp.mean(values) for name, values in extra.items()},
    )


def evaluate_baseline(environment: Environment, key: Array, num_episodes: int) -> Evaluation:
    """Play a policy that learnt nothing, from the starts that `evaluate` has for this key.

    The environment's own (`spec.baseline_policy`), or where it has none, uniformly random allowed actions.
    """
    baseline = environment.spec.baseline_policy

    def policy(key: Array, time_step: TimeStep, memory: Any) -> tuple[Array, Any]:
        if baseline is not None:
            return jax.vmap(baseline)(jax.random.split(key, num_episodes), time_step.observations), memory
        uniforms = jax.random.uniform(key, time_step.action_mask.shape[:-1])
        return jax.vmap(jax.vmap(random_action))(uniforms, time_step.action_mask), memory

    return evaluate(environment, policy, key, num_episodes)


def baseline_name(spec: EnvSpec) -> str:
    """What the policy of `evaluate_baseline` is called."""
    return "random actions" if spec.baseline_policy is None else spec.baseline_name


def extra_names(environment: Environment) -> tuple[str, ...]:
    """Names in `Evaluation.extra`, in its order."""
    if environment.spec.episode_metrics is None:
        return ()
    state, _ = jax.eval_shape(environment.reset, jax.random.key(0))
    return tuple(jax.eval_shape(environment.spec.episode_metrics, state))
