"""Count the kernels of a compiled program by reading its HLO text, as `jax.stages.Compiled.as_text` returns it."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Instructions that name or rearrange what exists, and the second halves of asynchronous pairs.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "copy-done", "async-done"}
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Instruction(NamedTuple):
    """One instruction of a computation."""

    opcode: str
    line: str  # as printed


_Computations = Mapping[str, list[Instruction]]


def count_kernels(text: str) -> int:
    """Count the kernels of one call of a program.

    Every instruction is one, except parameters, constants, tuples, their elements and bitcasts. A loop counts as often
    as it iterates, once where XLA does not know how often; a called computation in full, a conditional as its largest
    branch.
    """
    computations = read_computations(text)
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    assert entry, "no entry computation"
    return _count(computations, entry[1], lambda _: "").total()


def count_loop(text: str, scope: str, label: Callable[[str], str]) -> Counter[str]:
    """Count the kernels of one iteration of the loop in the named scope, by `label` of the operations' names."""
    computations = read_computations(text)
    instructions = [one for body in computations.values() for one in body]
    loops = [one for one in instructions if one.opcode == "while" and _op_name(one).endswith(f"/{scope}/while")]
    assert len(loops) == 1, f"{len(loops)} loops in {scope}"
    return _count(computations, _called(loops[0], "body"), label)


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


def _op_name(one: Instruction) -> str:
    found = re.search(r'op_name="([^"]*)"', one.line)
    return found[1] if found else ""


def _count(computations: _Computations, name: str, label: Callable[[str], str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in computations[name]:
        total += _kernels(computations, one, label)
    return total


def _kernels(computations: _Computations, one: Instruction, label: Callable[[str], str]) -> Counter[str]:
    def count(name: str) -> Counter[str]:
        return _count(computations, name, label)

    if one.opcode in _FREE:
        return Counter()
    if one.opcode == "call":
        return count(_called(one, "to_apply"))
    if one.opcode == "while":
        known = _TRIP_COUNT.search(one.line)
        turn = count(_called(one, "condition")) + count(_called(one, "body"))
        return Counter({part: kernels * (int(known[1]) if known else 1) for part, kernels in turn.items()})
    if one.opcode == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", one.line)
        names = (
            branches[1] if branches else ", ".join(_called(one, f"{side}_computation") for side in ("true", "false"))
        )
        return max((count(name.strip().lstrip("%")) for name in names.split(",")), key=Counter.total)
    return Counter({label(_op_name(one)): 1})


def _called(one: Instruction, attribute: str) -> str:
    found = re.search(rf"\b{attribute}=%?([\w.\-]+)", one.line)
    assert found, f"no {attribute} in {one.line}"
    return found[1]
