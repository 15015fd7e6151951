"""Arguments of constructors, read from text."""

from dataclasses import dataclass
from typing import Literal

import pytest

from env_jax.arguments import ArgumentError, parameters_of, read_arguments


class Base:
    def __init__(self, size=3, depth: "int | None" = None, table=None, **kwargs):
        pass


class Derived(Base):
    def __init__(self, size=5.0, *, quick: bool = False, name: str = "a", **kwargs):
        pass


class Closed(Base):
    def __init__(self, speed: float):
        pass


@dataclass(frozen=True)
class Declared:
    length: int = 4
    share: float = 0


def function(count: int, unknown: "Missing" = 1, mode: Literal["near", 3] = "near"):  # noqa: F821
    pass


@pytest.mark.parametrize(
    ("constructor", "texts", "expected"),
    [
        (Base, {"size": "7", "depth": "2"}, {"size": 7, "depth": 2}),
        (Derived, {"size": "7", "quick": "YES", "name": "b=c", "depth": "1"}, None),
        (Closed, {"speed": "2"}, {"speed": 2.0}),
        (Declared, {"length": "9", "share": "0.5"}, {"length": 9, "share": 0.5}),
        (function, {"count": "-1", "unknown": "2", "mode": "3"}, {"count": -1, "unknown": 2, "mode": 3}),
    ],
)
def test_arguments_are_typed_by_annotations_and_defaults(constructor, texts, expected):
    expected = expected or {"size": 7.0, "quick": True, "name": "b=c", "depth": 1}
    read = read_arguments(texts, parameters_of(constructor))
    assert read == expected
    assert [type(value) for value in read.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("constructor", "texts", "message"),
    [
        (Base, {"size": "7.5"}, "size=7.5: must be a whole number"),
        (Base, {"size": "9" * 5_000}, "size=9999"),
        (Derived, {"quick": "2"}, "quick=2: must be true or false"),
        (Closed, {"speed": "inf"}, "speed=inf: must be a number"),
        (Closed, {"size": "1"}, "size=1: the environment's arguments are speed"),
        (Base, {"table": "1"}, "table=1: the environment's arguments are depth, size"),
        (Derived, {"kwargs": "1"}, "the environment's arguments are depth, name, quick, size"),
        (Derived, {"self": "1"}, "self=1: the"),
        (function, {"mode": "neat"}, "mode=neat: must be one of near, 3"),
        (object, {"size": "1"}, "size=1: the environment's arguments are none"),
    ],
)
def test_what_the_constructor_does_not_accept(constructor, texts, message):
    with pytest.raises(ArgumentError) as refusal:
        read_arguments(texts, parameters_of(constructor))
    assert str(refusal.value).startswith(message) or message in str(refusal.value)


def test_some_are_given_by_name():
    parameters, small = parameters_of(Base), object()
    assert read_arguments({"table": "small"}, parameters, {"table": {"small": small}}) == {"table": small}
    with pytest.raises(ArgumentError, match=r"^table=large: must be one of small$"):
        read_arguments({"table": "large"}, parameters, {"table": {"small": small}})
    with pytest.raises(ArgumentError, match=r"arguments are depth, size$"):  # a constructor without that argument
        read_arguments({"map": "small"}, parameters, {"map": {"small": small}})
