"""How every command begins and ends: flags are parsed, errors become one line on stderr and an exit status."""

import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import names_module
from qmix_jax.errors import ConfigError, RunError, StoppedError

_program = "qmix-jax train"  # the command that this process runs
_env = ""  # and its --env


def program_name(command: str, argv: Sequence[str] | None) -> str:
    """Return what the user typed to start a command: 'train.py', 'python -m qmix_jax.train', or 'qmix-jax train'.

    Args:
        command: such as 'train'.
        argv: arguments that the caller gave, None for the process's own. A caller in Python, such as a notebook, is
            told of 'qmix-jax <command>'.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = "" if spec is None else spec.name.removesuffix(".__main__")
    if module == f"qmix_jax.{command}":
        return f"python -m {module}"
    if module == "qmix_jax":
        return f"python -m {module} {command}"
    return f"qmix-jax {command}" if module or argv is not None else Path(sys.argv[0]).name


def stopped_line(error: StoppedError) -> str:
    """Return the line with which a stopped command ends: how far it is, and how to continue."""
    again = f" --env {_env}" if names_module(_env) else ""
    return f"{error}; to continue: {_restart(_program)} --resume {shlex.quote(str(error.directory))}{again}"


def _restart(program: str) -> str:
    """Return the command line that starts the program again from the same folder."""
    name, *command = program.split()
    if Path(sys.argv[0]).name != name or shutil.which(name) is not None:
        return program
    return " ".join(["python"] * name.endswith(".py") + [shlex.quote(sys.argv[0]), *command])


def run_command(parser: FlagParser, argv: Sequence[str] | None, act: Callable[[dict[str, Any]], None]) -> int:
    """Call `act` with the flags that were given, as text by name, or print the help that they ask for.

    Args:
        parser: the command's flags.
        argv: arguments of the command, None for the process's own.
        act: implementation of the command.

    Returns:
        The exit status: 0, or after one line on stderr that names the problem: 2 for bad input, 3 when a run
        diverged, 4 when a file could not be written, 1 for anything else; 130 after Ctrl-C and 143 after SIGTERM.
    """
    global _program, _env
    _program, _env = parser.prog, ""
    for stream in (sys.stdout, sys.stderr):  # a folder's name may hold bytes that are not valid text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parser.parse_flags(sys.argv[1:] if argv is None else argv)
        answer = parser.answer(arguments)
        if answer is not None:
            print(f"{answer}\n", end="")  # in one write, which `| head` may not wait for
            return 0
        _env = str(arguments.get("env", ""))
        act(arguments)
    except ConfigError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except StoppedError as error:
        print(stopped_line(error), file=sys.stderr)
        return error.exit_status
    except RunError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # of a command without anything to save
        print(f"{parser.prog}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0
