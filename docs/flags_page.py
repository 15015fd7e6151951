"""MkDocs hook: fills the page of all flags from their declarations, each time the site is built."""

from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any

from qmix_jax.__main__ import COMMANDS
from qmix_jax.cli.help import Flag
from qmix_jax.cli.parser import FlagParser
from qmix_jax.config import Config
from qmix_jax.settings import accepted, is_tuple

_PAGE, _MARK = "reference/flags.md", "<!-- flags -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the flags in place of the page's mark. Called by MkDocs for every page."""
    return markdown.replace(_MARK, flags_markdown()) if page.file.src_uri == _PAGE else markdown


def flags_markdown() -> str:
    """Return a section for each command, with a list for each group of its flags."""
    return "\n".join(line for command in COMMANDS for line in _section(command))


def _section(command: str) -> Iterator[str]:
    parser: FlagParser = import_module(f"qmix_jax.{command}").make_parser(f"qmix-jax {command}")
    # The settings of a run are flags of sweep and compare too, but are listed once.
    flags = [flag for flag in parser.flags if command == "train" or flag.declared not in fields(Config)]
    yield from (f"## qmix-jax {command}", "", _escaped(parser.description or ""), "")
    for note in parser.notes:
        yield from (_escaped(note), "")
    for group in dict.fromkeys(flag.group for flag in flags):
        yield from (f"**{group}**", "", *(_item(flag) for flag in flags if flag.group == group), "")


def _item(flag: Flag) -> str:
    details = []
    if flag.declared is not None:
        details.append(f"{'one or more, each ' * is_tuple(flag.declared)}{accepted(flag.declared)}")
    if flag.default is not None:
        details.append(f"default `{flag.default}`")
    text = f"{flag.help} ({'; '.join(details)})" if details else flag.help
    return f"- `--{flag.name} {flag.metavar}`: {_escaped(text)}"


def _escaped(text: str) -> str:
    """Keep Markdown from taking `run_<i>` for HTML."""
    return text.replace("<", "&lt;")
