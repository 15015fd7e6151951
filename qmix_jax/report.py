"""`qmix-jax report results/run_1`: one HTML page about a run, a sweep, a comparison, or several of them.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.errors import ConfigError
from qmix_jax.reports.options import ReportOptions
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.settings import read_settings
from qmix_jax.storage.directory import RunDirectory, existing_run, runs_below

_FINDINGS = {"compare": "comparison.md", "sweep": "sweep.md"}  # written at the end of a comparison or a sweep


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(make_parser(program_name("report", argv)), argv, _report)


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = (
        "Write one HTML page about a run, a sweep, a comparison, or several of them, whose runs are grouped by the "
        "settings in which they differ and compared over all their tasks. It needs no other file and no network."
    )
    parser = FlagParser(prog, description, subject=("folders", "results/run_<i>"), many=True)
    parser.add_settings(ReportOptions)
    return parser


def _report(arguments: dict[str, Any]) -> None:
    folders = list(dict.fromkeys(arguments.pop("folders", [])))
    if not folders:
        raise ConfigError("results/run_<i>: must be given, folders of runs, or of a sweep or a comparison; see --help")
    findings = _findings(Path(folders[0])) if len(folders) == 1 else None
    options = ReportOptions(**read_settings(ReportOptions, arguments))
    reads_runs = findings is None or options.marl_eval is not None
    runs = [run for folder in folders for run in _runs(folder)] if reads_runs else []
    prepare_libraries()
    check_backend()
    from qmix_jax.reports.marl_eval import write_marl_eval
    from qmix_jax.reports.report import report_findings, report_run
    from qmix_jax.reports.runs import report_runs

    if options.marl_eval is not None:
        write_marl_eval(runs, options)
    if findings is not None:
        report_findings(findings, options)
    elif len(runs) == 1:
        report_run(runs[0], options)
    else:
        report_runs(runs, options)


def _findings(path: Path) -> Path | None:
    """Return the Markdown page of a sweep or a comparison, or None if the folder holds neither.

    Raises:
        ConfigError: the sweep or the comparison has not ended.
    """
    try:
        for kind, name in _FINDINGS.items():
            if (path / name).is_file():
                return path / name
            if (path / "configs" / f"{kind}.json").is_file():
                raise ConfigError(f"{path}: must hold {name}, which a {kind} writes at its end")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return None


def _runs(folder: str) -> list[RunDirectory]:
    """Return the run in a folder, or the runs of the sweep or comparison in it.

    Raises:
        ConfigError: it holds none.
    """
    path = Path(folder)
    try:
        if not any((path / "configs" / f"{kind}.json").is_file() for kind in _FINDINGS):
            return [existing_run(folder)]
        runs = runs_below(path)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    if not runs:
        raise ConfigError(f"{folder}: must hold runs, but none has begun")
    return runs


if __name__ == "__main__":
    sys.exit(main())
