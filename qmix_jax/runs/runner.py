"""One run, from a configuration to a complete run directory."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.errors import (
    CannotWriteError,
    ConfigError,
    DivergedError,
    StoppedError,
    is_callback_error,
    marking_callback_errors,
    reporting,
    warn_on_failure,
)
from qmix_jax.output import print_lines
from qmix_jax.runs.baselines import play_baselines
from qmix_jax.runs.collectives import broadcast_from_first, is_first
from qmix_jax.runs.compilation import compile_programs, device_memory, sharing_devices
from qmix_jax.runs.dashboards import check_dashboards
from qmix_jax.runs.initial import initial_params, start_from
from qmix_jax.runs.loop import Loop
from qmix_jax.runs.messages import (
    conclusion_lines,
    divergence_line,
    folder_line,
    resume_lines,
    run_title,
    start_lines,
    too_many_skipped,
)
from qmix_jax.runs.recorder import Follower, Recorder
from qmix_jax.runs.resume import find_start, restore_state, resumed_config
from qmix_jax.runs.shell import check_settings
from qmix_jax.runs.signals import StopSignal, leaving_at_once
from qmix_jax.storage.directory import (
    RunDirectory,
    check_run_directory,
    create_run_directory,
    make_run_directory,
    missing_folders,
    remove_empty,
)
from qmix_jax.storage.environment_record import check_environment
from qmix_jax.storage.hparams import describe_run, read_config, write_hparams
from qmix_jax.storage.lock import RunLock, check_system
from qmix_jax.storage.logs import EVALUATION_COLUMNS, fetch_evaluation
from qmix_jax.storage.machine_memory import format_bytes
from qmix_jax.storage.resume_point import ResumePoint, state_arrays
from qmix_jax.training.environments import choose_environment, same_environment, with_environment_name
from qmix_jax.training.evaluation import BaselineReturns, baseline_name, evaluation_key, extra_names
from qmix_jax.training.pinning import pinned, seed_key
from qmix_jax.training.replay import replay_bytes
from qmix_jax.training.sharding import check_devices
from qmix_jax.training.trainer import make_trainer
from qmix_jax.types import Evaluation, Params

OnEvaluation = Callable[[int, Evaluation], None]  # (environment steps, evaluation on the host)


class RunResult(NamedTuple):
    """Result of a run."""

    directory: Path
    evaluation: Evaluation  # of the final policy
    params: Params


@pinned()
def run(
    config: Config,
    stop_signal: StopSignal = lambda: None,
    run_directory: str | Path | None = None,
    environment: Environment | None = None,
    on_evaluation: OnEvaluation | None = None,
    check: bool = True,
    heading: Sequence[str] = (),
) -> RunResult:
    """Train `config` and write a complete run directory, whose path is the last line printed unless `config.quiet`.

    Args:
        config: the run's settings.
        stop_signal: called after every chunk; once it returns a number, the run saves and ends. (A command's
            `StopRequest` also ends the process while it compiles.)
        run_directory: a new or empty folder to write to; None for the next `run_<i>` in `config.results_dir`.
        environment: what to train on, with its own time limit; None for the one that `config` names. hparams.json then
            has its name as `env`, and it must be passed again to resume or load the run.
        on_evaluation: called in the first process with the environment steps so far and each evaluation (NumPy values),
            after its row is written. An exception it raises ends the run, which can be resumed.
        check: whether to play random episodes of the given environment for about 2 s first, and refuse values that
            break the contract (shapes and dtypes are always checked). Values during training are not checked.
        heading: lines printed before all others.

    Raises:
        ConfigError: the run directory cannot be created, the replay does not fit in memory, there are too few devices,
            or the environment breaks the contract or contradicts `config`.
        RunError: the run had to end, see `errors`.
    """
    given, environment = environment, choose_environment(config, environment, check)
    config = with_environment_name(config, given)
    _check_fit(config, environment)
    initial = initial_params(config, environment.spec)  # refused before anything is written
    missing = missing_folders(Path(run_directory or config.results_dir))
    directory = RunDirectory(Path(broadcast_from_first(lambda: str(_make_directory(config, run_directory).path))))
    try:
        flag = "--run_directory" if run_directory is not None else ""
        with reporting(directory.path, "run", config.quiet), _lock(directory, flag):
            _announce(config, environment, directory, heading=heading)
            return _train(config, environment, directory, None, initial, stop_signal, on_evaluation)
    except (ConfigError, CannotWriteError):  # the run may have been refused before it wrote anything
        if is_first():
            new = [directory.path] if run_directory is None else []
            remove_empty([directory.models, directory.hparams.parent, *new, *missing])
        raise


@pinned()
def resume_run(
    run_directory: str | Path,
    changes: Mapping[str, Any] | None = None,
    stop_signal: StopSignal = lambda: None,
    environment: Environment | None = None,
    on_evaluation: OnEvaluation | None = None,
) -> RunResult:
    """Resume a run from its newest intact checkpoint, to its planned end or a later one.

    On the same machine, the result is bitwise that of an uninterrupted run if checkpoints contain the replay and
    `changes` has no new budget or number of devices.

    Args:
        run_directory: `results/run_<i>`.
        changes: new values of settings, by name: a larger budget, other devices, and changeable settings.
        stop_signal: as for `run`.
        environment: the run's environment, if it was passed to `run` as an object or is named by a module; else None.
        on_evaluation: as for `run`, for the remaining evaluations.

    Raises:
        ConfigError: the run cannot be resumed, is in use, was trained on another environment, or a setting cannot be
            changed.
        RunError: the run had to end, see `errors`.
    """
    directory = RunDirectory(Path(run_directory))
    config = resumed_config(directory, changes or {})
    began_on = read_config(directory.hparams).num_devices
    environment = same_environment(config, environment)
    lines = [f"notice: {line}" for line in check_environment(directory.hparams, environment, resumes=True)]
    _check_fit(config, environment)
    with _lock(directory, "--resume"), reporting(directory.path, "run", config.quiet):
        point = find_start(config, environment, directory)
        lines += [] if point is None else resume_lines(config, point, began_on)
        _announce(config, environment, directory, lines)
        initial = initial_params(config, environment.spec) if point is None else None
        return _train(config, environment, directory, point, initial, stop_signal, on_evaluation)


def _train(
    config: Config,
    environment: Environment,
    directory: RunDirectory,
    point: ResumePoint | None,
    initial: Params | None,
    stop_signal: StopSignal,
    on_evaluation: OnEvaluation | None,
) -> RunResult:
    title = run_title(config, environment.spec)
    trainer = make_trainer(config, environment)
    with ExitStack() as stack:
        recorder: Recorder | Follower = Follower()
        if is_first():
            names = extra_names(environment)
            recorder = stack.enter_context(Recorder(config, directory, names, point, quiet=config.quiet))
        background = stack.enter_context(ThreadPoolExecutor(1))
        done = _done(config, 0 if point is None else point.notes.env_steps)
        # Joined processes stop together, after a chunk: one that leaves looks like a crash to the others.
        with leaving_at_once(directory.path, done) if jax.process_count() == 1 else nullcontext():
            programs = compile_programs(trainer, seed_key(config.seed), evaluation_key(seed_key(config.seed)))
        state = programs.init()
        if point is None:
            state = start_from(initial, state, programs.shardings)
        else:
            state = restore_state(config, programs, state, point)
        first = None if point is not None else state_arrays(state, config.checkpoint_replay)
        recorder.start(jax.device_get(programs.snapshot(state.learner).params), first)
        loop = Loop(config, programs, state, 0 if point is None else point.notes.episodes)
        baselines = None
        try:
            for chunk in loop.chunks(stop_signal):
                recorder.record(chunk)
                if on_evaluation is not None and chunk.evaluation is not None and is_first():
                    assert recorder.evaluation is not None
                    with marking_callback_errors():
                        on_evaluation(chunk.env_steps, recorder.evaluation)
                if baselines is None and is_first():  # not earlier, to not delay the first progress
                    baselines = background.submit(play_baselines, config, environment)
                if chunk.diverged:
                    recorder.plot(title)
                    raise DivergedError(divergence_line(directory, chunk))
        except (KeyboardInterrupt, Exception) as error:
            if isinstance(error, KeyboardInterrupt) or is_callback_error(error):
                recorder.plot(title)
            raise
        if loop.stopped_by is not None:
            recorder.plot(title)
            done = _done(config, int(loop.state.vector_step) * config.num_envs)
            raise StoppedError(directory.path, loop.stopped_by, done)
        end = jax.device_get(programs.snapshot(loop.state.learner))
        evaluation = recorder.evaluation
        if evaluation is None:  # resumed at its end
            evaluation = fetch_evaluation(programs.evaluate(end.params))
        recorder.finish(end.params, evaluation)
        played = BaselineReturns(math.nan, math.nan)
        if is_first():
            with warn_on_failure("the baseline's evaluation"):
                played = play_baselines(config, environment) if baselines is None else baselines.result()
            recorder.plot(title, float(played.own), baseline_name(environment.spec))
    if is_first() and not config.quiet:
        print_lines(*conclusion_lines(evaluation, directory, float(played.random), end))
    skipped_too_many = too_many_skipped(end)
    if skipped_too_many is not None:
        raise DivergedError(skipped_too_many, finished=directory.path)
    return RunResult(directory.path, evaluation, end.params)


def _done(config: Config, env_steps: int) -> str:
    return f"{env_steps} of {config.env_steps} environment steps"


def _make_directory(config: Config, run_directory: str | Path | None) -> RunDirectory:
    if run_directory is None:
        return create_run_directory(config.results_dir)
    check_run_directory(str(run_directory))
    return make_run_directory(Path(run_directory), f"--run_directory {run_directory}")


def _lock(directory: RunDirectory, flag: str) -> AbstractContextManager[Any]:
    """Lock the run; with several processes, the first one holds the lock for all."""
    return RunLock(directory.path, flag) if is_first() else nullcontext()


def _announce(
    config: Config,
    environment: Environment,
    directory: RunDirectory,
    lines: Sequence[str] = (),
    heading: Sequence[str] = (),
) -> None:
    """Write hparams.json, then print the folder and the start lines between `heading` and `lines`."""
    if is_first():
        hparams = describe_run(config, environment)
        write_hparams(directory.hparams, hparams)
        if not config.quiet:
            print_lines(*heading, folder_line(directory.path), *start_lines(hparams), *lines)


def _check_fit(config: Config, environment: Environment) -> None:
    """Refuse missing dashboards or devices, a replay too large for the device, and clashing metric names."""
    spec = environment.spec
    for name in set(extra_names(environment)) & set(EVALUATION_COLUMNS):
        raise ConfigError(
            f"environment {spec.name}: spec.episode_metrics: {name}: must not be the name of a log column"
        )
    check_settings()
    check_system()
    check_dashboards(config)
    check_devices(config.num_devices)
    available = device_memory()
    needed = replay_bytes(config, spec) // config.num_devices * min(config.num_devices, sharing_devices())
    if needed > available:
        raise ConfigError(
            f"{config.capacity_flag}: needs {format_bytes(needed)}, "
            f"but only {format_bytes(available)} of memory are available"
        )
