"""One run, from a configuration to a complete run directory: the host's loop around the compiled trainer."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from env_jax.types import Environment, EnvSpec
from qmix_jax.compilation import compile_programs, device_memory, sharing_devices
from qmix_jax.conclusion import conclusion_lines
from qmix_jax.config import Config, ConfigError
from qmix_jax.dashboards import check_dashboards
from qmix_jax.environments import make_environment
from qmix_jax.errors import CannotWriteError, DivergedError, StoppedError, reporting
from qmix_jax.evaluation import baseline_name, evaluate_baseline, evaluation_key, extra_names
from qmix_jax.faults import QUANTITIES
from qmix_jax.follower import Follower
from qmix_jax.hparams import describe_run, read_config, start_lines, write_hparams
from qmix_jax.lock import RunLock, check_system
from qmix_jax.loop import Loop, state_arrays
from qmix_jax.machine_memory import shown_bytes
from qmix_jax.processes import is_first, told_by_first
from qmix_jax.recorder import DIVERGED, Chunk, Recorder
from qmix_jax.replay import replay_bytes
from qmix_jax.report_options import ReportOptions
from qmix_jax.restore import find_start, restore_state, resume_lines
from qmix_jax.resume import ResumePoint, resumed_config
from qmix_jax.run_directory import (
    RunDirectory,
    check_run_directory,
    create_run_directory,
    make_run_directory,
    missing_folders,
    remove_empty,
)
from qmix_jax.sharding import check_devices
from qmix_jax.signals import StopSignal
from qmix_jax.trainer import make_trainer
from qmix_jax.types import Evaluation, Params


class RunResult(NamedTuple):
    """What a run leaves in memory."""

    directory: Path
    evaluation: Evaluation  # of the final policy
    params: Params


def run(config: Config, stop_signal: StopSignal = lambda: None, run_directory: str | Path | None = None) -> RunResult:
    """Train as `config` says and leave a complete run directory, which the last line printed names.

    Args:
        config: the run's settings.
        stop_signal: asked after every chunk; once it gives a number, the run saves and ends.
        run_directory: where to write, a new or empty folder; None for the next `run_<i>` of `config.results_dir`.

    Raises:
        ConfigError: the run directory cannot be made, the replay does not fit in memory, or devices are missing.
        RunError: the run had to end, see `errors`.
    """
    environment = make_environment(config)
    _check_machine(config, environment.spec)
    missing = missing_folders(Path(run_directory or config.results_dir))
    directory = RunDirectory(Path(told_by_first(lambda: str(_make_directory(config, run_directory).path))))
    try:
        with reporting(directory.path, "run"), _lock(directory, "--run_directory" if run_directory is not None else ""):
            _tell(config, environment, directory, [])
            return _train(config, environment, directory, None, stop_signal)
    except (ConfigError, CannotWriteError):  # it may have been refused before it wrote anything
        if is_first():
            new = [directory.path] if run_directory is None else []
            remove_empty([directory.models, directory.hparams.parent, *new, *missing])
        raise


def resume_run(
    run_directory: str | Path, changes: Mapping[str, Any] | None = None, stop_signal: StopSignal = lambda: None
) -> RunResult:
    """Go on with a run from its newest whole checkpoint, to the end that was planned or to a later one.

    The result is bit for bit that of a run which was never interrupted, on the same machine, if checkpoints hold the
    replay and `changes` has no new budget and no other number of devices.

    Args:
        run_directory: `results/run_<i>`.
        changes: settings other than before, by name: a larger budget, and those that do not change the run's shape.
        stop_signal: as for `run`.

    Raises:
        ConfigError: the directory holds no run that can be resumed, is in use, or a change cannot be made.
        RunError: the run had to end, see `errors`.
    """
    directory = RunDirectory(Path(run_directory))
    config = resumed_config(directory, changes or {})
    began_on = read_config(directory.hparams).num_devices
    environment = make_environment(config)
    _check_machine(config, environment.spec)
    with _lock(directory, "--resume"), reporting(directory.path, "run"):
        point = find_start(config, environment, directory)
        _tell(config, environment, directory, [] if point is None else resume_lines(config, point, began_on))
        return _train(config, environment, directory, point, stop_signal)


def _train(
    config: Config,
    environment: Environment,
    directory: RunDirectory,
    point: ResumePoint | None,
    stop_signal: StopSignal,
) -> RunResult:
    title = run_title(config, environment.spec)
    trainer = make_trainer(config, environment)
    with ExitStack() as stack:
        recorder: Recorder | Follower = Follower()
        if is_first():
            recorder = stack.enter_context(Recorder(config, directory, extra_names(environment), point))
        background = stack.enter_context(ThreadPoolExecutor(1))
        programs = compile_programs(trainer, jax.random.key(config.seed))
        state = programs.init(jax.random.key(config.seed))
        if point is not None:
            state = restore_state(config, programs, state, point)
        first = None if point is not None else state_arrays(config, state)
        recorder.start(jax.device_get(programs.snapshot(state.learner).params), first)
        loop = Loop(config, programs, state, 0 if point is None else point.notes["episodes"])
        baseline = None
        try:
            for chunk in loop.chunks(stop_signal):
                recorder.record(chunk)
                if baseline is None and is_first():  # after the first progress, which it would delay
                    baseline = background.submit(evaluate_own_baseline, config, environment)
                if chunk.diverged:
                    recorder.plot(title, None)
                    raise DivergedError(_divergence(directory, chunk))
        except KeyboardInterrupt:
            recorder.plot(title, None)
            raise
        if loop.stopped_by is not None:
            recorder.plot(title, None)
            done = f"{int(loop.state.vector_step) * config.num_envs} of {config.env_steps} environment steps"
            raise StoppedError(directory.path, loop.stopped_by, done)
        params = jax.device_get(programs.snapshot(loop.state.learner).params)
        evaluation = recorder.evaluation
        if evaluation is None:  # resumed at its end
            evaluation = jax.device_get(programs.evaluate(params, evaluation_key(jax.random.key(config.seed))))
        recorder.finish(params, evaluation)
        if is_first():
            played = evaluate_own_baseline(config, environment) if baseline is None else baseline.result()
            recorder.plot(title, played, baseline_name(environment.spec))
    if config.report and is_first():
        from qmix_jax.report_run import report_run  # SciPy's import should not delay the first progress

        report_run(directory, ReportOptions())
    if is_first():
        print(*conclusion_lines(evaluation, directory), sep="\n")
    return RunResult(directory.path, evaluation, params)


def _make_directory(config: Config, run_directory: str | Path | None) -> RunDirectory:
    if run_directory is None:
        return create_run_directory(config.results_dir)
    check_run_directory(str(run_directory))
    return make_run_directory(Path(run_directory), f"--run_directory {run_directory}")


def _lock(directory: RunDirectory, flag: str) -> AbstractContextManager[Any]:
    """Of several processes, the first has the lock for all."""
    return RunLock(directory.path, flag) if is_first() else nullcontext()


def _tell(config: Config, environment: Environment, directory: RunDirectory, lines: list[str]) -> None:
    """Write hparams.json and say what is in it; then `lines`."""
    if is_first():
        hparams = describe_run(config, environment.spec)
        write_hparams(directory.hparams, hparams)
        print(*start_lines(hparams), *lines, sep="\n", flush=True)


def _divergence(directory: RunDirectory, chunk: Chunk) -> str:
    faults = chunk.progression.faults
    assert chunk.state is not None
    culprits = [
        f"{int(np.sum(~np.isfinite(array)))} {name.rpartition('/')[2]} in replay"
        for name, array in chunk.state.items()
        if name.startswith("state/replay/") and array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    also = f"; not finite either: {', '.join(culprits)}" if culprits else ""
    return (
        f"the {QUANTITIES[int(faults.quantity)]} was not finite from update {int(faults.since)} on, "
        f"{int(faults.streak)} times in a row{also}; parameters are those before it, "
        f"and the state is in {directory.models}/{DIVERGED}*"
    )


def run_title(config: Config, spec: EnvSpec) -> str:
    """What a run's plots are headed by."""
    mode = f" ({config.env_mode})" if config.env == Config.env else ""
    return f"{config.algorithm.upper()} on {spec.name}{mode}, {config.num_envs} environments, seed {config.seed}"


def evaluate_own_baseline(config: Config, environment: Environment) -> Evaluation:
    """The environment's baseline on the run's evaluation starts."""
    evaluate = jax.jit(evaluate_baseline, static_argnums=(0, 2))
    return jax.device_get(evaluate(environment, evaluation_key(jax.random.key(config.seed)), config.eval_episodes))


def _check_machine(config: Config, spec: EnvSpec) -> None:
    """Refuse dashboards that are not installed, more devices than there are, a replay that the device cannot hold."""
    check_system()
    check_dashboards(config)
    check_devices(config.num_devices)
    available = device_memory()
    needed = replay_bytes(config, spec) // config.num_devices * min(config.num_devices, sharing_devices())
    if needed > available:
        raise ConfigError(
            f"--buffer_capacity {config.buffer_capacity}: needs {shown_bytes(needed)}, "
            f"but there are only {shown_bytes(available)} of memory"
        )
