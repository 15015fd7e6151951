"""`qmix-jax COMMAND ...`, also `python -m qmix_jax COMMAND ...`: all commands under one name.

Imports at the top stay light, see `train`.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

from qmix_jax import __version__
from qmix_jax.cli.command import program_name
from qmix_jax.cli.help import commands_help
from qmix_jax.settings import did_you_mean

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "train": "train a run",
        "evaluate": "evaluate a run's policy, with pictures and replays",
        "report": "write a page about a run, sweep or comparison",
        "export": "export a policy to safetensors, npz or ONNX",
        "sweep": "train seeds and settings side by side",
        "compare": "compare algorithms over seeds",
    }
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names. Returns its exit status, or 2 if there is no such command."""
    words = list(sys.argv[1:] if argv is None else argv)
    program = program_name("", words).rstrip()
    if not words or words[0] in ("-h", "--help"):
        print(commands_help(f"{program} COMMAND [--flag value ...]", COMMANDS.items()))
        return 0
    if words[0] == "--version":
        print(f"qmix-jax {__version__}")
        return 0
    if words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS)
        print(
            f"{program}: error: {words[0][:100]!r}: unknown command; {hint}must be one of {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    return int(import_module(f"qmix_jax.{words[0]}").main(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
