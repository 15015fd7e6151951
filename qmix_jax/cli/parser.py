"""Flags made of dataclass fields (see `settings`): how they are declared, explained and read.

What it imports must stay light, see `train`.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from qmix_jax.config import Config, ConfigError
from qmix_jax.presets import PRESETS, preset_config
from qmix_jax.settings import check_value, is_tuple, scalar_type

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_METAVARS = {int: "N", float: "X", str: "NAME", bool: "true|false"}


class FlagParser(argparse.ArgumentParser):
    """Reads flags with underscores or hyphens as text, and refuses all others by ConfigError. It knows --help.

    Args:
        description: what the program does.
        epilog: lines below the flags in --help.
        prog: how the program is called; None for the process's own name.
        subject: name and metavar of the one value that is no flag's, such as ("run", "results/run_<i>").
    """

    def __init__(
        self, description: str, epilog: Iterable[str], prog: str | None = None, subject: tuple[str, str] | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            usage=f"%(prog)s {subject[1] + ' ' if subject else ''}[--flag value ...]",
            description=description,
            epilog=_escape("\n".join(epilog)),
            formatter_class=_one_line_formatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
        )
        self._names: list[str] = []
        self._subject = subject
        if subject is not None:
            self.add_argument(subject[0], nargs="?", metavar=subject[1], help=argparse.SUPPRESS)
        self.add_argument("-h", "--help", action="store_true", default=False, help="show this text and exit")

    def error(self, message: str) -> Any:
        """Raise instead of printing the usage and leaving."""
        raise ConfigError(message.removeprefix("argument "))

    def add_flag(self, name: str, metavar: str, help: str) -> None:
        """Declare a flag of one value that is no setting."""
        self._names.append(name)
        self.add_argument(f"--{name}", metavar=metavar, help=help)

    def add_settings(self, settings: type, explained: bool = True) -> None:
        """Declare a flag for every field of a dataclass; `explained`: whether --help lists them."""
        group: Any = self
        for declared in fields(settings):
            if declared.metadata["group"]:
                group = self.add_argument_group(declared.metadata["group"])
            kind = scalar_type(declared)
            bare: dict[str, Any] = {}  # how many values; a bool alone means true
            if kind is bool:
                bare = {"nargs": "?", "const": "true"}
            elif is_tuple(declared):
                bare = {"nargs": "+"}
            metavar = declared.metadata["metavar"] or "|".join(declared.metadata["choices"] or [_METAVARS[kind]])
            help = _help_line(declared) if explained else argparse.SUPPRESS
            self._names.append(declared.name)
            group.add_argument(f"--{declared.name}", metavar=metavar, help=help, **bare)

    def parse_flags(self, words: Sequence[str]) -> dict[str, Any]:
        """Flags that were given, as text by name, and 'help'.

        Raises:
            ConfigError: a flag is unknown, or its value is missing.
        """
        given, unknown = self.parse_known_args([_normalise(word) for word in words])
        if unknown and unknown[0].startswith("-"):
            flag = unknown[0].partition("=")[0]
            nearest = get_close_matches(flag.strip("-"), self._names, 1, cutoff=0.5)
            raise ConfigError(
                f"{flag}: unknown flag; " + (f"did you mean --{nearest[0]}?" if nearest else "see --help")
            )
        if unknown:
            single = "" if self._subject is None else f"there is one {self._subject[0]}, and "
            raise ConfigError(f"{unknown[0].strip()}: unexpected value; {single}flags begin with --, see --help")
        return {name: _stripped(value) for name, value in vars(given).items()}


def preset_lines() -> list[str]:
    """What --help says of the presets."""
    presets = [f"  {name}: {preset.summary}{_flags(preset.settings)}" for name, preset in PRESETS.items()]
    return ["presets (flags override them):", *presets, ""]


def make_config(arguments: Mapping[str, Any]) -> Config:
    """The configuration that `--preset` and Config's flags, as text by name, stand for.

    Raises:
        ConfigError: a value is not accepted, or two contradict each other.
    """
    if {"total_steps", "total_episodes"} <= arguments.keys():
        # Config alone cannot tell a default from the same value given.
        raise ConfigError(
            f"--total_steps {arguments['total_steps']} and --total_episodes {arguments['total_episodes']}: "
            "give only one of them"
        )
    settings = {name: text for name, text in arguments.items() if name != "preset"}
    return preset_config(arguments.get("preset", "default"), **read_settings(Config, settings))


def read_settings(settings: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a dataclass's fields by name, from their texts.

    Raises:
        ConfigError: a value is not accepted.
    """
    declared = {declared.name: declared for declared in fields(settings)}
    return {name: _read(declared[name], text) for name, text in arguments.items()}


def shown(value: Any, separator: str = " ") -> str:
    """A setting's value as it is written after its flag; `separator` stands between several values."""
    if isinstance(value, bool):
        return str(value).lower()
    return separator.join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_stored_flags(
    path: Path,
    content: dict[str, Any],
    current: int,
    older: Mapping[int, Mapping[str, str]],
    without: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Take format and flags of `train.py` out of a file's content.

    Args:
        path: the file.
        content: what it holds.
        current: the format that this version writes.
        older: formats that can be read, each with flags that its runs had before they could be given.
        without: flags that it must not hold.

    Returns:
        Text by name, or several texts for a setting of several.

    Raises:
        ConfigError: the format is another one, or the flags are something else.
    """
    written, flags = content.pop("format", None), content.pop("flags", None)
    if type(written) is not int or not (written == current or written in older):
        raise ConfigError(f"{path}: format must be {current}, as this version writes it")
    declared = {declared.name: declared for declared in fields(Config) if declared.name not in without}
    if not isinstance(flags, dict):
        raise ConfigError("flags must be texts by name")
    for name, text in flags.items():
        texts = text if name in declared and is_tuple(declared[name]) else [text]
        known = name == "preset" or name in declared
        if not known or not isinstance(texts, list) or not all(isinstance(element, str) for element in texts):
            raise ConfigError(f"--{name[:100]}: is no flag with its text")
    return {**older.get(written, {}), **flags}


def flag_words(arguments: Mapping[str, Any]) -> list[str]:
    """Words of a command line that are read as these texts by name."""
    words: list[str] = []
    for name, text in arguments.items():
        values = text if isinstance(text, list) else [text]
        words += [f"--{name}={text}"] if values == [text] and text.startswith("-") else [f"--{name}", *values]
    return words


def _flags(settings: Mapping[str, Any]) -> str:
    """Settings as a user would type them, on a line of their own."""
    return "\n     " + "".join(f" --{name} {shown(value)}" for name, value in settings.items()) if settings else ""


def _one_line_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=64, width=1000)


def _help_line(declared: Field[Any]) -> str:
    default = "not set" if declared.default is None else shown(declared.default)
    return _escape(f"{declared.metadata['help']} (default: {default})")


def _escape(text: str) -> str:
    return text.replace("%", "%%")


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


def _stripped(value: Any) -> Any:
    """Without the space of `_normalise`."""
    if isinstance(value, list):
        return [_stripped(element) for element in value]
    return value.strip() if isinstance(value, str) else value


def _read(declared: Field[Any], text: str | list[str]) -> Any:
    if isinstance(text, list):
        return tuple(_read(declared, element) for element in text)
    kind = scalar_type(declared)
    value: Any
    try:
        value = _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        value = None  # no setting accepts it
    check_value(declared, value, text)
    return value
