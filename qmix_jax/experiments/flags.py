"""Flags of `train` that a sweep or a comparison stores and passes on to its runs. Imports stay light, see `train`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.presets import PRESETS
from qmix_jax.settings import is_tuple
from qmix_jax.upgrades import IMPLIED, rename_values


def read_stored_flags(
    path: Path,
    content: dict[str, Any],
    current: int,
    without: Sequence[str] = (),
    tried: Collection[str] = (),
) -> Mapping[str, Any]:
    """Remove format and flags of `train` from the content of a sweep's or comparison's file, and return the flags.

    Args:
        path: the file.
        content: its JSON object.
        current: the format that this version writes; runs of earlier ones had the flags `upgrades.IMPLIED`, unless
            the preset or `tried` had others.
        without: flags that it must not hold.
        tried: settings of which a sweep tries values.

    Returns:
        Text by name, or several texts for a tuple.

    Raises:
        ConfigError: the format or the flags are not valid.
    """
    written, flags = content.pop("format", None), content.pop("flags", None)
    if type(written) is not int or not current - len(IMPLIED) <= written <= current:
        raise ConfigError(f"{path}: format must be {current}, as this version writes it")
    declared = {declared.name: declared for declared in fields(Config) if declared.name not in without}
    if not isinstance(flags, dict):
        raise ConfigError("flags must be texts by name")
    for name, text in flags.items():
        texts = text if name in declared and is_tuple(declared[name]) else [text]
        known = name == "preset" or name in declared
        if not known or not isinstance(texts, list) or not all(isinstance(element, str) for element in texts):
            raise ConfigError(f"--{name[:100]}: not a valid flag and value")
    if written == current:
        return flags
    flags = rename_values(flags)
    preset = PRESETS[flags["preset"]].settings if flags.get("preset") in PRESETS else {}
    implied = {
        name: text for name, text in IMPLIED[written - current].items() if name not in preset and name not in tried
    }
    return {**implied, **flags}


def flag_words(arguments: Mapping[str, Any]) -> list[str]:
    """Convert flags, as text by name, back to command-line arguments."""
    words: list[str] = []
    for name, text in arguments.items():
        values = text if isinstance(text, list) else [text]
        words += [f"--{name}={text}"] if values == [text] and text.startswith("-") else [f"--{name}", *values]
    return words
