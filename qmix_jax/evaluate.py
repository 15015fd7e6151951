"""`python -m qmix_jax.evaluate results/run_1`: how good a trained policy is, with intervals, pictures and replays.

What it imports at the top must stay light: `--help` and a refused flag should answer before JAX could be imported.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from qmix_jax.errors import RunError
from qmix_jax.evaluate_options import FILES, Options
from qmix_jax.run_directory import RunDirectory
from qmix_jax.settings import ConfigError, check_value, scalar_type

_PROG = "python -m qmix_jax.evaluate"
_METAVARS = {int: "N", str: "NAME"}


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the flags say.

    Returns:
        The exit status: 0, or after one line on stderr that says what was wrong: 2 for bad input, 4 for a file that
        could not be written, 1 for anything else.
    """
    for stream in (sys.stdout, sys.stderr):  # a folder's name may hold bytes that are no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        parser = _make_parser()
        arguments = _parse(parser, sys.argv[1:] if argv is None else argv)
        if arguments.pop("help"):
            print(parser.format_help(), end="")
            return 0
        run = _run_directory(arguments.pop("run", None))
        options = Options(**{name: _read(name, text) for name, text in arguments.items()})
        from qmix_jax.compilation import enable_compilation_cache
        from qmix_jax.evaluate_run import evaluate_run

        enable_compilation_cache()
        evaluate_run(run, options)
    except ConfigError as error:
        print(f"{_PROG}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"{_PROG}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """Raise instead of printing the usage and leaving."""
        raise ConfigError(message.removeprefix("argument "))


def _make_parser() -> _Parser:
    parser = _Parser(
        prog=_PROG,
        usage="%(prog)s results/run_<i> [--flag value ...]",
        description="Play episodes with a trained policy, and with random and greedy-nearest from the same starts.",
        formatter_class=_one_line_formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("run", nargs="?", help="folder of the run")
    parser.add_argument("-h", "--help", action="store_true", default=False, help="show this text and exit")
    for declared in fields(Options):
        metavar = "|".join(declared.metadata["choices"] or [_METAVARS[scalar_type(declared)]])
        metavar = "FILE" if declared.name in FILES else metavar
        default = "" if declared.default is None else f" (default: {declared.default})"
        parser.add_argument(f"--{declared.name}", metavar=metavar, help=f"{declared.metadata['help']}{default}")
    return parser


def _one_line_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=40, width=1000)


def _parse(parser: _Parser, words: Sequence[str]) -> dict[str, Any]:
    """What was given, as text by name, and 'help'."""
    given, unknown = parser.parse_known_args([_normalise(word) for word in words])
    if unknown and unknown[0].startswith("-"):
        flag = unknown[0].partition("=")[0]
        nearest = get_close_matches(flag.strip("-"), [declared.name for declared in fields(Options)], 1, cutoff=0.5)
        raise ConfigError(f"{flag}: unknown flag; " + (f"did you mean --{nearest[0]}?" if nearest else "see --help"))
    if unknown:
        raise ConfigError(f"{unknown[0].strip()}: unexpected value; there is one run, and flags begin with --")
    return vars(given)


def _normalise(word: str) -> str:
    """Hyphens in a flag's name become underscores; a leading space keeps argparse from taking -1 for a flag."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return f"--{name.replace('-', '_')}{equals}{value}"
    return f" {word}" if re.fullmatch(r"-[0-9.].*", word) else word


def _read(name: str, text: str) -> Any:
    declared = next(declared for declared in fields(Options) if declared.name == name)
    text = text.strip()
    try:
        value = scalar_type(declared)(text)
    except ValueError:
        value = None  # no option accepts it
    check_value(declared, value, text)
    return value


def _run_directory(path: str | None) -> RunDirectory:
    if path is None:
        raise ConfigError(f"a run is missing: {_PROG} results/run_<i>; see --help")
    run = RunDirectory(Path(path))
    try:
        found = run.hparams.is_file()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if not found:
        raise ConfigError(f"{path}: must be the folder of a run, with {run.hparams.relative_to(run.path)}")
    return run


if __name__ == "__main__":
    sys.exit(main())
