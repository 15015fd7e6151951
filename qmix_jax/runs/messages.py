"""Messages of a run: title, start, resume, divergence and conclusion."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.faults import MOST_SKIPPED, QUANTITIES, skips_too_many
from qmix_jax.runs.loop import Chunk
from qmix_jax.storage.checkpoint import DIVERGED
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import EVALUATION_COLUMNS, logged, read_log
from qmix_jax.storage.machine_memory import format_bytes
from qmix_jax.storage.resume_point import REPLAY, ResumePoint
from qmix_jax.types import Evaluation, Progression

_CLEARLY = 0.05  # least reported shortfall of the last evaluation, in gains of the best one over random


def task_name(config: Config, spec: EnvSpec) -> str:
    """Return the environment's name, with what its settings make of it."""
    settings = config.env_mode if config.env == Config.env else " ".join(config.env_args or ())
    return f"{spec.name} ({settings})" if settings else spec.name


def run_title(config: Config, spec: EnvSpec) -> str:
    """Return the title of a run's plots."""
    task = task_name(config, spec)
    return f"{config.algorithm.upper()} on {task}, {config.num_envs} environments, seed {config.seed}"


def folder_line(path: Path) -> str:
    """Return the line that names the folder of a run or of several, printed before training starts."""
    return f"writing to {path}"


def start_lines(hparams: dict[str, Any]) -> list[str]:
    """Return the lines printed before training starts."""
    derived, device = hparams["derived"], hparams["device"]
    used, algorithm = hparams["num_devices"], hparams["algorithm"].upper()
    kept = "replay" if hparams["replay"] != "none" else f"rollouts of {hparams['sequence_length']} steps"
    return [
        f"{algorithm} on {derived['environment']}: {hparams['num_envs']} environments x "
        f"{derived['vector_steps']} steps = {derived['env_steps']} environment steps, "
        f"{derived['total_updates']} updates",
        f"{kept}: {derived['replay_capacity']} transitions of {derived['replay_bytes_per_transition']} bytes, "
        f"{format_bytes(derived['replay_bytes'])}",
        f"device: {used} x {device['kind']} ({device['backend']}), {device['cores']} cores",
        *(f"notice: {notice}" for notice in hparams["notices"]),
    ]


def resume_lines(config: Config, point: ResumePoint, began_on: int) -> list[str]:
    """Return the lines printed before a run resumes; `began_on` is its previous number of devices."""
    state = point.saved.state
    done = int(state.vector_step) * config.num_envs
    lines = [f"notice: {line}" for line in point.skipped]
    lines.append(f"resuming {point.checkpoint.name}: {done} of {config.env_steps} environment steps are done")
    if not point.notes.replay:
        lines.append(
            f"notice: it has no replay, so the next {config.first_update_step} environment steps refill it without "
            "updates, and the result is not that of an uninterrupted run"
        )
    if int(state.learner.schedule.end) != config.total_updates:
        lines.append(
            f"notice: {config.total_updates} updates instead of {int(state.learner.schedule.end)}: the learning rate "
            f"decay continues from its current value to the new end; epsilon decays over {config.exploration_steps} "
            "steps, as before"
        )
    if config.num_devices != began_on:
        lines.append(
            f"notice: --num_devices {config.num_devices}, not {began_on}: learner, schedules, replay, episodes and "
            "logs continue exactly; random numbers, each environment's epsilon and the composition of batches depend "
            "on the number of devices, so the result is not that of an uninterrupted run"
        )
    return lines


def divergence_line(directory: RunDirectory, chunk: Chunk) -> str:
    """Describe what was not finite, since when, and where the state is saved; `chunk` is the run's last."""
    faults = chunk.progression.faults
    assert chunk.state is not None
    culprits = [
        f"{int(np.sum(~np.isfinite(array)))} {name.rpartition('/')[2]} in replay"
        for name, array in chunk.state.items()
        if name.startswith(REPLAY) and array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    also = f"; also not finite: {', '.join(culprits)}" if culprits else ""
    return (
        f"the {QUANTITIES[int(faults.quantity)]} was not finite from update {int(faults.since)} on, "
        f"{int(faults.streak)} times in a row{also}; the parameters are those before it, "
        f"and the state is in {directory.models}/{DIVERGED}*"
    )


def conclusion_lines(
    evaluation: Evaluation, directory: RunDirectory, random_return: float, end: Progression
) -> list[str]:
    """Summarise the final policy, a clearly better earlier one, and skipped updates.

    Args:
        evaluation: of the final policy.
        directory: the run's, with a complete evaluation_log.csv.
        random_return: mean return of random actions from the same starts.
        end: the learner at the run's end.
    """
    success = "" if np.isnan(evaluation.solved) else f", success rate {evaluation.solved:.0%}"
    lines = [f"final policy: return {evaluation.mean_return:z.3f}{_limit(evaluation)}{success}"]
    lines += _best_lines(read_log(directory.evaluation_log, EVALUATION_COLUMNS), logged(random_return))
    skipped = int(end.faults.skipped)
    if skipped:
        lines.append(
            f"warning: {skipped} of {int(end.updates)} updates skipped: their loss or gradient was not finite. Large "
            "rewards and errors overflow first, so the policy may not have learned from them; "
            f"see `skipped` in {directory.diagnostics_log}"
        )
    return lines


def too_many_skipped(end: Progression) -> str | None:
    """Explain why a run that trained to its end counts as diverged; None if it does not."""
    skipped, updates = int(end.faults.skipped), int(end.updates)
    if not skips_too_many(skipped, updates):
        return None
    return (
        f"{skipped} of {updates} updates skipped, more than {MOST_SKIPPED:.0%}: "
        "the run counts as diverged; its files are complete"
    )


def _limit(evaluation: Evaluation) -> str:
    """Relate the final return to the best possible one: as a fraction, or as regret if that is undefined."""
    if not math.isnan(evaluation.optimality):
        return f" ({evaluation.optimality:z.1%} of the best possible)"
    if math.isnan(evaluation.best_return):
        return ""
    regret = evaluation.best_return - evaluation.mean_return
    return f" (regret {regret:z.3f}, best possible {evaluation.best_return:z.3f})"


def _best_lines(evaluations: dict[str, np.ndarray], random_return: float) -> list[str]:
    returns = np.nan_to_num(evaluations["mean_return"], nan=-np.inf)
    best = int(np.argmax(returns))
    if np.isinf(returns[best]):
        return ["warning: no evaluation has a finite return: the environment's rewards are not finite"]
    if returns[best] <= random_return:
        return [f"warning: no evaluation was better than random actions, whose return is {random_return:z.3f}"]
    gain = np.nan_to_num(returns[best] - random_return)  # 0 if the return of random actions is not finite
    if returns[-1] >= returns[best] - _CLEARLY * gain:
        return []
    at = f"at {int(evaluations['env_steps'][best])} environment steps"
    return [f"its best was return {returns[best]:z.3f} {at}: models/best_model, --checkpoint best"]
