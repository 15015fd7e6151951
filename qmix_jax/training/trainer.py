"""The trainer: rollout, replay and updates fused into one `lax.scan`.

Read `vector_step` first: it is the algorithm.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import Environment, EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.batch import Batch
from qmix_jax.learning.devices import own_key
from qmix_jax.learning.learner import Learner, make_learner
from qmix_jax.learning.loss import TargetValues
from qmix_jax.learning.selection import select
from qmix_jax.learning.time_limit import bootstraps_at_limit
from qmix_jax.training.environments import conforming
from qmix_jax.training.evaluation import evaluate, greedy_policy
from qmix_jax.training.exploration import choose_actions, decay_shares, final_epsilons, free_exploration, linear_epsilon
from qmix_jax.training.pinning import pinned
from qmix_jax.training.replay import Replay, make_replay, make_transition, shuffled_environments
from qmix_jax.training.rollout import advance_episodes, empty_log, init_episodes, step_environments
from qmix_jax.training.sharding import evaluated_by_devices, over_devices, split_state
from qmix_jax.types import Array, EpisodeLog, Evaluation, LearnerState, Params, TrainState, UpdateMetrics

_Updating = tuple[LearnerState, Any, Array]  # packed learner, replay, sums of metrics


class Trainer(NamedTuple):
    """A configured trainer as pure functions; jit them as needed (`train_chunk` with its state donated)."""

    init: Callable[[Array], TrainState]  # key -> state
    train_chunk: Callable[[TrainState], tuple[TrainState, EpisodeLog]]  # chunk_length vector steps, fewer at the end
    evaluate: Callable[[Params, Array], Evaluation]  # (params, key) -> greedy evaluation


@pinned()
def make_trainer(config: Config, environment: Environment) -> Trainer:
    """Build the trainer of `config` on `environment`.

    Raises:
        ConfigError: the environment's shapes or dtypes break the contract.
    """
    environment = conforming(environment)
    spec = environment.spec
    learner = make_learner(config, spec)
    whole_replay, replay = make_replay(config, spec), make_replay(config, spec, config.num_devices)
    num_envs = config.num_envs // config.num_devices  # per device

    def init(key: Array) -> TrainState:
        run_key, reset_key, learner_key = jax.random.split(key, 3)
        env_state, time_step = jax.vmap(environment.reset)(jax.random.split(reset_key, config.num_envs))
        state = TrainState(
            key=run_key,
            vector_step=jnp.zeros((), jnp.int32),
            env_state=env_state,
            time_step=time_step,
            replay=whole_replay.init(),
            replay_start=jnp.zeros((), jnp.int32),
            exploration=free_exploration(config.num_envs, spec.num_agents),
            memory=learner.init_memory(config.num_envs),
            learner=learner.init(learner_key),
            episodes=init_episodes(config.num_envs),
        )
        return split_state(state, config.num_devices)

    def train_chunk(state: TrainState) -> tuple[TrainState, EpisodeLog]:
        def body(state: TrainState, _: None) -> tuple[TrainState, EpisodeLog]:
            def step(_: Array, carry: tuple[TrainState, EpisodeLog]) -> tuple[TrainState, EpisodeLog]:
                return vector_step(config, environment, learner, replay, carry[0])

            # A loop of one iteration, or none after the run's end, so that the last chunk can be shorter.
            turns = (state.vector_step < config.vector_steps).astype(jnp.int32)
            epsilons = exploration_rates(config, spec.num_agents, state.vector_step)
            log = empty_log(num_envs, jnp.mean(epsilons))
            return jax.lax.fori_loop(0, turns, step, (state, log))

        return jax.lax.scan(body, state, length=config.chunk_length)

    def evaluate_greedy(params: Params, key: Array) -> Evaluation:
        policy = greedy_policy(learner, params)
        devices, memory = config.eval_devices, learner.init_memory(config.eval_episodes // config.eval_devices)
        evaluation = evaluate(environment, policy, key, config.eval_episodes, config.gamma, memory, devices)
        is_changed = config.standardise_rewards or config.shaped_reward_steps is not None
        if evaluation.q_bound is None or is_changed or bootstraps_at_limit(config, spec):
            # No bound is known for standardised or shaped rewards, nor for values beyond the time limit.
            return evaluation._replace(q_bound=None)
        return evaluation._replace(q_bound=config.reward_scale * evaluation.q_bound)

    return Trainer(
        pinned()(init),
        pinned()(over_devices(train_chunk, config.num_devices, bootstraps_at_limit(config, spec))),
        pinned()(evaluated_by_devices(evaluate_greedy, config.eval_devices)),
    )


def vector_step(
    config: Config, environment: Environment, learner: Learner, replay: Replay, state: TrainState
) -> tuple[TrainState, EpisodeLog]:
    """Step every environment, then make the gradient updates that are due.

    With several devices, each uses its own environments and its share of the batches.
    """
    key, step_key = jax.random.split(state.key)
    action_key, env_key, update_key = jax.random.split(own_key(step_key, config.num_devices), 3)
    q_values, memory = learner.q_values(state.learner.params, state.time_step.observations, state.memory)
    epsilons = exploration_rates(config, environment.spec.num_agents, state.vector_step)
    exploration, actions = choose_actions(
        action_key, state.exploration, q_values, state.time_step.action_mask, epsilons, config.explore_repeat
    )
    env_state, time_step, stepped, stepped_state = step_environments(environment, env_key, state.env_state, actions)
    rewards = shaped_rewards(config, environment.spec, state.vector_step, stepped.rewards, stepped_state)
    transition = jax.vmap(make_transition, in_axes=(None, 0, 0, 0, 0))(
        environment.spec, state.time_step, actions, replace(stepped, rewards=rewards), state.episodes.length
    )
    if config.stored_memory_size:
        transition = replace(transition, memory=state.memory)
    replay_state = replay.add(state.replay, transition, stepped)

    due = updates_due(config, state.vector_step, state.replay_start)
    learner_state, replay_state, update_sums = make_updates(
        config, learner, replay, update_key, due, state.learner, replay_state
    )
    made = due - (learner_state.faults.skipped - state.learner.faults.skipped)

    finished = stepped.terminated | stepped.truncated
    exploration = select(finished, free_exploration(*actions.shape), exploration)
    memory = select(finished, learner.init_memory(actions.shape[0]), memory)
    episodes, log = advance_episodes(
        state.episodes, stepped.rewards, finished, update_sums, made, jnp.mean(epsilons), config.gamma
    )
    state = TrainState(
        key=key,
        vector_step=state.vector_step + 1,
        env_state=env_state,
        time_step=time_step,
        replay=replay_state,
        replay_start=state.replay_start,
        exploration=exploration,
        memory=memory,
        learner=learner_state,
        episodes=episodes,
    )
    return state, log


def make_updates(
    config: Config,
    learner: Learner,
    replay: Replay,
    key: Array,
    due: Array,
    learner_state: LearnerState,
    replay_state: Any,
) -> tuple[LearnerState, Any, UpdateMetrics]:
    """Make int32[] `due` gradient updates; return the learner, the replay and the sums of the updates' metrics.

    They are made in blocks, which end where the target network is copied. Unless priorities change, nothing in a
    block's batches and target values depends on its updates, so they are computed for all at once, by a few large
    kernels instead of many small ones. Without replay, a block is an epoch, and there are no target values.
    """
    batch_size, ahead = config.batch_size // config.num_devices, config.replay != "prioritised"
    size, on_policy = block_size(config), config.replay == "none"
    # One call for all blocks; the last one may reach beyond what is due.
    numbers = None if on_policy else jax.random.bits(key, (most_updates_due(config) + size, 2, batch_size))

    def draw(done: Array) -> Array:
        if numbers is None:
            return shuffled_environments(jax.random.fold_in(key, done), size * batch_size, batch_size)
        return jax.lax.dynamic_slice_in_dim(numbers, done, size)

    def read(learner_state: LearnerState, replay_state: Any, numbers: Array) -> tuple[Batch, TargetValues | None]:
        batch = learner.prepare(replay.sample(replay_state, numbers))
        return batch, learner.read_targets(learner_state, batch)

    def make_block(carry: tuple[Array, _Updating]) -> tuple[Array, _Updating]:
        done, updating = carry
        drawn: Any = draw(done)
        if ahead:
            drawn = jax.vmap(partial(read, *updating[:2]))(drawn)

        def update(i: Array, updating: _Updating) -> _Updating:
            learner_state, replay_state, sums = updating
            with jax.named_scope("batch"):
                row = jax.tree.map(lambda x: x[i], drawn)
            batch, targets = row if ahead else read(learner_state, replay_state, row)
            learner_state, metrics, priorities = learner.update(learner_state, batch, targets)
            replay_state = replay.reprioritise(replay_state, batch, priorities)
            return learner_state, replay_state, sums + jnp.stack(metrics)

        to_copy = config.target_update_interval - updating[0].updates % config.target_update_interval
        turns = size if on_policy else jnp.minimum(jnp.minimum(size, due - done), to_copy)
        with jax.named_scope("updates"):
            learner_state, replay_state, sums = jax.lax.fori_loop(0, turns, update, updating)
        return done + turns, (learner.copy_targets(learner_state), replay_state, sums)

    # Loops that may have no iteration, not a `cond`: a branch that passes the buffer through copies it.
    start = jnp.int32(0), (learner.pack(learner_state), replay_state, jnp.zeros(len(UpdateMetrics._fields)))
    with jax.named_scope("blocks"):
        _, (packed, replay_state, sums) = jax.lax.while_loop(lambda carry: carry[0] < due, make_block, start)
    return learner.unpack(packed), replay_state, UpdateMetrics(*sums)


def block_size(config: Config) -> int:
    """Return the largest number of updates in a block: equal shares of a vector step's updates, or an epoch.

    On an accelerator, the fewer kernels the better; a CPU's cache holds no more than a few batches.
    """
    if config.replay == "none":
        return config.num_envs // config.batch_size
    most = 4 if jax.default_backend() == "cpu" else 32
    shares = -(-most_updates_due(config) // most)
    return min(-(-most_updates_due(config) // shares), config.target_update_interval)


def most_updates_due(config: Config) -> int:
    """Return the largest number of updates after a vector step, see `updates_due`."""
    return config.rollout_updates if config.replay == "none" else -(-config.num_envs // config.train_frequency)


def exploration_rates(config: Config, num_agents: int, step: Array) -> Array:
    """Return each agent's epsilon in vector step int32[] `step` (from 0), on one device. float32[E, N]."""
    num_envs = config.num_envs // config.num_devices
    ends = final_epsilons(num_envs, config.greedy_envs, config.epsilon_end)
    decay_steps = config.exploration_steps * decay_shares(num_envs, num_agents, config.epsilon_spread)
    return linear_epsilon(step * config.num_envs, config.epsilon_start, ends[:, None], decay_steps)


def shaped_rewards(config: Config, spec: EnvSpec, step: Array, rewards: Array, env_state: Any) -> Array:
    """Return the rewards to train on: r + max(0, 1 - t / T) s, in vector step int32[] `step` (from 0). float32[E, N].

    t are environment steps, T is `shaped_reward_steps`, and s the environment's shaped rewards.

    Args:
        config: the run's settings.
        spec: the environment's.
        step: the vector step.
        rewards: r, float32[E, N].
        env_state: environment states right after the actions, batched over E.
    """
    if config.shaped_reward_steps is None:
        return rewards
    assert spec.shaped_rewards is not None, "see environments.choose_environment"
    done = (step * config.num_envs).astype(jnp.float32)
    weight = jnp.maximum(0.0, 1.0 - done / config.shaped_reward_steps)
    return rewards + weight * jax.vmap(spec.shaped_rewards)(env_state).astype(jnp.float32)


def updates_due(config: Config, step: Array, replay_start: Array) -> Array:
    """Return the number of updates after vector step int32[] `step` (from 0), for an exact replay ratio. int32[].

    One update per `train_frequency` environment steps beyond `first_update_step`; fractions carry over. None until
    replay, empty at vector step int32[] `replay_start`, holds `first_update_step` transitions. Without replay, all of
    `rollout_updates` when the targets of another `sequence_length` steps can be computed.
    """

    def updates_by(vector_steps: Array) -> Array:
        if config.replay == "none":
            rollouts = jnp.maximum(vector_steps - config.bootstrap_distance, 0) // config.sequence_length
            return rollouts * config.rollout_updates
        return jnp.maximum(vector_steps * config.num_envs - config.first_update_step, 0) // config.train_frequency

    filled = (step + 1 - replay_start) * config.num_envs >= config.first_update_step
    return jnp.where(filled, updates_by(step + 1) - updates_by(step), 0)
