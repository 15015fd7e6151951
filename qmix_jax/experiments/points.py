"""The points of a sweep: every combination of listed values, or random draws from ranges.

Imports at the top stay light, see `train`.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, replace
from itertools import product
from typing import Any, NamedTuple

from qmix_jax.cli.synonyms import nearest_flag
from qmix_jax.config import Config, names_module
from qmix_jax.errors import ConfigError
from qmix_jax.settings import is_tuple, read_settings, scalar_type

Point = Mapping[str, Any]  # settings by name, arguments of the environment as env_args.NAME

_OF_THE_SWEEP = ("seed", "results_dir", "num_devices")  # the sweep sets these itself
_SETTINGS: dict[str, Field[Any]] = {
    declared.name: declared for declared in fields(Config) if declared.name not in _OF_THE_SWEEP
}
_ARGUMENT = "env_args."  # before the name of an argument of the environment
_MOST_POINTS = 10_000


class Range(NamedTuple):
    """Where a setting is drawn from."""

    low: float
    high: float
    is_logarithmic: bool
    is_whole: bool  # whether it is rounded to whole numbers


def grid_points(words: Sequence[str]) -> list[Point]:
    """Return every combination of 'NAME=VALUE,VALUE,...' words; the last name changes fastest.

    Elements of a tuple are joined by x: 'hidden_sizes=64x64,128x128'. 'env_args.NAME=...' tries values of an argument
    of the environment, as text.

    Raises:
        ConfigError: naming the word and what would be accepted.
    """
    lists: dict[str, list[Any]] = {}
    for word in words:
        name, texts = _split("grid", word, "NAME=VALUE,VALUE,...", lists)
        values = [_read(f"grid {word}", name, text) for text in texts.split(",")]
        for value in values:
            if name == "env" and names_module(value):
                raise ConfigError(f"--grid {word}: {value}: an environment of your own must be given by --env")
        if len(set(values)) < len(values):
            raise ConfigError(f"--grid {word}: must name every value once")
        lists[name] = values
    points = math.prod(map(len, lists.values()))
    if points > _MOST_POINTS:
        raise ConfigError(f"--grid {' '.join(words)}: has {points} combinations; must be at most {_MOST_POINTS}")
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def random_points(words: Sequence[str], count: int, seed: int) -> list[Point]:
    """Return `count` draws, uniform over `read_ranges`, log-uniform where a word says so.

    The same words, count and seed give the same points.

    Raises:
        ConfigError: as for `read_ranges`.
    """
    ranges, generator = read_ranges(words), random.Random(seed)
    return [{name: _draw(generator, limits) for name, limits in ranges.items()} for _ in range(count)]


def read_ranges(words: Sequence[str]) -> dict[str, Range]:
    """Return the ranges of 'NAME=LOW:HIGH' or 'NAME=LOW:HIGH:log' words by name.

    Raises:
        ConfigError: naming the word and what would be accepted.
    """
    form = "NAME=LOW:HIGH or NAME=LOW:HIGH:log"
    ranges: dict[str, Range] = {}
    for word in words:
        name, text = _split("ranges", word, form, ranges)
        low_text, _, rest = text.partition(":")
        high_text, colon, scale = rest.partition(":")
        declared = _SETTINGS.get(name)
        if declared is None or scalar_type(declared) not in (int, float) or is_tuple(declared):
            raise ConfigError(f"--ranges {word}: must name a setting that is a number; use --grid for {name}")
        if not low_text or not high_text or (colon and scale != "log"):
            raise ConfigError(f"--ranges {word}: must be {form}")
        low, high = (_read(f"ranges {word}", name, end) for end in (low_text, high_text))
        if low >= high or (scale and low <= 0):
            raise ConfigError(f"--ranges {word}: must have LOW below HIGH{', and LOW above 0' if scale else ''}")
        ranges[name] = Range(low, high, bool(scale), scalar_type(declared) is int)
    return ranges


def spread_points(words: Sequence[str], count: int) -> list[Point]:
    """Return points from the lowest to the highest values of `read_ranges`, at least both: for a check before a search.

    Raises:
        ConfigError: as for `read_ranges`.
    """
    ranges, steps = read_ranges(words), max(count, 2) - 1
    return [
        {name: rounded(_at(step / steps, limits), limits) for name, limits in ranges.items()}
        for step in range(steps + 1)
    ]


def rounded(value: float, limits: Range) -> float:
    """Return a drawn value as tables show it, so that a row can be typed as flags."""
    return round(value) if limits.is_whole else float(f"{min(max(value, limits.low), limits.high):.6g}")


def at_point(config: Config, point: Point) -> Config:
    """Return `config` with a point's settings.

    Raises:
        ConfigError: they contradict each other.
    """
    settings = {name: value for name, value in point.items() if not name.startswith(_ARGUMENT)}
    tried = {name.removeprefix(_ARGUMENT): value for name, value in point.items() if name.startswith(_ARGUMENT)}
    if tried:
        arguments = {**config.env_arguments, **tried}
        settings["env_args"] = tuple(f"{name}={value}" for name, value in arguments.items())
    return replace(config, **settings)


def _draw(generator: random.Random, limits: Range) -> float:
    return rounded(_at(generator.random(), limits), limits)


def _at(share: float, limits: Range) -> float:
    low, high = limits.low, limits.high
    return low * (high / low) ** share if limits.is_logarithmic else low + share * (high - low)


def _split(flag: str, word: str, form: str, known: Mapping[str, Any]) -> tuple[str, str]:
    name, equals, values = word.partition("=")
    name = name.replace("-", "_")
    if not equals or not values:
        raise ConfigError(f"--{flag} {word}: must be {form}")
    argument = name.removeprefix(_ARGUMENT)
    if not (argument.isidentifier() if name != argument else name in _SETTINGS and name != "env_args"):
        nearest = nearest_flag(name, _SETTINGS)
        hint = f"did you mean {nearest}?" if nearest else "see `qmix-jax train --help-all`"
        raise ConfigError(f"--{flag} {word}: {name} is not a setting that can be swept; {hint}")
    if name in known:
        raise ConfigError(f"--{flag} {word}: {name} must be named once")
    return name, values


def _read(flag: str, name: str, text: str) -> Any:
    if name.startswith(_ARGUMENT):
        return text
    many = is_tuple(_SETTINGS[name])
    try:
        return read_settings(Config, {name: text.split("x") if many else text})[name]
    except ConfigError as error:
        raise ConfigError(f"--{flag}: {str(error).removeprefix('--')}") from None
