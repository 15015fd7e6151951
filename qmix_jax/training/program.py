"""A whole run as one pure function, to jit, vmap over keys or call in a notebook."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.learning.learner import unmeasured
from qmix_jax.training.environments import choose_environment
from qmix_jax.training.evaluation import evaluation_key, missing_value
from qmix_jax.training.pinning import pinned
from qmix_jax.training.trainer import make_trainer
from qmix_jax.types import Array, EpisodeLog, Evaluation, TrainState, UpdateMetrics


class RunMetrics(NamedTuple):
    """Metrics of a run, one row for each of K chunks of `config.chunk_length` vector steps; the last may be shorter.

    Missing values are NaN, or 0 under JAX_DEBUG_NANS, which rejects every NaN.
    """

    env_steps: Array  # int32[K], environment steps by the end of the chunk
    episodes: Array  # int32[K], episodes that finished in the chunk
    episode_return: Array  # float32[K], their mean discounted team return, NaN without any
    episode_length: Array  # float32[K], their mean length in steps, NaN without any
    epsilon: Array  # float32[K], mean exploration rate of the chunk's last vector step
    updates: UpdateMetrics  # float32[K] each, mean over the chunk's vector steps with updates, NaN without any
    evaluation: Evaluation  # float32[K] each, greedy policy at the end of the chunk
    skipped: Array  # int32[K], updates skipped as not finite by the end of the chunk


def make_train(
    config: Config, environment: Environment | None = None, check: bool = True
) -> Callable[[Array], tuple[TrainState, RunMetrics]]:
    """Build `train(key) -> (state, metrics)`, which can be jitted as a whole and vmapped over keys.

    `train(jax.random.key(config.seed))` trains the same parameters as `python train.py` with the same configuration,
    and evaluates after every chunk.

    Args:
        config: settings; those of the run directory are not used.
        environment: what to train on; None for the one that `config` names.
        check: whether to play a few random episodes of a given environment first, see `run`.

    Raises:
        ConfigError: the environment breaks the contract or contradicts `config`, see `choose_environment`.
    """
    environment = choose_environment(config, environment, check)
    trainer = make_trainer(config, environment)

    @pinned()
    def train(key: Array) -> tuple[TrainState, RunMetrics]:
        eval_key = evaluation_key(jax.random.clone(key))

        def chunk(state: TrainState, _: None) -> tuple[TrainState, RunMetrics]:
            state, log = trainer.train_chunk(state)
            evaluation = trainer.evaluate(state.learner.params, jax.random.clone(eval_key))
            env_steps, skipped = state.vector_step * config.num_envs, state.learner.faults.skipped
            return state, summarise_chunk(env_steps, log, evaluation, skipped, unmeasured(config))

        return jax.lax.scan(chunk, trainer.init(key), length=config.num_chunks)

    return train


def summarise_chunk(
    env_steps: Array, log: EpisodeLog, evaluation: Evaluation, skipped: Array, unmeasured: Sequence[str] = ()
) -> RunMetrics:
    """Average one chunk's log, `EpisodeLog` with a leading axis of vector steps; `unmeasured` metrics are missing."""

    def mean(values: Array, known: Array) -> Array:
        return jnp.where(jnp.any(known), jnp.mean(values.astype(jnp.float32), where=known), none)

    def mean_of_updates(values: Array) -> Array:
        return mean(values, log.num_step_updates > 0)

    none = missing_value()
    updates = jax.tree.map(mean_of_updates, log.step_updates)
    return RunMetrics(
        env_steps=env_steps,
        episodes=jnp.sum(log.finished, dtype=jnp.int32),
        episode_return=mean(log.episode_return, log.finished),
        episode_length=mean(log.episode_length, log.finished),
        epsilon=log.epsilon[-1],
        updates=updates._replace(**dict.fromkeys(unmeasured, none)),
        evaluation=jax.tree.map(
            lambda value: none if value is None else value, evaluation, is_leaf=lambda x: x is None
        ),
        skipped=skipped,
    )
