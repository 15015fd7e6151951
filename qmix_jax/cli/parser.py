"""Flags made of dataclass fields (see `settings`) and read as text. Imports stay light, see `train`."""

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from qmix_jax import __version__
from qmix_jax.cli.help import Flag, command_help, presets_help
from qmix_jax.cli.synonyms import nearest_flag
from qmix_jax.errors import ConfigError
from qmix_jax.presets import PRESETS
from qmix_jax.settings import is_tuple, scalar_type

_METAVARS = {int: "N", float: "X", str: "NAME", bool: "true|false"}


class FlagParser(argparse.ArgumentParser):
    """Reads flags, written with underscores or hyphens, as text, and raises ConfigError for everything else.

    Args:
        prog: the command as the user typed it, such as 'qmix-jax train'.
        description: what it does.
        notes: paragraphs below the flags in --help.
        subject: name and metavar of the one positional value, such as ("run", "results/run_<i>").
        many: whether there may be several of it; they are then a list.
        elsewhere: what to say of unknown flags that another command has, by name.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        notes: Iterable[str] = (),
        subject: tuple[str, str] | None = None,
        many: bool = False,
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
        )
        self.flags: list[Flag] = []
        self.notes = tuple(notes)
        self._subject = subject
        self._many = many
        self._elsewhere = elsewhere or {}
        if subject is not None and not many:  # argparse takes several only where no flag comes before them
            self.add_argument(subject[0], nargs="?", metavar=subject[1])
        self.add_argument("-h", "--help", action="store_true")
        for question in ("help_all", "version"):
            self.add_argument(f"--{question}", action="store_true")

    def error(self, message: str) -> Any:
        """Raise instead of printing the usage and leaving."""
        raise ConfigError(message.removeprefix("argument "))

    def add_flag(self, name: str, metavar: str, help: str, group: str, is_common: bool = True) -> None:
        """Declare a flag of one value that is not a setting."""
        self.flags.append(Flag(name, metavar, help, group, is_common))
        self.add_argument(f"--{name}", metavar=metavar)

    def add_beginnings(self, group: str, example: str) -> None:
        """Declare --preset, --help-presets, which explains it, and --resume.

        Args:
            group: such as "The run", what is trained.
            example: a folder that may be resumed.
        """
        help = f"settings to start from instead of the defaults: {', '.join(PRESETS)}"
        self.add_flag("preset", "NAME", help, group)
        self.add_argument("--help_presets", action="store_true")
        self.add_flag("resume", "FOLDER", f"continue {group.lower()} in this folder, such as {example}", group)

    def add_settings(self, settings: type, common: Collection[str] | None = None) -> None:
        """Declare a flag for every field of a dataclass.

        Args:
            settings: the dataclass, whose fields are made by `settings.setting`.
            common: names of those that --help lists; None for all.
        """
        group = "Flags"
        for declared in fields(settings):
            group = declared.metadata["group"] or group
            kind = scalar_type(declared)
            arity: dict[str, Any] = {}
            if kind is bool:
                arity = {"nargs": "?", "const": "true"}  # a bool alone means true
            elif is_tuple(declared):
                arity = {"nargs": "+"}
            metavar = declared.metadata["metavar"] or _METAVARS[kind]
            shown = f"{metavar} ..." if is_tuple(declared) else metavar
            is_common = common is None or declared.name in common
            self.flags.append(Flag(declared.name, shown, declared.metadata["help"], group, is_common, declared))
            self.add_argument(f"--{declared.name}", metavar=metavar, **arity)

    def parse_flags(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the flags that were given, as text by name, also those that `answer` is for.

        Raises:
            ConfigError: a flag is unknown, or its value is missing.
        """
        given, unknown = self.parse_known_args([_normalise(word) for word in words])
        for flag in (word for word in unknown if word.startswith("-")):
            raise ConfigError(self._unknown(flag.partition("=")[0]))
        if unknown and self._many and self._subject is not None:
            vars(given)[self._subject[0]] = unknown
        elif unknown:
            single = "" if self._subject is None else f"there is one {self._subject[0]}, and "
            raise ConfigError(f"{unknown[0].strip()}: unexpected value; {single}flags begin with --, see --help")
        return {name: _stripped(value) for name, value in vars(given).items()}

    def answer(self, given: Mapping[str, Any]) -> str | None:
        """Return the text that --help, --help-all, --help-presets or --version asks for, None if none was given."""
        if "version" in given:
            return f"qmix-jax {__version__}"
        if "help_presets" in given:
            return presets_help()
        if "help" in given or "help_all" in given:
            subject = [self._subject[1] + " ..." * self._many] if self._subject else []
            usage = " ".join([self.prog, *subject, "[--flag value ...]"])
            return command_help(usage, self.description or "", self.flags, self.notes, "help_all" in given)
        return None

    def _unknown(self, flag: str) -> str:
        name = flag.strip("-")
        nearest = nearest_flag(name, [*(flag.name for flag in self.flags), "help", "version"])
        hints = [f"did you mean --{nearest}?"] if nearest else []
        if name in self._elsewhere:
            hints.append(self._elsewhere[name])
        return f"{flag}: unknown flag; {' '.join(hints) or 'see --help'}"


def _normalise(argument: str) -> str:
    """Turn hyphens in a flag's name into underscores; a leading space keeps argparse from taking -1e-3 for a flag."""
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
    """Remove the space that `_normalise` added."""
    if isinstance(value, list):
        return [_stripped(element) for element in value]
    return value.strip() if isinstance(value, str) else value
