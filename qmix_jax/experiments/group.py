"""Trains a group of a sweep's members with one compiled program, and writes a normal run directory for each member."""

import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.types import Environment
from qmix_jax.analysis.run_record import has_ended
from qmix_jax.errors import ConfigError, DamagedError, warn_on_failure
from qmix_jax.experiments.outcomes import last_row
from qmix_jax.experiments.plan import Group, Member, member_values
from qmix_jax.runs.baselines import play_baselines
from qmix_jax.runs.compilation import Programs, compile_programs
from qmix_jax.runs.initial import initial_params, start_from
from qmix_jax.runs.loop import Chunk, Loop
from qmix_jax.runs.messages import run_title
from qmix_jax.runs.recorder import Recorder
from qmix_jax.runs.resume import saved_template
from qmix_jax.runs.signals import StopSignal, leaving_at_once
from qmix_jax.storage.checkpoint import checkpoints, clear_models, clear_unfinished, remove_models
from qmix_jax.storage.directory import RunDirectory, make_run_directory
from qmix_jax.storage.environment_record import check_environment
from qmix_jax.storage.hparams import describe_run, write_hparams
from qmix_jax.storage.lock import RunLock
from qmix_jax.storage.resume_point import (
    STATE,
    Notes,
    ResumePoint,
    Saved,
    has_rows,
    load_resume_point,
    read_notes,
    state_arrays,
)
from qmix_jax.training.environments import make_environment
from qmix_jax.training.evaluation import baseline_name, evaluation_key, extra_names
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.population import is_shared, make_population, stack_states
from qmix_jax.training.trainer import make_trainer
from qmix_jax.types import Progression


def train_group(group: Group, root: Path, stop_signal: StopSignal) -> int | None:
    """Train a group's members to their end or `group.until`, from their newest common checkpoint if there is one.

    A member whose updates are not finite keeps its last finite state; the others train on.

    Args:
        group: members that share a program.
        root: the sweep's folder.
        stop_signal: asked after every chunk for the signal to stop with.

    Returns:
        The signal that stopped the training, None at its end.

    Raises:
        ConfigError: another process is training a member, or the members have no checkpoint in common.
        CannotWriteError: a member's folder cannot be written to.
    """
    config = group.members[0].config
    environment = make_environment(config)
    directories = [make_run_directory(root / member.folder, f"--results_dir {root}") for member in group.members]
    with ExitStack() as stack:
        for member, directory in zip(group.members, directories, strict=True):
            stack.enter_context(RunLock(directory.path))
            if directory.hparams.is_file():
                check_environment(directory.hparams, environment, resumes=True)
            write_hparams(directory.hparams, describe_run(member.config, environment))
        points = common_resume_points(directories, saved_template(make_trainer(config, environment)))
        writer, background = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        turns = -(-len(directories) // jax.local_device_count()) if jax.default_backend() == "cpu" else 1
        recorders = [
            stack.enter_context(
                Recorder(
                    member.config, directory, extra_names(environment), point, quiet=True, writer=writer, turns=turns
                )
            )
            for member, directory, point in zip(
                group.members, directories, points or repeat(None, len(directories)), strict=True
            )
        ]
        with leaving_at_once(root, f"the compilation of {len(group.members)} runs"):
            programs = compile_group(group, environment)
        state = programs.init()
        if points is None:
            state = start_from(initial_params(config, environment.spec), state, programs.shardings)
        else:
            states = [point.saved.state for point in points]
            padding = len(state.learner.faults.streak) - len(states)
            state = jax.device_put(stack_states(states + states[-1:] * padding), programs.shardings)
        first = state_arrays(state, config.checkpoint_replay) if points is None else None
        params = jax.device_get(programs.snapshot(state.learner).params)
        for i, recorder in enumerate(recorders):
            recorder.start(_row(params, i), None if first is None else member_state(first, i))
        for recorder in recorders:
            recorder.wait()  # from here on every member can be resumed
        seeds = dict.fromkeys(member.config.seed for member in group.members)  # each has its own starts
        baselines = {seed: background.submit(play_baselines, replace(config, seed=seed), environment) for seed in seeds}

        done = sum(point.notes.episodes for point in points or [])
        loop = Loop(config, programs, state, done, len(group.members), group.until)
        for chunk in loop.chunks(stop_signal):
            fetched = jax.device_get(chunk)
            for i, recorder in enumerate(recorders):
                recorder.record(member_chunk(fetched, i))
        if loop.stopped_by is not None or (group.until is not None and group.until < config.env_steps):
            return loop.stopped_by
        snapshot = programs.snapshot(loop.state.learner)
        params, evaluation = jax.device_get((snapshot.params, programs.evaluate(snapshot.params)))
        for i, (member, recorder) in enumerate(zip(group.members, recorders, strict=True)):
            if snapshot.faults.streak[i] < config.max_bad_updates:
                recorder.finish(_row(params, i), _row(evaluation, i))
            own = math.nan
            with warn_on_failure("the baseline's evaluation"):
                own = float(baselines[member.config.seed].result().own)
            recorder.plot(run_title(member.config, environment.spec), own, baseline_name(environment.spec))
    return None


def is_finished(group: Group, root: Path) -> bool:
    """Return whether an earlier process has got to the group's end or `until`: a member writes its plots last."""
    directories = [RunDirectory(root / member.folder) for member in group.members]
    if group.until is not None and group.until < group.members[0].config.env_steps:
        return all(has_ended(run) or last_row(run.timing).get("env_steps", 0) >= group.until for run in directories)
    if group.alone:
        return has_ended(directories[0])
    return all(has_ended(directory) and directory.diagnostics_plots.is_file() for directory in directories)


def split_uneven(group: Group, root: Path) -> list[Group]:
    """Split a group whose members have made steps, but have no whole checkpoint of one step in common.

    Some of them were trained alone, or in another group: with other `--workers`, or by an earlier version.

    Args:
        group: members that share a program.
        root: the experiment's folder.

    Returns:
        Groups of which each can be trained as one, in the order of their first members.
    """
    directories = {member: RunDirectory(root / member.folder) for member in group.members}
    if group.alone or not any(map(has_rows, directories.values())):
        return [group]
    begun = {member: directory for member, directory in directories.items() if directory.models.is_dir()}
    steps = {member: set(_whole_checkpoints(begun[member])) if member in begun else set() for member in group.members}
    parts: list[tuple[Member, ...]] = []
    while steps:
        counts = Counter(step for found in steps.values() for step in found)
        most = max(counts, key=lambda step: (counts[step], step), default=None)
        parts.append(tuple(member for member, found in steps.items() if most is None or most in found))
        for member in parts[-1]:
            del steps[member]
    order = {member: number for number, member in enumerate(group.members)}
    return [group._replace(members=part) for part in sorted(parts, key=lambda part: order[part[0]])]


def common_resume_points(directories: Sequence[RunDirectory], template: Saved) -> list[ResumePoint] | None:
    """Load each member's checkpoint of the newest step that all members have, and remove later checkpoints.

    Members write their checkpoints one after another, so a kill leaves some of them one checkpoint ahead.

    Args:
        directories: the members' run directories.
        template: shapes and dtypes that each resume.npz must have.

    Returns:
        None where no member had made a step: the group starts over, in cleared folders.

    Raises:
        ConfigError: members have made steps, but have no whole checkpoint of one step in common.
    """
    whole = [_whole_checkpoints(directory) for directory in directories]
    while common := set.intersection(*map(set, whole)):
        newest = max(common)
        points = [
            _load_point(directory, found, newest, template) for directory, found in zip(directories, whole, strict=True)
        ]
        loaded = [point for point in points if point is not None]
        if len(loaded) == len(directories):
            return [_clear_later(*each, newest) for each in zip(directories, whole, loaded, strict=True)]
    if any(map(has_rows, directories)):
        raise ConfigError(
            f"--resume {directories[0].path.parent}: must have whole checkpoints of all members at one step"
        )
    for directory in directories:
        clear_unfinished(directory.models)
        remove_models(checkpoints(directory.models))
        for log in directory.logs:
            log.unlink(missing_ok=True)
    return None


def _whole_checkpoints(directory: RunDirectory) -> dict[int, tuple[Path, Notes]]:
    """Return folder and notes of every undamaged checkpoint, by environment steps."""
    found: dict[int, tuple[Path, Notes]] = {}
    for path in checkpoints(directory.models):
        try:
            notes = read_notes(path, directory)
        except (OSError, DamagedError):
            continue
        found.setdefault(notes.env_steps, (path, notes))
    return found


def _load_point(
    directory: RunDirectory, found: dict[int, tuple[Path, Notes]], step: int, template: Saved
) -> ResumePoint | None:
    path, notes = found[step]
    try:
        return load_resume_point(path, notes, template)
    except (OSError, DamagedError):
        del found[step]
        return None


def _clear_later(
    directory: RunDirectory, found: dict[int, tuple[Path, Notes]], point: ResumePoint, step: int
) -> ResumePoint:
    remove_models(path for at, (path, _) in found.items() if at > step)
    return point._replace(checkpoint=clear_models(directory.models, point.checkpoint))


def compile_group(group: Group, environment: Environment) -> Programs:
    """Compile a group's functions for all local devices, or for as many as there are members.

    Every device needs the same number of members: copies of the last one fill up.
    """
    devices = min(len(group.members), jax.local_device_count())
    filled = group._replace(members=group.members + group.members[-1:] * (-len(group.members) % devices))
    population = make_population(group.members[0].config, environment, group.names, devices)
    settings = {name: jnp.array(values, jnp.float32) for name, values in member_values(filled).items()}
    keys = jnp.stack([seed_key(member.config.seed) for member in filled.members])
    evaluation_keys = jnp.stack([evaluation_key(seed_key(member.config.seed)) for member in filled.members])
    return compile_programs(population, keys, evaluation_keys, settings)


def member_chunk(chunk: Chunk, member: int) -> Chunk:
    """Return one member's part of a population's chunk on the host."""
    params, updates, faults = chunk.progression
    log, evaluation, params, faults, diverged = _row(
        (chunk.log, chunk.evaluation, params, faults, chunk.diverged), member
    )
    state = None if chunk.state is None else member_state(chunk.state, member)
    return Chunk(chunk.env_steps, log, Progression(params, updates, faults), evaluation, state, diverged)


def member_state(arrays: dict[str, np.ndarray], member: int) -> dict[str, np.ndarray]:
    """Return the arrays of one member's checkpoint, from `state_arrays` of all members."""
    return {name: array if is_shared(name.removeprefix(STATE)) else array[member] for name, array in arrays.items()}


def _row(tree: Any, member: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[member], tree)
