"""`qmix-jax export results/run_1`: a trained model for programs without JAX. Imports stay light, see `train`."""

import sys
from collections.abc import Sequence
from typing import Any

from qmix_jax.cli.command import program_name, run_command
from qmix_jax.cli.parser import FlagParser
from qmix_jax.errors import ConfigError
from qmix_jax.interchange.options import ExportOptions
from qmix_jax.runs.shell import check_backend, prepare_libraries
from qmix_jax.settings import read_settings
from qmix_jax.storage.directory import existing_run


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the flags say. Returns the exit status, see `command.run_command`."""
    return run_command(make_parser(program_name("export", argv)), argv, _export)


def make_parser(prog: str) -> FlagParser:
    """Declare the flags."""
    description = "Write a trained model to a file that programs without JAX can read."
    note = "The formats safetensors and onnx need the extra 'export', in a checkout: pip install -e '.[export]'."
    parser = FlagParser(prog, description, [note], subject=("run", "results/run_<i>"))
    parser.add_settings(ExportOptions)
    return parser


def _export(arguments: dict[str, Any]) -> None:
    path = arguments.pop("run", None)
    if path is None:
        raise ConfigError("results/run_<i>: must be given, the folder of a run; see --help")
    run = existing_run(path)
    options = ExportOptions(**read_settings(ExportOptions, arguments))
    prepare_libraries()
    check_backend()
    from qmix_jax.interchange.formats import export_run

    export_run(run, options)


if __name__ == "__main__":
    sys.exit(main())
