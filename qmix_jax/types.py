"""The pytrees of the trainer. Imports nothing of ours.

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
    """One environment step as replay stores it: what was seen, what was done, what came of it.

    The next observation is not stored: it is the next step's `observations`. No target reads it after an end that is
    terminal; what truncated episodes ended with is in `FinalSteps` where targets bootstrap there.
    """

    observations: Array  # spec.observation_dtype[N, O]
    actions: Array  # int8[N] (int32 where there are more than 127 actions)
    rewards: Array  # float32[N], each agent's own reward
    done: Array  # bool[], terminated or truncated: what follows belongs to another episode
    elapsed: Array  # uint16[], steps of the episode before this one
    state: Array | None  # float32[S], or None where the observations hold it
    action_mask: Array | None  # bool[N, A], or None where every action is always allowed
    final_step: Array | None = None  # int32[], number of its `FinalSteps` entry, -1 without; None: limits are terminal


@struct.dataclass
class FinalSteps:
    """The last M final steps of every environment that were truncated: what a bootstrap at the time limit reads."""

    observations: Array  # spec.observation_dtype[E, M, N, O]
    state: Array | None  # float32[E, M, S], or None where the observations hold it
    action_mask: Array | None  # bool[E, M, N, A], or None where every action is always allowed
    count: Array  # int32[E], truncated episodes so far; number c is in slot c % M


class CutReplay(NamedTuple):
    """A replay buffer, and the final steps that its targets may bootstrap from."""

    buffer: Any  # flashbax buffer state
    final_steps: FinalSteps


class Cuts(NamedTuple):
    """Where truncations cut the windows of a batch's targets, and what those episodes ended with.

    For each of B sequences' K learned steps. Entries where `here` is False are of no meaning.
    """

    here: Array  # bool[B, K], the first end in the step's window is a truncation
    known: Array  # bool[B, K], all final steps that the learned step's target rests on are still stored
    steps: Array  # int32[B, K], from the learned step to the truncated one, 0..n-1
    observations: Array  # [B, K, N, O] of the final step, and so are the next two
    state: Array | None  # float32[B, K, S]
    action_mask: Array | None  # bool[B, K, N, A]
    elapsed: Array  # uint16[B, K], steps of the episode before the final one


class Sample(NamedTuple):
    """What replay gives to one update."""

    sequences: Transition  # [B, T, ...]
    indices: Array | None  # int32[B], where they are stored; None of a uniform replay
    probabilities: Array | None  # float32[B], of each to be drawn; None of a uniform replay
    cuts: Cuts | None = None  # None where time limits are terminal


@struct.dataclass
class Schedule:
    """Where the learning rate's decay stands and ends; a run that is resumed with another budget moves its end."""

    start: Array  # int32[], update from which `left` is counted down
    left: Array  # float32[], share of the decay still to come at `start`
    end: Array  # int32[], update at which nothing is left


@struct.dataclass
class Faults:
    """Updates that were skipped because they were not finite."""

    skipped: Array  # int32[], in all
    streak: Array  # int32[], in a row until now
    since: Array  # int32[], update at which the latest streak began
    quantity: Array  # int32[], what was bad there: index of faults.QUANTITIES


@struct.dataclass
class RewardStatistics:
    """What is known of the V rewards that are learnt, see `rewards.add_batch`."""

    batches: Array  # int32[], how many of replay's batches were counted
    mean: Array  # float32[V], reward per step
    variance: Array  # float32[V], of one reward, not of the mean


@struct.dataclass
class CentralValue:
    """The value network of all observations, which nothing but its own update reads."""

    params: Params
    target_params: Params
    optimizer_state: Any


@struct.dataclass
class LearnerState:
    """What gradient updates change. `params` is {'agents': ..., 'mixer': ...}."""

    params: Params
    target_params: Params
    optimizer_state: Any
    updates: Array  # int32[], gradient updates, skipped ones too: the clock of schedules, shared by vmapped seeds
    schedule: Schedule
    faults: Faults
    rewards: RewardStatistics | None = None  # with --standardise_rewards
    central: CentralValue | None = None  # with --central_value


@struct.dataclass
class Episodes:
    """Running totals of the E episodes in progress."""

    length: Array  # int32[E], steps so far
    discounted_return: Array  # float32[E], sum of gamma^t times the team reward
    update_sums: Array  # float32[E, 3], sums of `EpisodeMetrics` over the updates made while the episode ran
    updates: Array  # int32[E], how many updates those were


class UpdateMetrics(NamedTuple):
    """What one gradient update reports, or the mean over several. `learner.unmeasured` names what is not measured."""

    loss: Array  # float32[], mean squared TD error of the batch
    td_error: Array  # float32[], mean absolute TD error
    q_value: Array  # float32[], mean q_tot of the batch
    td_error_std: Array  # float32[], standard deviation of the TD errors over the batch
    target_lag: Array  # float32[], what the target agents' lag changes in the bootstrap's q_tot; 0 if unmeasured
    grad_norm: Array  # float32[], global norm of the gradient before clipping
    clipped: Array  # float32[], 1 where that norm was above `max_grad_norm`, else 0; its mean is a share
    central_loss: Array  # float32[], mean squared TD error of the central value network; 0 if unmeasured


class EpisodeMetrics(NamedTuple):
    """The part of `UpdateMetrics` that every episode reports: means over the updates made while it ran."""

    loss: Array  # float32[E]
    td_error: Array  # float32[E]
    q_value: Array  # float32[E]


@struct.dataclass
class Exploration:
    """The random action that each agent is repeating, if any."""

    action: Array  # int32[E, N]
    remaining: Array  # int32[E, N], steps it will still be repeated; 0: the agent is free to choose


@struct.dataclass
class TrainState:
    """Everything a run is: with it, and nothing else, training continues."""

    key: Array  # typed PRNG key[]
    vector_step: Array  # int32[], steps made by every environment; shared by vmapped seeds
    env_state: Any  # the environment's state, batched over E
    time_step: Any  # TimeStep batched over E: what the agents see now
    replay: Any  # flashbax buffer state, or `CutReplay` where targets bootstrap at time limits
    replay_start: Array  # int32[], vector step at which replay began to fill: 0, or that of a resume without replay
    exploration: Exploration
    memory: Array  # float32[E, N, H], what the agents remember of their episodes; H is 0 for agents without a memory
    learner: LearnerState
    episodes: Episodes


class EpisodeLog(NamedTuple):
    """One vector step's finished episodes: row e counts only where `finished[e]`.

    A chunk stacks C of them; in the run's last chunk, steps beyond the run's end are rows without episodes or updates.
    """

    finished: Array  # bool[E]
    episode_return: Array  # float32[E], discounted team return
    episode_length: Array  # int32[E], steps
    epsilon: Array  # float32[], exploration rate of the vector step, mean over environments
    updates: EpisodeMetrics  # 0 where an episode saw no update
    num_updates: Array  # int32[E], updates that it saw
    step_updates: UpdateMetrics  # float32[] each, mean over the vector step's own updates, 0 without any
    num_step_updates: Array  # int32[], those updates


class Progression(NamedTuple):
    """What the host sees of a learner after a chunk: copies that outlive the donated state."""

    params: Params
    updates: Array  # int32[]
    faults: Faults


class Evaluation(NamedTuple):
    """Greedy policy over K episodes: means over the episodes. What is unknown is None, and on the host NaN."""

    mean_return: Array  # float32[], discounted team return at evaluation.SCORE_DISCOUNT
    best_return: Any  # float32[], mean best possible return of the same starts
    q_bound: Any  # float32[], as best_return, but at q_tot's own discount; unknown where that has none
    optimality: Any  # float32[], mean_return over best_return, NaN where that is not above 0
    solved: Array  # float32[], share of episodes that terminated before the time limit
    mean_length: Array  # float32[], steps
    extra: dict[str, Array]  # the environment's own means, by name (GridWorld25: foods_collected)
