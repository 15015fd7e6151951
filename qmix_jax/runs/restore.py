"""What a process that resumes a run takes up: a cleared folder, the saved state on its devices, and words about it."""

from dataclasses import replace

import jax.numpy as jnp

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.learning.schedule import extend_schedule
from qmix_jax.runs.collectives import is_first, place, told_by_first
from qmix_jax.runs.compilation import Programs
from qmix_jax.runs.resume import (
    ResumePoint,
    find_resume_point,
    has_begun,
    load_resume_point,
    read_notes,
    saved_template,
)
from qmix_jax.storage.checkpoint import clear_models, clear_unfinished
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.training.trainer import make_trainer
from qmix_jax.types import TrainState


def find_start(config: Config, environment: Environment, directory: RunDirectory) -> ResumePoint | None:
    """Where the run goes on, its folder cleared of what came later; None where nothing had come yet.

    Of several processes, the first looks and clears, and the others read the checkpoint that it has found.
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

    name = told_by_first(find)
    if name and not is_first():
        path = directory.models / name
        found.append(load_resume_point(path, read_notes(path, directory), template))
    return found[0] if found else None


def restore_state(config: Config, programs: Programs, fresh: TrainState, point: ResumePoint) -> TrainState:
    """The saved state on the devices of a run that has `fresh` at its start."""
    state = point.saved.state
    if not point.notes["replay"]:
        state = replace(state, replay=fresh.replay, replay_start=state.vector_step)
    state = place(state, programs.shardings)
    learner = state.learner
    if int(learner.schedule.end) != config.total_updates:
        schedule = extend_schedule(learner.schedule, jnp.copy(learner.updates), config.total_updates)
        state = place(replace(state, learner=replace(learner, schedule=schedule)), programs.shardings)
    return state


def resume_lines(config: Config, point: ResumePoint, began_on: int) -> list[str]:
    """What is said before a run goes on; `began_on` is the number of devices that it ran on until now."""
    state = point.saved.state
    done = int(state.vector_step) * config.num_envs
    lines = [f"notice: {line}" for line in point.skipped]
    lines.append(f"resuming {point.checkpoint.name}: {done} of {config.env_steps} environment steps are done")
    if not point.notes["replay"]:
        lines.append(
            f"notice: it holds no replay, so the next {config.first_update_step} environment steps refill it without "
            "updates, and the result is not that of an uninterrupted run"
        )
    if int(state.learner.schedule.end) != config.total_updates:
        lines.append(
            f"notice: {config.total_updates} updates instead of {int(state.learner.schedule.end)}: the learning rate "
            f"goes on from where it stands, towards the new end; epsilon falls over {config.exploration_steps} steps, "
            "as before"
        )
    if config.num_devices != began_on:
        lines.append(
            f"notice: --num_devices {config.num_devices}, not {began_on}: learner, schedules, replay, episodes and "
            "logs go on exactly; random numbers, each environment's epsilon and the make-up of batches depend on the "
            "number of devices, so that the result is not that of an uninterrupted run"
        )
    return lines
