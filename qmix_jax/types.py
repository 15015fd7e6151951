"""The trainer's pytrees. This module imports nothing else of the package.

Shapes: E environments, N agents, A actions, O numbers per observation, S numbers of global state,
B sequences in a batch, T steps in a sequence, C vector steps in a chunk.
"""

from typing import Any, NamedTuple

import jax
from flax import struct

Array = jax.Array
Params = dict[str, Any]


@struct.dataclass
class Transition:
    """One environment step as replay stores it.

    The next observation is not stored: it is the next step's `observations`. No target reads it after a terminal step;
    the final steps of truncated episodes are in `FinalSteps` if targets bootstrap from them.
    """

    observations: Array  # spec.observation_dtype[N, O]
    actions: Array  # int8[N] (int32 where there are more than 127 actions)
    rewards: Array  # float32[N], each agent's own reward
    done: Array  # bool[], terminated or truncated: the next step belongs to another episode
    elapsed: Array  # uint16[], earlier steps of the episode
    state: Array | None  # float32[S], or None if it is computed from the observations
    action_mask: Array | None  # bool[N, A], or None if every action is always allowed
    final_step: Array | None = None  # int32[], number of its `FinalSteps` entry or -1; None if limits are terminal
    memory: Array | None = None  # float32[N, H], the agents' hidden state before it; None with replay, or if H is 0


@struct.dataclass
class FinalSteps:
    """The last M truncated final steps of every environment, for bootstrapping at the time limit."""

    observations: Array  # spec.observation_dtype[E, M, N, O]
    state: Array | None  # float32[E, M, S], or None if it is computed from the observations
    action_mask: Array | None  # bool[E, M, N, A], or None if every action is always allowed
    count: Array  # int32[E], truncated episodes so far; number c is in slot c % M


class CutReplay(NamedTuple):
    """A replay buffer and the truncated final steps that targets may bootstrap from."""

    buffer: Any  # flashbax buffer state
    final_steps: FinalSteps


class Cuts(NamedTuple):
    """Truncations inside a batch's target windows, and the final steps of those episodes.

    One entry per learned step: B sequences of K steps. Entries where `here` is False are meaningless.
    """

    here: Array  # bool[B, K], the first end in the step's window is a truncation
    known: Array  # bool[B, K], all final steps that the learned step's target needs are still stored
    steps: Array  # int32[B, K], from the learned step to the truncated one, 0..n-1
    observations: Array  # [B, K, N, O] of the final step, like the next two
    state: Array | None  # float32[B, K, S]
    action_mask: Array | None  # bool[B, K, N, A]
    elapsed: Array  # uint16[B, K], steps of the episode before its final step


class Sample(NamedTuple):
    """What replay draws for one update."""

    sequences: Transition  # [B, T, ...]
    indices: Array | None  # int32[B], their slots in the buffer; None but for prioritised replay, like the next
    probabilities: Array | None  # float32[B], sampling probabilities
    cuts: Cuts | None = None  # None if time limits are terminal


@struct.dataclass
class Schedule:
    """Progress of the learning rate decay; resuming a run with another budget moves its end."""

    start: Array  # int32[], update at which `left` starts to decrease
    left: Array  # float32[], fraction of the decay remaining at `start`
    end: Array  # int32[], update at which nothing remains


@struct.dataclass
class Faults:
    """Counters of updates that were skipped because they were not finite."""

    skipped: Array  # int32[], total
    streak: Array  # int32[], current number in a row
    since: Array  # int32[], first update of the latest streak
    quantity: Array  # int32[], what was not finite there: index into faults.QUANTITIES


@struct.dataclass
class RewardStatistics:
    """Running statistics of the V rewards that are trained on, see `rewards.add_batch`."""

    batches: Array  # int32[], number of batches seen
    mean: Array  # float32[V], mean reward per step
    variance: Array  # float32[V], of a single reward, not of the mean


@struct.dataclass
class CentralValue:
    """The central value network. Only its own update reads it."""

    params: Any  # Params, or float32[P] where packed
    target_params: Any
    optimizer_state: Any


@struct.dataclass
class LearnerState:
    """State that gradient updates change. `params` is {'agents': ..., 'mixer': ...}."""

    params: Any  # Params, or float32[P] where packed for updates
    target_params: Any  # None without replay, where targets are the online network's
    optimizer_state: Any
    updates: Array  # int32[], gradient updates including skipped ones; drives schedules, shared by vmapped seeds
    schedule: Schedule
    faults: Faults
    rewards: RewardStatistics | None = None  # with --standardise_rewards
    central: CentralValue | None = None  # with --central_value


@struct.dataclass
class EpisodeTotals:
    """Running totals of the E episodes in progress."""

    length: Array  # int32[E], steps so far
    discounted_return: Array  # float32[E], sum of gamma^t times the team reward
    update_sums: Array  # float32[E, 3], sums of `EpisodeMetrics` over the updates made while the episode ran
    updates: Array  # int32[E], number of those updates


class UpdateMetrics(NamedTuple):
    """Metrics of one gradient update, or means over several. `learner.unmeasured` lists those not measured."""

    loss: Array  # float32[], mean squared TD error of the batch
    td_error: Array  # float32[], mean absolute TD error
    q_value: Array  # float32[], mean q_tot of the batch
    td_error_std: Array  # float32[], standard deviation of the TD errors over the batch
    target_lag: Array  # float32[], effect of the target agents' lag on the bootstrap q_tot; 0 if unmeasured
    grad_norm: Array  # float32[], global norm of the gradient before clipping
    clipped: Array  # float32[], 1 if that norm exceeded `max_grad_norm`, else 0; its mean is a fraction
    central_loss: Array  # float32[], mean squared TD error of the central value network; 0 if unmeasured


class EpisodeMetrics(NamedTuple):
    """The `UpdateMetrics` logged per episode: means over the updates made while it ran."""

    loss: Array  # float32[E]
    td_error: Array  # float32[E]
    q_value: Array  # float32[E]


@struct.dataclass
class Exploration:
    """The random action that each agent is repeating, if any."""

    action: Array  # int32[E, N]
    remaining: Array  # int32[E, N], steps left to repeat it; 0: the agent chooses freely


@struct.dataclass
class TrainState:
    """The complete state of a run: all that is needed to continue training."""

    key: Array  # typed PRNG key[]
    vector_step: Array  # int32[], steps taken by every environment; shared by vmapped seeds
    env_state: Any  # the environment's state, batched over E
    time_step: Any  # TimeStep batched over E: the current observations
    replay: Any  # flashbax buffer state, or `CutReplay` if targets bootstrap at time limits
    replay_start: Array  # int32[], vector step at which replay started to fill; above 0 after a resume without replay
    exploration: Exploration
    memory: Array  # float32[E, N, H], the agents' recurrent state; H is 0 for feedforward agents
    learner: LearnerState
    episodes: EpisodeTotals


class EpisodeLog(NamedTuple):
    """Episodes that finished in one vector step: row e is valid only where `finished[e]`.

    A chunk stacks C of them. In the last chunk, steps beyond the run's end are rows without episodes or updates.
    """

    finished: Array  # bool[E]
    episode_return: Array  # float32[E], discounted team return
    episode_length: Array  # int32[E], steps
    epsilon: Array  # float32[], exploration rate of the vector step, mean over environments
    updates: EpisodeMetrics  # 0 if no update was made during the episode
    num_updates: Array  # int32[E], updates made during the episode
    step_updates: UpdateMetrics  # float32[] each, mean over the vector step's updates, 0 without any
    num_step_updates: Array  # int32[], number of those updates


class Progression(NamedTuple):
    """Learner state that the host reads after a chunk: copies that outlive the donated state."""

    params: Params
    updates: Array  # int32[]
    faults: Faults


class Evaluation(NamedTuple):
    """Means over K episodes of the greedy policy. Unknown values are None, and NaN on the host."""

    mean_return: Array  # float32[], discounted team return at evaluation.SCORE_DISCOUNT
    best_return: Any  # float32[], mean best possible return from the same starts
    q_bound: Any  # float32[], best_return at the discount and scale of q_tot, if known
    optimality: Any  # float32[], mean_return / best_return, NaN unless best_return is above 0
    solved: Any  # float32[], success rate: fraction of episodes that achieved the environment's goal
    mean_length: Array  # float32[], steps
    extra: dict[str, Array]  # the environment's own means, by name (GridWorld25: foods_collected)
