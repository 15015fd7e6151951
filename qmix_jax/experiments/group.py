"""Trains the members of a sweep: one compiled program for a group of them, and a normal run directory for each."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import jax

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.errors import warn_on_failure
from qmix_jax.experiments.group_loop import GroupLoop, member_state
from qmix_jax.experiments.group_programs import compile_group
from qmix_jax.experiments.group_resume import common_points
from qmix_jax.experiments.plan import Group
from qmix_jax.runs.baselines import play_baselines
from qmix_jax.runs.messages import run_title
from qmix_jax.runs.recorder import Recorder
from qmix_jax.runs.resume import saved_template
from qmix_jax.runs.signals import StopSignal
from qmix_jax.storage.directory import RunDirectory, make_run_directory
from qmix_jax.storage.hparams import describe_run, write_hparams
from qmix_jax.storage.lock import RunLock
from qmix_jax.storage.resume_point import state_arrays
from qmix_jax.training.environments import make_environment
from qmix_jax.training.evaluation import baseline_name, extra_names
from qmix_jax.training.population import stack_states
from qmix_jax.training.trainer import make_trainer


def train_group(group: Group, root: Path, show: Callable[[], None], stop_signal: StopSignal) -> int | None:
    """Train a group's members to their end, or until `stop_signal` gives a number, which is returned.

    They go on from what an earlier process has left.

    A member whose updates are not finite stays as it was before them, and the others go on.

    Args:
        group: members of one program.
        root: the sweep's folder.
        show: called after every chunk.
        stop_signal: asked after every chunk.

    Raises:
        ConfigError: another process trains a member, or members cannot go on together.
        CannotWriteError: a member's folder cannot be written to.
    """
    config = group.members[0].config
    environment = make_environment(config)
    directories = [make_run_directory(root / member.folder, f"--results_dir {root}") for member in group.members]
    with ExitStack() as stack:
        for member, directory in zip(group.members, directories, strict=True):
            stack.enter_context(RunLock(directory.path))
            write_hparams(directory.hparams, describe_run(member.config, environment.spec))
        points = common_points(directories, saved_template(make_trainer(config, environment)))
        writer, background = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        recorders = [
            stack.enter_context(Recorder(member.config, directory, extra_names(environment), point, False, writer))
            for member, directory, point in zip(
                group.members, directories, points or repeat(None, len(directories)), strict=True
            )
        ]
        programs = compile_group(group, environment)
        state = programs.init()
        if points is not None:
            states = [point.saved.state for point in points]
            state = jax.device_put(
                stack_states(states + states[-1:] * (programs.rows - len(states))), programs.shardings
            )
        first = state_arrays(state, config.checkpoint_replay) if points is None else None
        params = jax.device_get(programs.snapshot(state.learner).params)
        for i, recorder in enumerate(recorders):
            recorder.start(_row(params, i), None if first is None else member_state(first, i))
        for recorder in recorders:
            recorder.wait()  # members that have rows can be resumed, and so can all others
        seeds = dict.fromkeys(member.config.seed for member in group.members)  # each has starts of its own
        baselines = {seed: background.submit(play_baselines, replace(config, seed=seed), environment) for seed in seeds}

        done = sum(point.notes.episodes for point in points or [])
        loop = GroupLoop(config, programs, state, len(group.members), done)
        for chunk in loop.chunks(stop_signal):
            for i, recorder in enumerate(recorders):
                recorder.record(chunk.of_member(i))
            show()
        if loop.stopped_by is not None:
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
    """Whether an earlier process left nothing to do for the group: plots are what a member writes last."""
    directories = [RunDirectory(root / member.folder) for member in group.members]
    return all(has_ended(directory) and directory.diagnostics_plots.is_file() for directory in directories)


def _row(tree: Any, member: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[member], tree)
