"""How a program of this package begins and ends: flags are parsed, errors become one line and an exit status."""

import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from qmix_jax.cli.parser import FlagParser
from qmix_jax.errors import RunError, StoppedError
from qmix_jax.settings import ConfigError


def program_name(module: str, argv: Sequence[str] | None) -> str:
    """What a program is called in messages: as it was started, such as 'train.py', or 'python -m <module>'.

    Args:
        module: the program's.
        argv: words that its caller gave, None for the process's own. With words of another program, such as
            Jupyter's, it was not started from a shell.
    """
    as_module = getattr(sys.modules["__main__"], "__spec__", None) is not None
    return f"python -m {module}" if as_module or argv is not None else Path(sys.argv[0]).name


def _command(program: str) -> str:
    """What starts a program of this name again from the same folder."""
    if program.startswith("python -m ") or shutil.which(program) is not None:
        return program
    return f"{'python ' * program.endswith('.py')}{shlex.quote(sys.argv[0])}"


def run_command(parser: FlagParser, argv: Sequence[str] | None, act: Callable[[dict[str, Any]], None]) -> int:
    """Call `act` with the flags that were given, as text by name.

    Args:
        parser: of the program's flags.
        argv: words after the program's name, None for the process's own.
        act: what the program does.

    Returns:
        The exit status: 0, or after one line on stderr that says what was wrong: 2 for bad input, 3 when a run
        diverged, 4 when it could not write, 1 for anything else; 130 after Ctrl-C and 143 after SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):  # a folder's name may hold bytes that are no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parser.parse_flags(sys.argv[1:] if argv is None else argv)
        if arguments.pop("help"):
            print(parser.format_help(), end="")
            return 0
        act(arguments)
    except ConfigError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except StoppedError as error:
        print(
            f"{error}; to go on: {_command(parser.prog)} --resume {shlex.quote(str(error.directory))}", file=sys.stderr
        )
        return error.exit_status
    except RunError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # of a program that has nothing to save
        print(f"{parser.prog}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0
