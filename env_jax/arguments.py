"""Reads the arguments of an environment's constructor from text, typed by its annotations and defaults."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    bool: (lambda text: _BOOLS[text.lower()], "true or false"),
    int: (int, "a whole number"),
    float: (lambda text: _finite(float(text)), "a number"),
    str: (str, "text"),
}
Named = Mapping[str, Mapping[str, Any]]  # by argument: its values by the names that stand for them


class ArgumentError(ValueError):
    """An argument that the constructor does not accept; the message is one line that begins with NAME=VALUE."""


def parameters_of(*constructors: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the parameters that can be given by name, the first constructor's where several have one of that name.

    A class whose constructor takes `**kwargs` is taken to pass them on to its base class.
    """
    found: dict[str, Parameter] = {}
    for constructor in constructors:
        for function in _chain(constructor):
            for name, parameter in _signature(function).items():
                if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
                    found.setdefault(name, parameter)
    return found


def read_arguments(texts: Mapping[str, str], parameters: Mapping[str, Parameter], named: Named | None = None) -> Any:
    """Return the arguments' values by name.

    Args:
        texts: arguments as text, by name.
        parameters: those of the constructor, see `parameters_of`. Only those whose annotation or default is a bool,
            int, float, str or `Literal` can be given.
        named: arguments that are given by the name of a value.

    Raises:
        ArgumentError: naming the first that is not accepted, and what is.
    """
    literals = {name: allowed for name, parameter in parameters.items() if (allowed := _literals(parameter))}
    named = literals | {name: values for name, values in (named or {}).items() if name in parameters}
    kinds = {name: kind for name, parameter in parameters.items() if (kind := _kind(parameter)) is not None}
    read: dict[str, Any] = {}
    for name, text in texts.items():
        if name in named:
            accepted = f"one of {', '.join(named[name])}"
            values = [named[name][text]] if text in named[name] else []
        elif name in kinds:
            reader, accepted = _READERS[kinds[name]]
            try:
                values = [reader(text)]
            except (KeyError, ValueError):
                values = []
        else:
            known = ", ".join(sorted({*kinds, *named})) or "none"
            hint = _did_you_mean(name, {*kinds, *named})
            raise ArgumentError(f"{name}={text[:100]}: {hint}the environment's arguments are {known}")
        if not values:
            raise ArgumentError(f"{name}={text[:100]}: {_did_you_mean(text, named.get(name, ()))}must be {accepted}")
        read[name] = values[0]
    return read


def _did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return 'did you mean <name>? ' for the name nearest to `word`, whatever the case of its letters, or ''."""
    by_lower_case = {name.lower(): name for name in names}
    nearest = get_close_matches(word[:100].lower(), by_lower_case, 1, cutoff=0.82)  # dim_c is not dim_p, misspelled
    return f"did you mean {by_lower_case[nearest[0]]}? " if nearest else ""


def _chain(constructor: Callable[..., Any]) -> Iterable[Callable[..., Any]]:
    """Yield the functions that receive the arguments: of a class its own `__init__`, then those of its bases."""
    functions = [constructor]
    if isinstance(constructor, type):
        functions = [vars(kind)["__init__"] for kind in constructor.__mro__[:-1] if "__init__" in vars(kind)]
    for function in functions:
        yield function
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in _signature(function).values()):
            return


def _signature(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Return the parameters, none where there is no signature. Annotations are evaluated where they can be."""
    for evaluate in (True, False):
        try:
            parameters = inspect.signature(function, eval_str=evaluate).parameters
        except Exception:  # whatever evaluating an annotation may raise
            continue
        return {name: parameter for name, parameter in parameters.items() if name != "self"}
    return {}


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number


def _literals(parameter: Parameter) -> dict[str, Any]:
    """Return the values of a `Literal`, by their text; none without that annotation."""
    declared = parameter.annotation
    return {str(value): value for value in get_args(declared)} if get_origin(declared) is Literal else {}


def _kind(parameter: Parameter) -> type | None:
    """Return the type of an argument that can be read from text, None for others."""
    declared = parameter.annotation
    if get_origin(declared) in (Union, UnionType):
        declared = next((kind for kind in get_args(declared) if kind is not NoneType), None)
    for kind in (declared, type(parameter.default)):
        if isinstance(kind, type) and kind in _READERS:
            return kind
    return None
