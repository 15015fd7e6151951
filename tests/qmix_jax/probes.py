"""Tiny two-agent environments with values known by heart, each for one thing that a trainer can get wrong.

All follow the contract of `env_jax.types`. Each docstring derives the value that correct training must reach, and
what a wrong trainer would reach instead.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from env_jax.types import EnvSpec, TimeStep

AGENTS, ACTIONS = 2, 3


@struct.dataclass
class ProbeState:
    step: jax.Array  # int32[], steps since the reset
    cue: jax.Array  # float32[], what this episode shows: -1 or 1
    place: jax.Array  # int32[], where it shows it: 0, 1 or 2


@dataclass(frozen=True)
class Probe:
    """What the probes share: the step count, a random cue, the end. Subclasses say what is seen and paid."""

    max_steps: int = 1

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name=type(self).__name__,
            num_agents=AGENTS,
            num_actions=ACTIONS,
            observation_size=2,
            state_size=1,
            max_steps=self.max_steps,
            observation_dtype=jnp.float32,
            time_limit_is_terminal=True,
        )

    def reset(self, key):
        number = jax.random.randint(key, (), 0, 6)
        state = ProbeState(jnp.zeros((), jnp.int32), jnp.where(number < 3, 1.0, -1.0), number % 3)
        never = jnp.zeros((), bool)
        return state, self.show(state, jnp.zeros(AGENTS), never, never)

    def step(self, key, state, actions):
        del key
        rewards = self.rewards(state, actions)
        state = state.replace(step=state.step + 1)
        last = state.step >= self.max_steps
        terminated, truncated = self.end(last)
        return state, self.show(state, rewards, terminated, truncated)

    def observations(self, state):
        """Return float32[N, O]: nothing to learn from, but not zero (see `global_state`)."""
        return jnp.ones((AGENTS, 2))

    def global_state(self, state):
        """Return float32[S]: nothing to learn from. Not zero: hypernetworks without biases map zero to zero weights."""
        return jnp.ones(1)

    def action_mask(self, state):
        return jnp.ones((AGENTS, ACTIONS), bool)

    def rewards(self, state, actions):
        """Return float32[N], paid for actions int32[N] in `state`."""
        raise NotImplementedError

    def end(self, last):
        """Return terminated and truncated of the step."""
        return last, jnp.zeros((), bool)

    def show(self, state, rewards, terminated, truncated):
        return TimeStep(
            observations=self.observations(state),
            state=self.global_state(state),
            action_mask=self.action_mask(state),
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
        )


@dataclass(frozen=True)
class ConstantReward(Probe):
    """One step, rewards 1/4 and 3/4: q_tot is 1. Learning from one agent, or from the mean, gets it wrong."""

    def rewards(self, state, actions):
        return jnp.array([0.25, 0.75])


@dataclass(frozen=True)
class CueReward(Probe):
    """One step; the team's reward is the cue: q_tot is the cue. It is shown in one place only, drawn at the reset.

    Shown to agent 0 or 1 (places 0 and 1), it is learned only through that agent's network; shown in the global state
    (place 2), only through the mixer.
    """

    def observations(self, state):
        shown = jnp.where(jnp.arange(AGENTS) == state.place, state.cue, 0.0)
        return jnp.stack([shown, jnp.ones(AGENTS)], axis=-1)

    def global_state(self, state):
        return jnp.where(state.place == 2, state.cue, 0.0)[None]

    def rewards(self, state, actions):
        return jnp.stack([state.cue, jnp.zeros(())])


@dataclass(frozen=True)
class TwoSteps(Probe):
    """Two steps, told apart by the observations; team rewards `first` and `last`, then the episode terminates.

    values(): v(1) = last, v(0) = first + gamma * last, whatever n_step.
    With first 0, last 1, one step:
    - no mask at the end: v(1) = 1 + gamma v(0) and v(0) = gamma v(1), so v(1) = 1 / (1 - gamma^2);
    - a mask one step late, or one step early: v(0) = 0, v(1) = 1.
    With first -1 and more steps, rewards of the next episode that leak into the window pull v(1) below `last`.
    """

    max_steps: int = 2
    first: float = 0.0
    last: float = 1.0

    def observations(self, state):
        return jnp.broadcast_to(jax.nn.one_hot(state.step, 2), (AGENTS, 2))

    def global_state(self, state):
        return state.step.astype(jnp.float32)[None]

    def rewards(self, state, actions):
        return jnp.stack([jnp.where(state.step == 0, self.first, self.last), jnp.zeros(())])

    def values(self, gamma):
        return self.first + gamma * self.last, self.last


@dataclass(frozen=True)
class Remember(Probe):
    """Two steps; the second pays what the first showed, and shows nothing: only a memory tells what it is worth.

    q_tot is the cue in the second step and gamma times the cue in the first. Agents without a memory know only the mean
    of the second, 0, and so expect nothing in the first either.
    """

    max_steps: int = 2

    def observations(self, state):
        shown = jnp.where(state.step == 0, state.cue, 0.0)
        return jnp.broadcast_to(jnp.stack([shown, state.step.astype(jnp.float32)]), (AGENTS, 2))

    def global_state(self, state):
        return 1.0 + state.step.astype(jnp.float32)[None]

    def rewards(self, state, actions):
        return jnp.stack([jnp.where(state.step == 1, state.cue, 0.0), jnp.zeros(())])


@dataclass(frozen=True)
class ActionReward(Probe):
    """One step; agent i is paid for its own action as `payoffs[i]` says: q_tot is the sum of the two payoffs."""

    payoffs: tuple[tuple[float, ...], ...] = ((0.0, 1.0, -0.5), (0.5, 0.0, -1.0))

    def rewards(self, state, actions):
        return jnp.array(self.payoffs)[jnp.arange(AGENTS), actions]


@dataclass(frozen=True)
class Deadline(Probe):
    """Nothing to see and nothing to win, but truncation after `max_steps` steps costs the team 1.

    Only the clock in the mixer's state tells the steps apart: q_tot is -gamma^(steps left - 1). Without the mask at
    the truncation the values have no such fixed point: the last one would be -1 + gamma * (the first one).
    """

    max_steps: int = 3

    def rewards(self, state, actions):
        return jnp.full(AGENTS, jnp.where(state.step == self.max_steps - 1, -0.5, 0.0))

    def end(self, last):
        return jnp.zeros((), bool), last


@dataclass(frozen=True)
class ForbiddenFruit(Probe):
    """Two steps that look the same. In the first, action 2 pays each agent 1/2; in the second it is forbidden.

    Allowed actions of the second step pay nothing, so it is worth 0, and q_tot of the joint action (2, 2) is 1. With no
    mask at the maximum, or that of the step before or after, action 2 would seem to pay in the second step too: q_tot =
    1 / (1 - gamma), 2 at gamma 1/2. Whoever takes the forbidden action all the same loses 10.
    """

    max_steps: int = 2

    def action_mask(self, state):
        return jnp.ones((AGENTS, ACTIONS), bool).at[:, 2].set(state.step != 1)

    def rewards(self, state, actions):
        return jnp.where(actions == 2, jnp.where(state.step == 0, 0.5, -10.0), 0.0)


@dataclass(frozen=True)
class Matrix(Probe):
    """One step; the team is paid twice the product of its actions. Rows are agent 0's actions, columns agent 1's.

    More is never less, so QMIX can represent it, but a sum of one value per agent cannot: the best one, row mean plus
    column mean minus mean, is 2 off in every corner, -2 and 6 instead of 0 and 8.
    """

    payoffs: tuple[tuple[float, ...], ...] = ((0.0, 0.0, 0.0), (0.0, 2.0, 4.0), (0.0, 4.0, 8.0))

    def rewards(self, state, actions):
        return jnp.stack([jnp.array(self.payoffs)[actions[0], actions[1]], jnp.zeros(())])


@dataclass(frozen=True)
class NonMonotonic(Matrix):
    """The game of Son et al. 2019 (table 1a), which Rashid et al. 2020 and Wang et al. 2021 test on too.

    The best joint action (0, 0) pays 8, but is surrounded by -12: an agent's better action depends on the other's,
    which no monotonic mixer can represent. With equal weights and uniform exploration QMIX ends at a 0.
    """

    payoffs: tuple[tuple[float, ...], ...] = ((8.0, -12.0, -12.0), (-12.0, 0.0, 0.0), (-12.0, 0.0, 0.0))


@dataclass(frozen=True)
class Corridor(Probe):
    """Agent 0 ends the episode with action 2; it is truncated after `max_steps`. Every step shows and pays its number.

    Observations: the episode's cue and the step. Rewards: agent i gets step + 10 * i, so that a log tells them apart.
    """

    max_steps: int = 4

    def observations(self, state):
        return jnp.broadcast_to(jnp.stack([state.cue, state.step.astype(jnp.float32)]), (AGENTS, 2))

    def global_state(self, state):
        return state.step.astype(jnp.float32)[None]

    def step(self, key, state, actions):
        del key
        rewards = state.step.astype(jnp.float32) + 10.0 * jnp.arange(2.0)
        state = state.replace(step=state.step + 1)
        terminated = actions[0] == 2
        truncated = ~terminated & (state.step >= self.max_steps)
        return state, self.show(state, rewards, terminated, truncated)
