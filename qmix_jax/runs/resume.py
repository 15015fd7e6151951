"""Resuming a run: its changed configuration, the folder reset to a checkpoint, the state restored on the devices."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp

from env_jax.types import Environment
from qmix_jax.config import BUDGETS, Config
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.learning.optimizer import extend_schedule
from qmix_jax.runs.collectives import broadcast_from_first, is_first, place
from qmix_jax.runs.compilation import Programs
from qmix_jax.storage.checkpoint import clear_models, clear_unfinished
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import check_no_links
from qmix_jax.storage.hparams import read_config
from qmix_jax.storage.resume_point import (
    ResumePoint,
    Saved,
    find_resume_point,
    has_begun,
    load_resume_point,
    read_notes,
)
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import Trainer, make_trainer
from qmix_jax.types import TrainState


def resumed_config(directory: RunDirectory, changes: Mapping[str, Any]) -> Config:
    """Return the run's configuration with `changes`: a larger budget, other devices, and changeable settings.

    Raises:
        ConfigError: the directory holds no run, or a setting cannot be changed.
    """
    try:
        if not directory.hparams.is_file():
            raise ConfigError(f"must be the folder of a run, with {directory.hparams.relative_to(directory.path)}")
        check_no_links(directory.path)
        config = read_config(directory.hparams)
    except (OSError, ConfigError, DamagedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--resume {directory.path}: {reason}") from None
    declared = {field.name: field for field in fields(Config)}
    for name, value in changes.items():
        old = getattr(config, name)
        may_change = name in (*BUDGETS, "num_devices") or declared[name].metadata["changeable"]
        if value != old and not may_change:
            raise ConfigError(f"--{name} {value}: must stay {old} when the run is resumed")
    budgets = [f"--{name} {changes[name]}" for name in BUDGETS if name in changes]
    if len(budgets) > 1:
        raise ConfigError(f"{' and '.join(budgets)}: give only one of them")
    if budgets:  # the other budget no longer applies, and epsilon keeps its decay
        rest = {"total_episodes": Config.total_episodes, "total_steps": None}
        changes = {**rest, "epsilon_decay_steps": config.exploration_steps, **changes}
    changed = replace(config, **changes)
    if changed.env_steps < config.env_steps:
        raise ConfigError(
            f"{budgets[0]}: {changed.env_steps} environment steps; must be at least {config.env_steps}, "
            "the budget so far"
        )
    return changed


def saved_template(trainer: Trainer) -> Saved:
    """Return the shapes and dtypes of this trainer's checkpoints."""
    state = jax.eval_shape(trainer.init, seed_key(0))
    return Saved(state, state.learner.params)


def find_start(config: Config, environment: Environment, directory: RunDirectory) -> ResumePoint | None:
    """Find the resume point and remove what was written after it; None if the run had not started yet.

    With several processes, the first one searches and cleans up, and the others read the same checkpoint.
    """
    template = saved_template(make_trainer(config, environment))
    found: list[ResumePoint] = []

    def find() -> str:
        if not has_begun(directory):
            clear_unfinished(directory.models)
            for log in directory.logs:
                log.unlink(missing_ok=True)
            return ""
        point = find_resume_point(directory, template)
        found.append(point._replace(checkpoint=clear_models(directory.models, point.checkpoint)))
        return found[0].checkpoint.name

    name = broadcast_from_first(find)
    if name and not is_first():
        path = directory.models / name
        found.append(load_resume_point(path, read_notes(path, directory), template))
    return found[0] if found else None


def restore_state(config: Config, programs: Programs, fresh: TrainState, point: ResumePoint) -> TrainState:
    """Place the saved state on the devices; `fresh` is the run's initial state, used for missing replay."""
    state = point.saved.state
    if not point.notes.replay:
        state = replace(state, replay=fresh.replay, replay_start=state.vector_step)
    state = place(state, programs.shardings)
    learner = state.learner
    if int(learner.schedule.end) != config.total_updates:
        schedule = extend_schedule(learner.schedule, jnp.copy(learner.updates), config.total_updates)
        state = place(replace(state, learner=replace(learner, schedule=schedule)), programs.shardings)
    return state
