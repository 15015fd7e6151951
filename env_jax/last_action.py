"""A wrapper that shows every agent its last action, and whether that moved it."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from env_jax.types import Array, Environment, EnvSpec, TimeStep


@dataclass(frozen=True)
class LastAction:
    """`environment` with each agent's last action appended to its observation (PyMARL's `obs_last_action`).

    An agent that cannot see what blocks it sees that the same action failed before and can choose another, where a
    policy of the observation alone would repeat it forever.

    The observation has one more number: 0 after a reset, else 1 + action, or 1 + action + number of actions where the
    agent has not moved (known from `EnvSpec.agent_positions`). The global state has one for each agent. Feature maps
    turn it into a one-hot vector (all 0 after a reset).
    """

    environment: Environment

    @property
    def largest(self) -> int:
        """Largest number that encodes an action: the length of its one-hot vector."""
        spec = self.environment.spec
        return spec.num_actions * (1 if spec.agent_positions is None else 2)

    @property
    def spec(self) -> EnvSpec:
        """The environment's spec with longer observations, states and feature maps.

        Raises:
            ValueError: the environment's observation dtype cannot hold the number of an action.
        """
        spec = self.environment.spec
        size, agents, actions = spec.observation_size, spec.num_agents, spec.num_actions
        dtype, largest = jnp.dtype(spec.observation_dtype), self.largest
        if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).max < largest:
            raise ValueError(f"{spec.name} stores observations as {dtype}, which cannot hold {actions} actions")
        encode_observations, encode_state = spec.encode_observations or _same, spec.encode_state or _same
        state_from_observations, baseline = spec.state_from_observations, spec.baseline_policy

        def one_hot(taken: Array) -> Array:
            return jax.nn.one_hot(taken.astype(jnp.int32) - 1, largest)

        def encode(observations: Array) -> Array:
            features = encode_observations(observations[:, :size])
            return jnp.concatenate([features, one_hot(observations[:, size])], axis=-1)

        def encode_longer_state(state: Array) -> Array:
            return jnp.concatenate([encode_state(state[:-agents]), one_hot(state[-agents:]).reshape(-1)])

        def longer_state(observations: Array) -> Array:
            assert state_from_observations is not None
            return jnp.concatenate([state_from_observations(observations[:, :size]), observations[:, size]])

        def play_baseline(key: Array, observations: Array) -> Array:
            assert baseline is not None
            return baseline(key, observations[:, :size])

        return replace(
            spec,
            observation_size=size + 1,
            state_size=spec.state_size + agents,
            encode_observations=encode,
            encode_state=encode_longer_state,
            state_from_observations=longer_state if state_from_observations else None,
            baseline_policy=play_baseline if baseline else None,
        )

    def reset(self, key: Array) -> tuple[object, TimeStep]:
        """Start an episode."""
        state, time_step = self.environment.reset(key)
        return state, _append(time_step, jnp.zeros(self.environment.spec.num_agents))

    def step(self, key: Array, state: object, actions: Array) -> tuple[object, TimeStep]:
        """Take one step with int32[N] actions."""
        spec = self.environment.spec
        next_state, time_step = self.environment.step(key, state, actions)
        numbers = 1 + actions
        if spec.agent_positions is not None:
            before, after = (spec.agent_positions(s).reshape(spec.num_agents, -1) for s in (state, next_state))
            numbers = numbers + spec.num_actions * jnp.all(before == after, axis=-1).astype(actions.dtype)
        return next_state, _append(time_step, numbers.astype(jnp.float32))


def _append(time_step: TimeStep, numbers: Array) -> TimeStep:
    return replace(
        time_step,
        observations=jnp.concatenate([time_step.observations, numbers[:, None]], axis=-1),
        state=jnp.concatenate([time_step.state, numbers]),
    )


def _same(numbers: Array) -> Array:
    return numbers
