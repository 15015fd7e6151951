"""The public `run` and `resume_run`: train, then write the report if `config.report` asks for one."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from env_jax.types import Environment
from qmix_jax.errors import DivergedError, warn_on_failure
from qmix_jax.runs import runner
from qmix_jax.runs.collectives import is_first
from qmix_jax.runs.runner import RunResult
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import read_config

P = ParamSpec("P")


def _reported(train: Callable[P, RunResult]) -> Callable[P, RunResult]:
    """Let `train` be followed by the report of a run that came to its end; one that fails costs a warning."""

    @wraps(train)
    def train_and_report(*args: P.args, **kwargs: P.kwargs) -> RunResult:
        given = inspect.signature(train).bind(*args, **kwargs).arguments.get("environment")
        try:
            result = train(*args, **kwargs)
        except DivergedError as error:
            if error.finished is not None:
                _report(error.finished, given)
            raise
        _report(result.directory, given)
        return result

    return train_and_report


def _report(path: Path, given: Environment | None) -> None:
    run = RunDirectory(path)
    if not is_first() or not read_config(run.hparams).report:
        return
    with warn_on_failure(path / "report.html"):
        from qmix_jax.reports.options import ReportOptions
        from qmix_jax.reports.report import report_run  # SciPy's import should not delay the first progress

        report_run(run, ReportOptions(), given)


run = _reported(runner.run)
resume_run = _reported(runner.resume_run)
