"""A group of runs as text, given to the process that trains it on any machine."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import jax

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.config import Config, names_module
from qmix_jax.errors import DivergedError, StoppedError
from qmix_jax.experiments.group import is_finished, split_uneven, train_group
from qmix_jax.experiments.launcher import Job, Outcome
from qmix_jax.experiments.outcomes import DIVERGED, DONE
from qmix_jax.experiments.plan import Group, Member
from qmix_jax.reports.training import resume_run, run
from qmix_jax.runs.signals import StopSignal
from qmix_jax.storage.directory import RunDirectory


def group_jobs(path: Path, groups: Sequence[Group]) -> list[Job]:
    """Return a job for each group that earlier processes have not finished; `path` is the experiment's folder."""
    parts = [part for group in groups for part in split_uneven(group, path)]
    return [_job(path, part) for part in parts if not is_finished(part, path)]


def read_group(text: str) -> Group:
    """Return the group of a job's text.

    Raises:
        ConfigError: a setting is not accepted.
    """
    content = json.loads(text)
    base = Config(**_settings(content["config"]))
    members = [
        Member(run["point"], run["seed"], replace(base, **_settings(run["settings"])), run["folder"])
        for run in content["runs"]
    ]
    return Group(tuple(content["names"]), tuple(members), content["until"])


def train_job(path: Path, group: Group, stop_signal: StopSignal) -> int | None:
    """Train a group in the experiment's folder `path`, from its newest checkpoints if it has any.

    Returns:
        The signal that stopped the training, None at its end.

    Raises:
        ConfigError: a run cannot be trained.
        RunError: a run diverged alone, was stopped alone, or could not write.
    """
    if not group.alone:
        return train_group(group, path, stop_signal)
    (member,) = group.members
    directory = RunDirectory(path / member.folder)
    if directory.hparams.is_file():
        resume_run(directory.path, {}, stop_signal)
    else:
        run(member.config, stop_signal, directory.path)
    return None


class InProcess:
    """Trains jobs one after another in this process; `path` is the experiment's folder. Errors are raised."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def train(self, jobs: Sequence[Job], stop_signal: StopSignal) -> Iterator[Outcome]:
        """Train the jobs in their order."""
        for number, job in enumerate(jobs):
            if number:
                jax.clear_caches()  # of the group before: they would grow by 60 MiB a group
            status, message = DONE, ""
            try:
                if train_job(self._path, read_group(job.text), stop_signal) is not None:
                    return
            except StoppedError:
                return
            except DivergedError as error:
                status, message = DIVERGED, f": error: {error}"
            yield Outcome(job, status, message)

    def ask_to_stop(self, number: int) -> None:
        """Do nothing: the running job polls the signal itself."""

    def kill(self) -> None:
        """Do nothing: the process ends by itself."""


def unfinished(path: Path, members: Sequence[Member]) -> list[Member]:
    """Return the members that have not ended."""
    return [member for member in members if not has_ended(RunDirectory(path / member.folder))]


def _job(path: Path, group: Group) -> Job:
    first, *others = group.members
    base = vars(first.config)
    runs = []
    for member in group.members:
        changes = {name: value for name, value in vars(member.config).items() if value != base[name]}
        runs.append(
            {name: value for name, value in member._asdict().items() if name != "config"} | {"settings": changes}
        )
    content = {**group._asdict(), "config": asdict(first.config), "runs": runs}
    del content["members"]
    # A module is imported only where its name was typed, see `user_module`: whoever continues has repeated it.
    env = [f"--env={first.config.env}"] if names_module(first.config.env) else []
    name = first.folder + (f" and {len(others)} more" if others else "")
    return Job(name, [f"--folder={path}", *env], json.dumps(content))


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
