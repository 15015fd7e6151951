"""The compiled functions of a group of members."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import Environment
from qmix_jax.experiments.plan import Group, member_values
from qmix_jax.runs.compilation import chunk_options, donated, naming_faults, snapshot
from qmix_jax.training.evaluation import evaluation_key
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.population import make_population


class GroupPrograms(NamedTuple):
    """Compiled functions, bound to the members' settings and keys: groups that are alike share what was compiled."""

    init: Any  # () -> TrainState
    train_chunk: Any  # TrainState (donated) -> (TrainState, EpisodeLog)
    evaluate: Any  # Params -> Evaluation
    snapshot: Any  # LearnerState -> Progression
    shardings: Any  # TrainState of where each array lies
    rows: int  # members with those that only fill up the last device


def compile_group(group: Group, environment: Environment) -> GroupPrograms:
    """Compile a group's functions for all devices that this process has, or as many as there are members."""
    devices = min(len(group.members), jax.local_device_count())
    # Every device has as many members as the others: the last member fills up.
    filled = group._replace(members=group.members + group.members[-1:] * (-len(group.members) % devices))
    members = make_population(group.members[0].config, environment, group.names, devices)
    settings = {name: jnp.array(values, jnp.float32) for name, values in member_values(filled).items()}
    keys = jnp.stack([seed_key(member.config.seed) for member in filled.members])
    eval_keys = jnp.stack([evaluation_key(seed_key(member.config.seed)) for member in filled.members])

    init = jax.jit(members.init).lower(settings, keys).compile()
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(members.init, settings, keys),
        init.output_shardings,
    )
    shardings, options = init.output_shardings, chunk_options(devices)
    chunk = jax.jit(members.train_chunk, donate_argnums=donated(1)).lower(settings, state).compile(options)
    evaluate = jax.jit(members.evaluate).lower(settings, state.learner.params, eval_keys).compile()
    chunk_settings, eval_settings, eval_keys = jax.device_put(
        (settings, settings, eval_keys),
        (chunk.input_shardings[0][0], evaluate.input_shardings[0][0], evaluate.input_shardings[0][2]),
    )
    init, chunk, evaluate = map(naming_faults, (init, chunk, evaluate))
    return GroupPrograms(
        init=lambda: init(settings, keys),
        train_chunk=lambda state: chunk(chunk_settings, state),
        evaluate=lambda params: evaluate(eval_settings, params, eval_keys),
        snapshot=jax.jit(snapshot).lower(state.learner).compile(),
        shardings=shardings,
        rows=len(filled.members),
    )
