"""`python -m qmix_jax.report results/run_1`: one page of all that a run, a sweep or a comparison has to say.

What it imports at the top must stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser, read_settings
from qmix_jax.reports.report_options import ReportOptions
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.settings import ConfigError
from qmix_jax.storage.directory import existing_run

_PROG = "python -m qmix_jax.report"
_FINDINGS = {"compare": "comparison.md", "sweep": "sweep.md"}  # what a comparison or a sweep ends with


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(_make_parser(), argv, _report)


def _make_parser() -> FlagParser:
    description = "Write one HTML page of a run, a sweep or a comparison, which needs no other file and no network."
    parser = FlagParser(description, [], _PROG, ("folder", "results/run_<i>"))
    parser.add_settings(ReportOptions)
    return parser


def _report(arguments: dict[str, Any]) -> None:
    path = arguments.pop("folder", None)
    if path is None:
        raise ConfigError(f"a folder is missing: {_PROG} results/run_<i>; see --help")
    findings = _findings(Path(path))
    run = None if findings else existing_run(path)
    options = ReportOptions(**read_settings(ReportOptions, arguments))
    prepare_libraries()
    check_backend()
    from qmix_jax.reports.report import report_findings, report_run

    if findings is not None:
        report_findings(findings, options)
    elif run is not None:
        report_run(run, options)


def _findings(path: Path) -> Path | None:
    """The Markdown page of a sweep or a comparison; None where the folder is something else.

    Raises:
        ConfigError: it is a sweep's or a comparison's folder, but has not come that far.
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


if __name__ == "__main__":
    sys.exit(main())
