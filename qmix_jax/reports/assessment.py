"""Episodes of a trained policy and of baselines from the same starts."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.recording import Recording, record
from env_jax.types import Environment, TimeStep
from qmix_jax.reports.scores import EpisodeValues
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.training.evaluation import (
    SCORE_DISCOUNT,
    PlayedEpisodes,
    Policy,
    baseline_policy,
    best_returns,
    evaluation_key,
    greedy_policy,
    play_episodes,
    random_policy,
    step_keys,
)
from qmix_jax.training.inspection import Activations, inspect
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.replay import action_dtype
from qmix_jax.types import Array, Params

LEARNED, BASELINE, RANDOM = "policy", "greedy_nearest", "random"


class Assessment(NamedTuple):
    """K episodes of each policy."""

    environment: Environment
    key: Array  # of the starts and steps
    values: dict[str, EpisodeValues]  # by policy, LEARNED first
    starts: Any  # the environment's states after reset, batched over K
    first: TimeStep  # the time steps after reset, batched over K
    actions: Array  # int[T, K, N], the learned policy's; those after an episode's end mean nothing


def assess(policy: TrainedPolicy, environment: Environment, seed: int, num_episodes: int) -> Assessment:
    """Play `num_episodes` episodes with each policy.

    For equal `num_episodes` the starts are those of the evaluations in a run with this `seed`.

    Returns:
        `values["policy"]` are those of the policy, the others those of baselines.
    """
    spec, learner = environment.spec, policy.learner
    key = evaluation_key(seed_key(seed))

    def play_learned(params: Params, key: Array) -> PlayedEpisodes:
        actions = jnp.zeros((spec.max_steps, num_episodes, spec.num_agents), action_dtype(spec.num_actions))
        memory = learner.init_memory(num_episodes), jnp.zeros((), jnp.int32), actions
        return play_episodes(environment, keeping_actions(greedy_policy(learner, params)), key, num_episodes, memory)

    learned = jax.jit(play_learned)(policy.params, jax.random.clone(key))
    discounts = jnp.array([SCORE_DISCOUNT], jnp.float32)
    found = jax.jit(lambda starts, discounts: best_returns(environment, starts, discounts))(learned.starts, discounts)
    best = np.full(num_episodes, np.nan, np.float32) if found is None else found[0]
    played = {LEARNED: learned}
    others: dict[str, Policy] = {RANDOM: random_policy}
    if spec.baseline_policy is not None:
        others = {BASELINE: baseline_policy(environment), **others}
    for name, other in others.items():
        played[name] = _play(environment, other, jax.random.clone(key), num_episodes)
    values = {name: _values(episodes, best) for name, episodes in played.items()}
    return Assessment(environment, key, values, learned.starts, learned.first, learned.memory[2])


def keeping_actions(policy: Policy) -> Policy:
    """Return the policy with a recording of its actions.

    Its state is that of the policy, int32[] steps so far, and int[T, K, N] actions.
    """

    def keeping(key: Array, time_step: TimeStep, memory: Any) -> tuple[Array, Any]:
        own, step, kept = memory
        actions, own = policy(key, time_step, own)
        return actions, (own, step + 1, kept.at[step].set(actions.astype(kept.dtype)))

    return keeping


def record_episodes(assessment: Assessment, episodes: Sequence[int]) -> Recording:
    """Some of the learned policy's episodes step by step, [T + 1, R, ...] and actions [T, R, N]: T of the longest."""
    chosen = np.asarray(episodes)
    length = int(np.max(assessment.values[LEARNED].lengths[chosen]))
    starts, first = jax.tree.map(lambda x: x[chosen], (assessment.starts, assessment.first))
    environment, num_episodes = assessment.environment, assessment.actions.shape[1]
    keys = jax.jit(step_keys, static_argnums=(1, 2))(jax.random.clone(assessment.key), length, num_episodes)
    over_episodes = jax.vmap(partial(record, environment), in_axes=(0, 0, 1, 1), out_axes=1)
    return jax.jit(over_episodes)(starts, first, assessment.actions[:length, chosen], keys[:, chosen])


def activations(policy: TrainedPolicy, recording: Recording) -> Activations:
    """Return the network outputs along recorded episodes, NaN as the value of an action that is not allowed."""
    spec = policy.environment.spec
    before = jax.tree.map(lambda x: x[:-1], recording.time_steps)
    play = jax.jit(lambda params, seen, actions: inspect(policy.config, spec, params, seen, actions))
    found = play(policy.params, before, recording.actions)
    return found._replace(q_values=jnp.where(before.action_mask, found.q_values, jnp.nan))


def _play(environment: Environment, policy: Policy, key: Array, num_episodes: int) -> PlayedEpisodes:
    return jax.jit(lambda key: play_episodes(environment, policy, key, num_episodes))(key)


def _values(episodes: PlayedEpisodes, best: Any) -> EpisodeValues:
    solved = np.full(len(best), np.nan, np.float32) if episodes.solved is None else episodes.solved
    columns = episodes.returns, best, episodes.lengths, solved, episodes.extra
    return EpisodeValues(*jax.device_get(columns))
