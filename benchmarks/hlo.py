"""Count the kernels of a compiled program by reading its HLO text, as `jax.stages.Compiled.as_text` returns it."""

import re
from collections.abc import Mapping
from typing import NamedTuple

# Instructions that name or rearrange what exists, and the second halves of asynchronous pairs.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "copy-done", "async-done"}
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Instruction(NamedTuple):
    """One instruction of a computation."""

    opcode: str
    line: str  # as printed


def count_kernels(text: str) -> int:
    """Count the kernels of one call of a program.

    Every instruction is one, except parameters, constants, tuples, their elements and bitcasts. A loop counts as often
    as it iterates, once where XLA does not know how often; a called computation in full, a conditional as its largest
    branch.
    """
    computations = read_computations(text)
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    assert entry, "no entry computation"
    return _count(computations, entry[1])


def count_unknown_loops(text: str) -> int:
    """Count the loops of a program of which XLA does not know how often they iterate."""
    instructions = [one for body in read_computations(text).values() for one in body]
    return sum(one.opcode == "while" and not _TRIP_COUNT.search(one.line) for one in instructions)


def read_computations(text: str) -> dict[str, list[Instruction]]:
    """Return the instructions of every computation of a program, by name."""
    computations: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in text.splitlines():
        if header := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            body = computations[header[1]] = []
        elif " = " in line and line.startswith("  "):
            body.append(Instruction(_opcode(line), line))
    return computations


def _opcode(line: str) -> str:
    """Return an instruction's opcode: the word after its type, which may be a tuple of types."""
    rest = line.split(" = ", 1)[1]
    depth = 0
    for start, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if character == " " and depth == 0:
            return rest[start + 1 :].split("(", 1)[0]
    raise ValueError(f"no instruction: {line}")


def _count(computations: Mapping[str, list[Instruction]], name: str) -> int:
    return sum(_kernels(computations, one) for one in computations[name])


def _kernels(computations: Mapping[str, list[Instruction]], one: Instruction) -> int:
    if one.opcode in _FREE:
        return 0
    if one.opcode == "call":
        return _count(computations, _called(one, "to_apply"))
    if one.opcode == "while":
        known = _TRIP_COUNT.search(one.line)
        turns = int(known[1]) if known else 1
        return turns * sum(_count(computations, _called(one, part)) for part in ("condition", "body"))
    if one.opcode == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", one.line)
        names = (
            branches[1] if branches else ", ".join(_called(one, f"{side}_computation") for side in ("true", "false"))
        )
        return max(_count(computations, name.strip().lstrip("%")) for name in names.split(","))
    return 1


def _called(one: Instruction, attribute: str) -> str:
    found = re.search(rf"\b{attribute}=%?([\w.\-]+)", one.line)
    assert found, f"no {attribute} in {one.line}"
    return found[1]
