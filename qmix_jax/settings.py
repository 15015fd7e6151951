"""Dataclass fields that declare a help line and the values they accept, and how their values are read from text."""

from collections.abc import Iterable, Mapping
from dataclasses import Field, field, fields
from difflib import get_close_matches
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from qmix_jax.errors import ConfigError

_MOST_INT32 = 2**31 - 1
_MOST_FLOAT32 = (2 - 2**-23) * 2.0**127
_MOST_VALUES = 100
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


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
    """Declare a field with its help line and accepted values (applied to every element of a tuple).

    An `at_least` of type int marks a whole number, held as int32 in traced code; other numbers are float32 there.
    `group` opens a section of `--help-all`, which the following fields belong to as well. `changeable`: may be given
    another value when a run is resumed. `traceable`: may be a traced array (`Config.traced`). `metavar` stands for the
    value in `--help`, instead of its type.
    """
    if at_most is None and (at_least is not None or above is not None):
        at_most = _MOST_INT32 if isinstance(at_least, int) else _MOST_FLOAT32
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "choices": choices}
    marks = {"changeable": changeable, "traceable": traceable}
    return field(default=default, metadata={"help": help, "group": group, "metavar": metavar, **marks, **limits})


@cache  # read for every setting of every run of a sweep
def scalar_type(declared: Field[Any]) -> type:
    """Return the type of one value: int for int, int | None, tuple[int, ...] and tuple[int, ...] | None."""
    kind = _without_none(declared)
    return get_args(kind)[0] if is_tuple(declared) else kind


@cache
def is_tuple(declared: Field[Any]) -> bool:
    """Whether the field holds several values."""
    return get_origin(_without_none(declared)) is tuple


def _without_none(declared: Field[Any]) -> Any:
    if get_origin(declared.type) is not UnionType:
        return declared.type
    return next(kind for kind in get_args(declared.type) if kind is not NoneType)


def check_setting(declared: Field[Any], value: Any) -> None:
    """Refuse a value of the wrong type or outside its field's limits.

    Raises:
        ConfigError: naming the flag, the value and what is accepted.
    """
    if value is None and NoneType in get_args(declared.type):
        return
    if is_tuple(declared) and not (isinstance(value, tuple) and 0 < len(value) <= _MOST_VALUES):
        raise ConfigError(
            f"--{declared.name} {_shortened(value)}: must be a tuple of at least one value and at most {_MOST_VALUES}, "
            f"each {accepted(declared)}"
        )
    for element in value if is_tuple(declared) else (value,):
        check_value(declared, element, _shortened(element))


def check_value(declared: Field[Any], value: Any, shown: Any) -> None:
    """Refuse a single value, or one element of a tuple; `shown` is the value as the user wrote it.

    Raises:
        ConfigError: naming the flag, the value and what is accepted.
    """
    if not (_has_type(value, scalar_type(declared)) and _within(value, declared.metadata)):
        hint = did_you_mean(str(shown), declared.metadata["choices"] or ())
        raise ConfigError(f"--{declared.name} {shown}: {hint}must be {accepted(declared)}")


def accepted(declared: Field[Any]) -> str:
    """Describe the accepted values, such as 'a number, at least 0 and at most 1'."""
    limits = declared.metadata
    if limits["choices"] is not None:
        return f"one of {', '.join(limits['choices'])}"
    bounds = [
        f"{word} {limits[key]:.10g}"
        for key, word in (("at_least", "at least"), ("above", "above"), ("at_most", "at most"))
        if limits[key] is not None
    ]
    return ", ".join([_TYPE_NAMES[scalar_type(declared)], *([" and ".join(bounds)] if bounds else [])])


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return 'did you mean <name>? ' for the name nearest to `word`, or '' where none is near."""
    nearest = nearest_name(word, names)
    return f"did you mean {nearest}? " if nearest else ""


def nearest_name(word: str, names: Iterable[str]) -> str | None:
    """Return the name that resembles `word` most, whatever the case of its letters, or None where none does."""
    by_lower_case = {name.lower(): name for name in names}
    nearest = get_close_matches(word[:100].lower(), by_lower_case, 1)
    return by_lower_case[nearest[0]] if nearest else None


def read_settings(settings: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read values of a dataclass's fields from text by name, or several texts for a tuple.

    Raises:
        ConfigError: a value is not accepted.
    """
    declared = {declared.name: declared for declared in fields(settings)}
    return {name: _read(declared[name], text) for name, text in arguments.items()}


def as_text(value: Any, separator: str = " ") -> str:
    """Write a setting's value as it follows its flag; `separator` stands between the elements of a tuple."""
    if isinstance(value, bool):
        return str(value).lower()
    return separator.join(map(str, value)) if isinstance(value, tuple) else str(value)


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _has_type(value: Any, kind: type) -> bool:
    """Whether its type is exactly `kind`, or int for a float: True is not a number, 2.0 not a whole one."""
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


def _read(declared: Field[Any], text: str | list[str]) -> Any:
    if isinstance(text, list):
        return tuple(_read_value(declared, element) for element in _elements(declared, text))
    return _read_value(declared, text)


def _elements(declared: Field[Any], texts: list[str]) -> list[str]:
    """Split `64,64` into elements, but not free text, where a comma may mean something."""
    if scalar_type(declared) is str and declared.metadata["choices"] is None:
        return texts
    return [element for text in texts for element in text.strip().removesuffix(",").split(",")]


def _read_value(declared: Field[Any], text: str) -> Any:
    kind = scalar_type(declared)
    value: Any
    try:
        if kind is bool:
            value = _BOOLS[text.lower()]
        else:
            value = _read_whole(text) if kind is int else kind(text)
    except (KeyError, ValueError):
        value = None  # no setting accepts it
    check_value(declared, value, text)
    return value


def _read_whole(text: str) -> int:
    """Read `1000`, `1e6` or `2.5e3`, but not `1.5`."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)
