"""The command line: `python train.py` and `qmix-train`. Flags, help and limits come from `Config`'s fields.

What it imports at the top must stay light: `--help` and a refused flag should answer before JAX could be imported.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from qmix_jax.config import Config, ConfigError
from qmix_jax.errors import RunError, StoppedError
from qmix_jax.presets import PRESETS, preset_config
from qmix_jax.run_directory import RunDirectory, check_results_dir
from qmix_jax.settings import check_value, is_tuple, scalar_type
from qmix_jax.signals import StopRequest

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_METAVARS = {int: "N", float: "X", str: "NAME", bool: "true|false"}


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say.

    Returns:
        The exit status: 0, or after one line on stderr that says what was wrong: 2 for bad input, 3 when the run
        diverged, 4 when it could not write, 1 for anything else; 130 after Ctrl-C and 143 after SIGTERM.
    """
    parser = _make_parser()
    for stream in (sys.stdout, sys.stderr):  # a folder's name may hold bytes that are no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parse(parser, sys.argv[1:] if argv is None else argv)
        if arguments.pop("help"):
            print(parser.format_help(), end="")
            return 0
        with StopRequest() as stop:
            if "resume" in arguments:
                _resume(arguments, stop)
            else:
                _run(arguments, stop)
    except ConfigError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except StoppedError as error:
        command = f"python {parser.prog}" if parser.prog.endswith(".py") else parser.prog
        print(f"{error}; to go on: {command} --resume {shlex.quote(str(error.directory))}", file=sys.stderr)
        return error.exit_status
    except RunError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    return 0


def _run(arguments: dict[str, Any], stop: StopRequest) -> None:
    config = _make_config(arguments)
    check_results_dir(config.results_dir)
    _prepare_jax(config)
    from qmix_jax.runner import run

    run(config, lambda: stop.signal_number)


def _resume(arguments: dict[str, Any], stop: StopRequest) -> None:
    directory = RunDirectory(Path(arguments.pop("resume").strip()))
    if "preset" in arguments:
        raise ConfigError(f"--preset {arguments['preset'].strip()}: cannot be given with --resume")
    changes = _read_settings(arguments)
    from qmix_jax.resume import resumed_config

    _prepare_jax(resumed_config(directory, changes))
    from qmix_jax.runner import resume_run

    resume_run(directory.path, changes, lambda: stop.signal_number)


def _prepare_jax(config: Config) -> None:
    from qmix_jax.compilation import enable_compilation_cache, provide_cpu_devices

    enable_compilation_cache()
    provide_cpu_devices(config.num_devices)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """Raise instead of printing the usage and leaving."""
        raise ConfigError(message.removeprefix("argument "))


def _make_parser() -> _Parser:
    parser = _Parser(
        usage="%(prog)s [--flag value ...]",
        description="Train QMIX; everything is written to a new folder run_<i> of --results_dir.",
        epilog=_epilog(),
        formatter_class=_one_line_formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", default=False, help="show this text and exit")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with the run in this folder, results/run_<i>")
    parser.add_argument("--preset", metavar="NAME", help="where the flags' defaults come from, see below")
    group: Any = parser
    for declared in fields(Config):
        if declared.metadata["group"]:
            group = parser.add_argument_group(declared.metadata["group"])
        kind = scalar_type(declared)
        bare: dict[str, Any] = {}  # how many values; a bool alone means true
        if kind is bool:
            bare = {"nargs": "?", "const": "true"}
        elif is_tuple(declared):
            bare = {"nargs": "+"}
        metavar = "|".join(declared.metadata["choices"] or [_METAVARS[kind]])
        group.add_argument(f"--{declared.name}", metavar=metavar, help=_help_line(declared), **bare)
    return parser


def _epilog() -> str:
    notes = "Names may be written with hyphens: --num-envs is --num_envs. Lists are written --hidden_sizes 64 64."
    presets = [f"  {name}: {preset.summary}{_flags(preset.settings)}" for name, preset in PRESETS.items()]
    return _escape("\n".join(["presets (flags override them):", *presets, "", notes]))


def _flags(settings: Mapping[str, Any]) -> str:
    """Settings as a user would type them, on a line of their own."""
    return "\n     " + "".join(f" --{name} {_shown(value)}" for name, value in settings.items()) if settings else ""


def _one_line_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=64, width=1000)


def _help_line(declared: Field[Any]) -> str:
    default = "not set" if declared.default is None else _shown(declared.default)
    return _escape(f"{declared.metadata['help']} (default: {default})")


def _shown(value: Any) -> str:
    """A setting's value as it is written after its flag."""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _parse(parser: _Parser, arguments: Sequence[str]) -> dict[str, Any]:
    """Flags that were given, as text by name, and 'help'."""
    given, unknown = parser.parse_known_args([_normalise(argument) for argument in arguments])
    if unknown and unknown[0].startswith("-"):
        flag = unknown[0].partition("=")[0]
        nearest = get_close_matches(
            flag.strip("-"), ["preset", "resume", *(declared.name for declared in fields(Config))], 1, cutoff=0.5
        )
        raise ConfigError(f"{flag}: unknown flag; " + (f"did you mean --{nearest[0]}?" if nearest else "see --help"))
    if unknown:
        raise ConfigError(f"{unknown[0].strip()}: unexpected value; flags begin with --, see --help")
    return vars(given)


def _normalise(argument: str) -> str:
    """Hyphens in a flag's name become underscores; a leading space keeps argparse from taking -1e-3 for a flag."""
    if argument.startswith("--"):
        name, equals, value = argument[2:].partition("=")
        value = " --" if value == "--" else value  # argparse would drop it
        return f"--{name.replace('-', '_')}{equals}{value}"
    try:
        float(argument)
    except ValueError:
        return argument
    return f" {argument}"


def _make_config(arguments: dict[str, Any]) -> Config:
    if {"total_steps", "total_episodes"} <= arguments.keys():
        # Config alone cannot tell a default from the same value given.
        raise ConfigError(
            f"--total_steps {arguments['total_steps'].strip()} and --total_episodes "
            f"{arguments['total_episodes'].strip()}: give only one of them"
        )
    preset = arguments.pop("preset", "default").strip()
    return preset_config(preset, **_read_settings(arguments))


def _read_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name from their texts."""
    declared = {declared.name: declared for declared in fields(Config)}
    return {name: _read(declared[name], text) for name, text in arguments.items()}


def _read(declared: Field[Any], text: str | list[str]) -> Any:
    if isinstance(text, list):
        return tuple(_read(declared, element) for element in text)
    text = text.strip()
    kind = scalar_type(declared)
    value: Any
    try:
        value = _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        value = None  # no setting accepts it
    check_value(declared, value, text)
    return value
