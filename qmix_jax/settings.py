"""Dataclass fields that know their help line and the values they accept."""

from collections.abc import Mapping
from dataclasses import Field, field
from math import isfinite
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

_MOST_INT32 = 2**31 - 1
_MOST_FLOAT32 = (2 - 2**-23) * 2.0**127
_MOST_VALUES = 100
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class _OneLineError(ValueError):
    """Its message may quote what a stranger wrote: newlines, and whatever else does not print, become spaces."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else " " for letter in message))


class ConfigError(_OneLineError):
    """A configuration that cannot work; the message is one line that names the flag, its value and what is accepted."""


class DamagedError(_OneLineError):
    """Saved data that is not what was written; the message is one line."""


def setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] | None = None,
    group: str | None = None,
    changeable: bool = False,
    traceable: bool = False,
    metavar: str | None = None,
) -> Any:
    """A field with its help line and accepted values (applied to every element of a tuple).

    A whole `at_least` marks a whole number, which traced code holds as int32; other numbers it holds as float32.
    `group` opens a section of `--help`; the fields that follow belong to it too. `changeable` marks what another
    process may change when it resumes a run, `traceable` what may be an array that JAX traces (`Config.traced`).
    `metavar` stands for the value in `--help`, in place of its type or its choices.
    """
    if at_most is None and (at_least is not None or above is not None):
        at_most = _MOST_INT32 if isinstance(at_least, int) else _MOST_FLOAT32
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "choices": choices}
    marks = {"changeable": changeable, "traceable": traceable}
    return field(default=default, metadata={"help": help, "group": group, "metavar": metavar, **marks, **limits})


def scalar_type(declared: Field[Any]) -> type:
    """`int` of int, int | None, tuple[int, ...] and tuple[int, ...] | None."""
    kind = _without_none(declared)
    return get_args(kind)[0] if is_tuple(declared) else kind


def is_tuple(declared: Field[Any]) -> bool:
    """Whether the field holds several values."""
    return get_origin(_without_none(declared)) is tuple


def _without_none(declared: Field[Any]) -> Any:
    if get_origin(declared.type) is not UnionType:
        return declared.type
    return next(kind for kind in get_args(declared.type) if kind is not NoneType)


def check_setting(declared: Field[Any], value: Any) -> None:
    """Refuse a value of the wrong type or out of its field's limits.

    Raises:
        ConfigError: naming the flag, the value and what would be accepted.
    """
    if value is None and NoneType in get_args(declared.type):
        return
    if is_tuple(declared) and not (isinstance(value, tuple) and 0 < len(value) <= _MOST_VALUES):
        raise ConfigError(
            f"--{declared.name} {_shortened(value)}: must be a tuple of at least one value and at most {_MOST_VALUES}, "
            f"each {_accepted(declared)}"
        )
    for element in value if is_tuple(declared) else (value,):
        check_value(declared, element, _shortened(element))


def check_value(declared: Field[Any], value: Any, shown: Any) -> None:
    """Refuse a single value, or an element of several; the message shows it as the user wrote it.

    Raises:
        ConfigError: naming the flag, the value and what would be accepted.
    """
    if not (_has_type(value, scalar_type(declared)) and _within(value, declared.metadata)):
        raise ConfigError(f"--{declared.name} {shown}: must be {_accepted(declared)}")


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _has_type(value: Any, kind: type) -> bool:
    """Exactly `kind`, but a whole number will do for a float: True is no number, and 2.0 does not count things."""
    return type(value) is kind or (kind is float and type(value) is int)


def _within(value: Any, limits: Mapping[str, Any]) -> bool:
    if limits["choices"] is not None:
        return value in limits["choices"]
    if isinstance(value, bool | str):
        return True
    too_low = limits["at_least"] is not None and value < limits["at_least"]
    not_above = limits["above"] is not None and value <= limits["above"]
    too_high = limits["at_most"] is not None and value > limits["at_most"]
    return not (too_low or not_above or too_high) and isfinite(value)


def _accepted(declared: Field[Any]) -> str:
    """Accepted values in words, such as 'a number, at least 0 and at most 1'."""
    limits = declared.metadata
    if limits["choices"] is not None:
        return f"one of {', '.join(limits['choices'])}"
    bounds = [
        f"{word} {limits[key]:.10g}"
        for key, word in (("at_least", "at least"), ("above", "above"), ("at_most", "at most"))
        if limits[key] is not None
    ]
    return ", ".join([_TYPE_NAMES[scalar_type(declared)], *([" and ".join(bounds)] if bounds else [])])
