"""`python -m qmix_jax.export results/run_1`: a trained model for programs without JAX.

What it imports at the top must stay light, see `train`.
"""

import sys
from collections.abc import Sequence
from typing import Any

from qmix_jax.cli.command import run_command
from qmix_jax.cli.parser import FlagParser, read_settings
from qmix_jax.interchange.options import ExportOptions
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.settings import ConfigError
from qmix_jax.storage.directory import existing_run

_PROG = "python -m qmix_jax.export"


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(_make_parser(), argv, _export)


def _make_parser() -> FlagParser:
    description = "Write a trained model as a file that programs without JAX can read."
    needs = "safetensors and onnx need the extra 'export': pip install -e '.[export]'."
    parser = FlagParser(description, [needs], _PROG, ("run", "results/run_<i>"))
    parser.add_settings(ExportOptions)
    return parser


def _export(arguments: dict[str, Any]) -> None:
    path = arguments.pop("run", None)
    if path is None:
        raise ConfigError(f"a run is missing: {_PROG} results/run_<i>; see --help")
    run = existing_run(path)
    options = ExportOptions(**read_settings(ExportOptions, arguments))
    prepare_libraries()
    check_backend()
    from qmix_jax.interchange.formats import export_run

    export_run(run, options)


if __name__ == "__main__":
    sys.exit(main())
