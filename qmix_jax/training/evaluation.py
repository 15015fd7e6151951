"""Evaluation of a policy on separate episodes: results per episode, or their means."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import Environment, EnvSpec, TimeStep
from qmix_jax.learning.devices import mean_over_devices, own_share
from qmix_jax.learning.learner import Learner
from qmix_jax.learning.selection import select
from qmix_jax.training.exploration import greedy_action, random_action
from qmix_jax.training.pinning import pinned, seed_key
from qmix_jax.types import Array, Evaluation, Params

SCORE_DISCOUNT = 0.95  # whatever gamma is used for training, so that runs are comparable

# Folded into a run's key; far from the small numbers that `split` uses.
_EVALUATION_STREAM = 0x6576616C

# (key, TimeStep batched over K, recurrent state) -> actions int32[K, N], new recurrent state
Policy = Callable[[Array, TimeStep, Any], tuple[Array, Any]]


class PlayedEpisodes(NamedTuple):
    """Results of K complete episodes."""

    starts: Any  # environment states after reset, batched over K
    first: TimeStep  # first time steps, batched over K
    memory: Any  # the policy's recurrent state after the last step of the longest episode
    returns: Array  # float32[K], discounted team return at SCORE_DISCOUNT
    lengths: Array  # float32[K], steps
    solved: Array | None  # float32[K], 1 if the episode achieved its goal, else 0; None without `spec.success`
    extra: dict[str, Array]  # float32[K] each, the environment's own metrics by name


class BaselineReturns(NamedTuple):
    """Mean returns of untrained policies from the same starts."""

    own: Array | float  # float32[], of `baseline_policy`
    random: Array | float  # float32[], of `random_policy`


def evaluation_key(run_key: Array) -> Array:
    """Return the key of every evaluation of a run, so that all have the same starts."""
    return jax.random.fold_in(run_key, _EVALUATION_STREAM)


@pinned()
def evaluate(
    environment: Environment,
    policy: Policy,
    key: Array,
    num_episodes: int,
    gamma: float = SCORE_DISCOUNT,
    memory: Any = (),
    num_devices: int = 1,
) -> Evaluation:
    """Play `num_episodes` episodes with `play_episodes` and return means over them.

    `gamma` is the training discount; only `q_bound` depends on it.
    """
    played = play_episodes(environment, policy, key, num_episodes, memory, num_devices)

    def mean(values: Array) -> Array:
        return mean_over_devices(jnp.mean(values, axis=-1), num_devices)

    mean_return, best_return, q_bound = mean(played.returns), None, None

    # One vmap over both discounts: the planner is a large program.
    discounts = jnp.array([SCORE_DISCOUNT, gamma], jnp.float32)
    best = best_returns(environment, played.starts, discounts)
    if best is not None:
        best_return, q_bound = mean(best)
    return Evaluation(
        mean_return=mean_return,
        best_return=best_return,
        q_bound=q_bound,
        optimality=None if best_return is None else share_of_best(mean_return, best_return),
        solved=None if played.solved is None else mean(played.solved),
        mean_length=mean(played.lengths),
        extra={name: mean(values) for name, values in played.extra.items()},
    )


def share_of_best(mean_return: Array, best_return: Array) -> Array:
    """Return `mean_return / best_return`, NaN unless `best_return` is above 0. float32[], float32[] -> float32[].

    With a negative best return, a worse policy would have a larger ratio.
    """
    has_share = best_return > 0.0
    return jnp.where(has_share, mean_return / jnp.where(has_share, best_return, 1.0), missing_value())


def missing_value() -> Array:
    """Return the placeholder of a missing value: NaN, or 0 under JAX_DEBUG_NANS, which rejects every NaN. float32[]."""
    config: Any = jax.config
    return jnp.full((), 0.0 if config.jax_debug_nans else jnp.nan, jnp.float32)


@pinned()
def play_episodes(
    environment: Environment, policy: Policy, key: Array, num_episodes: int, memory: Any = (), num_devices: int = 1
) -> PlayedEpisodes:
    """Play `num_episodes` episodes in parallel, each from one reset until all have ended.

    `memory` is the policy's initial recurrent state. With several devices, each plays its share, and `memory` and K are
    local; the environments' random numbers do not depend on the number of devices, a stochastic policy's do.
    """
    spec = environment.spec

    def episode_keys(key: Array) -> Array:
        return own_share(jax.random.split(key, num_episodes), num_devices)

    reset_key, play_key = jax.random.split(key)
    starts, first = jax.vmap(environment.reset)(episode_keys(reset_key))
    zeros = jnp.zeros(num_episodes // num_devices, jnp.float32)
    carry = (play_key, jnp.zeros((), jnp.int32), starts, first, memory, zeros, zeros, zeros > 0.0)

    def unfinished(carry: tuple[Any, ...]) -> Array:
        return jnp.any(~carry[-1]) & (carry[1] < spec.max_steps)  # in case the environment ignores its limit

    def play(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        key, step, states, time_steps, memory, returns, lengths, finished = carry
        key, policy_key, step_key = jax.random.split(key, 3)
        actions, memory = policy(policy_key, time_steps, memory)
        next_states, next_steps = jax.vmap(environment.step)(episode_keys(step_key), states, actions)
        reward = jnp.where(finished, 0.0, jnp.sum(next_steps.rewards, axis=-1))
        returns = returns + SCORE_DISCOUNT ** step.astype(jnp.float32) * reward
        lengths = lengths + jnp.where(finished, 0.0, 1.0)

        states, time_steps = select(finished, (states, time_steps), (next_states, next_steps))
        ended = time_steps.terminated | time_steps.truncated
        return key, step + 1, states, time_steps, memory, returns, lengths, ended

    _, _, final_states, _, memory, returns, lengths, _ = jax.lax.while_loop(unfinished, play, carry)
    return PlayedEpisodes(
        starts=starts,
        first=first,
        memory=memory,
        returns=returns,
        lengths=lengths,
        solved=jax.vmap(spec.success)(final_states).astype(jnp.float32) if spec.success is not None else None,
        extra=jax.vmap(spec.episode_metrics)(final_states) if spec.episode_metrics is not None else {},
    )


@pinned()
def step_keys(key: Array, length: int, num_episodes: int) -> Array:
    """Return the keys that `play_episodes` gives to the environments' steps, on one device: [length, num_episodes]."""

    def step(key: Array, _: None) -> tuple[Array, Array]:
        key, _policy_key, step_key = jax.random.split(key, 3)
        return key, jax.random.split(step_key, num_episodes)

    return jax.lax.scan(step, jax.random.split(key)[1], length=length)[1]


def best_returns(environment: Environment, starts: Any, discounts: Array) -> Array | None:
    """Return the best possible returns from K states at discounts float32[D]. float32[D, K], or None if unknown."""
    best_return = environment.spec.best_return
    if best_return is None:
        return None
    return jax.vmap(jax.vmap(best_return, in_axes=(0, None)), in_axes=(None, 0))(starts, discounts)


def greedy_policy(learner: Learner, params: Params) -> Policy:
    """Build the greedy policy over allowed actions. Its initial recurrent state is `learner.init_memory(K)`."""

    def policy(_: Array, time_step: TimeStep, memory: Array) -> tuple[Array, Array]:
        q_values, memory = learner.q_values(params, time_step.observations, memory)
        return jax.vmap(jax.vmap(greedy_action))(jnp.swapaxes(q_values, 0, 1), time_step.action_mask), memory

    return policy


def random_policy(key: Array, time_step: TimeStep, memory: Any) -> tuple[Array, Any]:
    """Draw a uniformly random allowed action for every agent."""
    uniforms = jax.random.uniform(key, time_step.action_mask.shape[:2])
    return jax.vmap(jax.vmap(random_action))(uniforms, time_step.action_mask), memory


def baseline_policy(environment: Environment) -> Policy:
    """Return the environment's baseline (`spec.baseline_policy`), or `random_policy` if it has none."""
    baseline = environment.spec.baseline_policy
    if baseline is None:
        return random_policy

    def policy(key: Array, time_step: TimeStep, memory: Any) -> tuple[Array, Any]:
        observations = time_step.observations
        return jax.vmap(baseline)(jax.random.split(key, observations.shape[0]), observations), memory

    return policy


def baseline_returns(environment: Environment, key: Array, num_episodes: int) -> BaselineReturns:
    """Play the untrained policies from the starts that `evaluate` uses for this key."""
    random = random_return(environment, jax.random.clone(key), num_episodes)
    if environment.spec.baseline_policy is None:
        return BaselineReturns(random, random)
    own = play_episodes(environment, baseline_policy(environment), key, num_episodes)
    return BaselineReturns(jnp.mean(own.returns), random)


def random_return(environment: Environment, key: Array, num_episodes: int) -> Array:
    """Return the mean return of `random_policy` from the starts that `evaluate` uses for this key. float32[]."""
    return jnp.mean(play_episodes(environment, random_policy, key, num_episodes).returns)


def baseline_name(spec: EnvSpec) -> str:
    """Return the name of `baseline_policy`."""
    return "random actions" if spec.baseline_policy is None else spec.baseline_name


def extra_names(environment: Environment) -> tuple[str, ...]:
    """Return the names in `Evaluation.extra`, in order."""
    if environment.spec.episode_metrics is None:
        return ()
    state, _ = jax.eval_shape(environment.reset, seed_key(0))
    return tuple(jax.eval_shape(environment.spec.episode_metrics, state))
