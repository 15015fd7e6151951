"""Text of `--help`, `--help-all` and `--help-presets`: wrapped between words to the width of the terminal."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import Field
from typing import Any, NamedTuple

from qmix_jax.presets import PRESETS
from qmix_jax.settings import as_text

_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class Flag(NamedTuple):
    """A flag as the help texts and the documentation list it."""

    name: str
    metavar: str
    help: str
    group: str
    is_common: bool  # listed by --help, not only by --help-all
    declared: Field[Any] | None = None  # None: it is no setting, and has neither default nor limits

    @property
    def default(self) -> str | None:
        """Its default as it would be typed."""
        return None if self.declared is None or self.declared.default is None else as_text(self.declared.default)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it accepts, where they are named."""
        return () if self.declared is None else self.declared.metadata["choices"] or ()


def command_help(usage: str, description: str, flags: Sequence[Flag], notes: Iterable[str], everything: bool) -> str:
    """Return a command's help: its common flags, or all of them in their groups where `everything`."""
    listed = [flag for flag in flags if everything or flag.is_common]
    has_more = len(listed) < len(flags)
    sections: dict[str, list[str]] = {}
    for flag in listed:
        heading = "Common flags" if has_more else flag.group
        sections.setdefault(heading, [f"{heading}:"]).extend(_flag_lines(flag))
    ways = [("--help-all", f"show all {len(flags)} flags")] if has_more else []
    if any(flag.name == "preset" for flag in flags):
        ways.append(("--help-presets", "show the presets and their settings"))
    more = ["More:", *_table([*ways, ("--version", "show the version")])]
    blocks = [_wrap(f"usage: {usage}", hanging="    "), _wrap(description), *sections.values(), more]
    return _join([*blocks, *(_wrap(note) for note in notes)])


def presets_help() -> str:
    """Return the table of presets: what each is for, and its settings as flags."""
    width = max(map(len, PRESETS))
    blocks = [_wrap("Presets are chosen by --preset NAME; flags beside it override its settings.")]
    for name, preset in PRESETS.items():
        flags = [f"--{flag} {as_text(value)}".replace(" ", _NO_BREAK_SPACE) for flag, value in preset.settings.items()]
        blocks.append([*_row(name, preset.summary, width), *_wrap(" ".join(flags), "    ", "    ")])
    return _join(blocks)


def commands_help(usage: str, commands: Iterable[tuple[str, str]]) -> str:
    """Return the list of commands and what each does."""
    closing = "Every command has --help and --version."
    return _join([_wrap(f"usage: {usage}", hanging="    "), _table(commands), _wrap(closing)])


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return [line for name, text in rows for line in _row(name, text, width)]


def _row(name: str, text: str, width: int) -> list[str]:
    """Return the lines of a table's row: a name in a column of this width, and a text that is wrapped beside it."""
    return _wrap(text, f"  {name:{width}}  ", " " * (width + 4))


def _flag_lines(flag: Flag) -> list[str]:
    details = [f"one of {', '.join(flag.choices)}"] if flag.choices else []
    if flag.default is not None:
        details.append(f"default: {flag.default}")
    text = f"{flag.help} ({'; '.join(details)})" if details else flag.help
    return [*_wrap(f"--{flag.name} {flag.metavar}", "  ", "    "), *_wrap(text, "      ", "      ")]


def _wrap(text: str, indent: str = "", hanging: str = "") -> list[str]:
    lines = textwrap.wrap(
        text,
        shutil.get_terminal_size().columns,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK_SPACE, " ") for line in lines]


def _join(blocks: Iterable[Iterable[str]]) -> str:
    return "\n\n".join("\n".join(block) for block in blocks)
