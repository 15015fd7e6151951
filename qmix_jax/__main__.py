"""`qmix-jax COMMAND ...` or `python -m qmix_jax COMMAND ...`: all commands by one name.

What it imports at the top must stay light, see `train`.
"""

import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType

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
    """Run the command that the first word names. Returns its exit status, or 2 where there is none of that name."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: qmix-jax COMMAND [--flag value ...]\n")
        print(*(f"  {name:10}{what}" for name, what in COMMANDS.items()), sep="\n")
        print("\nqmix-jax COMMAND --help shows its flags")
        return 0
    if words[0] not in COMMANDS:
        nearest = get_close_matches(words[0], COMMANDS, 1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"must be one of {', '.join(COMMANDS)}"
        print(f"qmix-jax: error: {words[0][:100]!r}: unknown command; {hint}", file=sys.stderr)
        return 2
    return int(import_module(f"qmix_jax.{words[0]}").main(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
