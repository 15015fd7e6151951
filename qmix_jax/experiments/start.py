"""Starts or resumes an experiment as a command's flags say. Imports at the top stay light, see `train`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.experiment import Experiment, Kind, experiment_from_flags, read_experiment
from qmix_jax.experiments.workers import WorkerPool, available_cores
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.settings import check_setting, read_settings, setting
from qmix_jax.storage.directory import RunDirectory, create_numbered, missing_folders, remove_refused
from qmix_jax.storage.lock import check_system
from qmix_jax.storage.output_file import check_output_folder

if TYPE_CHECKING:
    from qmix_jax.experiments.launcher import Launcher
    from qmix_jax.experiments.ray_launcher import Slots

_WORKER = "qmix_jax.experiments.worker"
ELSEWHERE = {
    "coordinator": "it is of `qmix-jax train`, for one run: for a sweep over many machines, see --launcher ray, or the "
    "array of jobs in docs/machines.md"
}


@dataclass(frozen=True)
class LaunchSettings:
    """Flags that say where runs are trained; they may differ when an experiment is resumed."""

    launcher: str = setting(
        "local", "local: this machine; ray: tasks of Ray, on a cluster", choices=("local", "ray"), group="The launcher"
    )
    ray_address: str | None = setting(
        None, "with --launcher ray: auto, or HOST:PORT of a running Ray; not set: starts one on this machine"
    )

    def __post_init__(self) -> None:
        """Refuse an address without Ray.

        Raises:
            ConfigError: naming the flag.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        if self.ray_address is not None and self.launcher != "ray":
            raise ConfigError(f"--ray_address {self.ray_address}: must come with --launcher ray")


def add_experiment(parser: FlagParser, kind: Kind) -> None:
    """Declare the flags of an experiment."""
    parser.add_beginnings(f"The {kind.name}", f"results/{kind.command}_1")
    parser.add_settings(kind.settings)
    parser.add_settings(LaunchSettings)
    parser.add_settings(Config, common=())


def start_experiment(kind: Kind, arguments: dict[str, Any]) -> None:
    """Train as the flags say, given as text by name.

    Raises:
        ConfigError: a flag is not accepted, before anything is written.
        RunError: see `engine.run_experiment`.
    """
    check_system()
    own = {declared.name for declared in fields(LaunchSettings)}
    words = {name: arguments.pop(name) for name in own & arguments.keys()}
    launch = LaunchSettings(**read_settings(LaunchSettings, words))
    if launch.launcher == "ray" and "workers" in arguments:
        raise ConfigError(f"--workers {arguments['workers']}: cannot be given with --launcher ray, which counts them")
    if "resume" in arguments:
        path, env = Path(arguments.pop("resume")), arguments.pop("env", None)
        given = {name: arguments.pop(name) for name in ("workers",) if name in arguments}
        for name, text in arguments.items():
            value = " ".join(text) if isinstance(text, list) else text
            raise ConfigError(f"--{name} {value}: cannot be given with --resume")
        experiment = read_experiment(kind, path)
        changes = read_settings(kind.settings, given)
        experiment = experiment._replace(settings=replace(experiment.settings, **changes))
        with _slots(launch) as slots:
            _prepare(experiment, env, slots)
            _run(path, _shared(experiment, slots) if given or slots else experiment, slots)
        return
    experiment = experiment_from_flags(kind, arguments)
    check_output_folder("results_dir", experiment.config.results_dir)
    missing = missing_folders(Path(experiment.config.results_dir))
    with _slots(launch) as slots:
        _prepare(experiment, experiment.config.env, slots)
        experiment = _checked(experiment, slots)
        path = create_numbered(experiment.config.results_dir, kind.command)
        try:
            _run(path, experiment, slots)
        except ConfigError:  # which only a run could find, such as too little memory
            remove_refused(path, [RunDirectory(path / member.folder) for member in experiment.members], missing)
            raise


def _slots(launch: LaunchSettings) -> "AbstractContextManager[Slots | None]":
    """Return a context with what Ray offers if it launches, None otherwise."""
    if launch.launcher != "ray":
        return nullcontext()
    from qmix_jax.experiments.ray_launcher import connected

    return connected(launch.ray_address)


def _prepare(experiment: Experiment, env: str | None, slots: "Slots | None") -> None:
    """Import JAX, and the environment that the command line's --env names."""
    prepare_libraries()
    import jax

    from qmix_jax.runs.descriptors import raise_limit
    from qmix_jax.runs.user_module import import_repeated

    raise_limit()
    if slots is not None:
        jax.config.update("jax_platforms", "cpu")  # an accelerator is for the processes that train
    check_backend()
    import_repeated(env, experiment.config.env)


def _checked(experiment: Experiment, slots: "Slots | None") -> Experiment:
    """Return a new experiment with its number of processes, after a check that all its runs can be trained."""
    from qmix_jax.runs.initial import initial_params
    from qmix_jax.training.environments import choose_environment

    configs = list(dict.fromkeys(replace(member.config, seed=0) for member in experiment.members))
    for config in {(config.env, config.env_args): config for config in configs}.values():
        choose_environment(config, None, check=True)
    for config in configs:
        initial_params(config, choose_environment(config, None).spec)
    return _shared(experiment, slots)


def _shared(experiment: Experiment, slots: "Slots | None") -> Experiment:
    """Return the experiment with as many processes as there is room for."""
    from qmix_jax.experiments.capacity import count_workers

    workers = count_workers(experiment) if slots is None else min(slots.jobs, len(experiment.members))
    return experiment.shared_by(workers)


def _run(path: Path, experiment: Experiment, slots: "Slots | None") -> None:
    import jax

    from qmix_jax.experiments.capacity import plan_lines, plan_shares
    from qmix_jax.experiments.engine import run_experiment
    from qmix_jax.experiments.jobs import InProcess

    workers = experiment.settings.workers or 1
    make_launcher: Callable[[], Launcher]
    if slots is not None:
        from qmix_jax.experiments.ray_launcher import RayLauncher

        path = path.absolute()  # for nodes, which work elsewhere
        make_launcher = partial(RayLauncher, path, _WORKER, slots.gpus)
    elif jax.default_backend() != "cpu" or (workers == 1 and not experiment.some_alone):
        make_launcher = partial(InProcess, path)  # an accelerator belongs to one process
    else:
        make_launcher = partial(WorkerPool, min(workers, len(available_cores())), _WORKER)
    if _searches(experiment):
        from qmix_jax.experiments.search import run_search

        run_search(path, experiment, make_launcher)
        return
    shares = plan_shares(experiment)
    longest = max(map(len, shares))
    groups = [share[number] for number in range(longest) for share in shares if number < len(share)]
    run_experiment(path, experiment, groups, make_launcher(), plan_lines(shares))


def _searches(experiment: Experiment) -> bool:
    """Whether points are suggested while runs are trained; only sweeps can."""
    return getattr(experiment.settings, "optuna", None) is not None
