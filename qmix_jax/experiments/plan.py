"""The runs of a sweep, grouped by compiled program and divided among processes."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from qmix_jax.config import TRACEABLE, Config
from qmix_jax.experiments.points import Point, at_point


class Member(NamedTuple):
    """One run of a sweep."""

    point: int  # index of its settings
    seed: int  # index of its seed
    config: Config
    folder: str  # its run directory, relative to the sweep's folder


class Group(NamedTuple):
    """Members trained by one compiled program: they differ only in seeds and in traceable settings."""

    names: tuple[str, ...]  # the settings in which they differ
    members: tuple[Member, ...]


def plan_members(config: Config, points: Sequence[Point], num_seeds: int) -> list[Member]:
    """Return a run for every point and seed. Seeds count from the configuration's own.

    Raises:
        ConfigError: a point's settings contradict each other.
    """
    members = []
    for number, point in enumerate(points):
        for seed in range(num_seeds):
            folder = f"seed_{seed}" if len(points) == 1 else f"point_{number}/seed_{seed}"
            members.append(Member(number, seed, replace(at_point(config, point), seed=config.seed + seed), folder))
    return members


def group_members(members: Sequence[Member]) -> list[Group]:
    """Group members by the settings that shape their programs, in order of first appearance."""
    groups: dict[Any, list[Member]] = {}
    for member in members:
        groups.setdefault(_shape(member.config), []).append(member)
    return [Group(_differing(found), tuple(found)) for found in groups.values()]


def share_groups(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Deal members to `count` processes, so that their shares of every group differ by at most one member.

    A part keeps its group's traced settings, even where its own members agree on them.
    """
    shares: list[list[Group]] = [[] for _ in range(count)]
    done = 0
    for group in groups:
        for process, share in enumerate(shares):
            members = group.members[(process - done) % count :: count]
            if members:
                share.append(group._replace(members=members))
        done += len(group.members)
    return shares


def split_group(group: Group, fitting: int) -> list[Group]:
    """Split a group into the fewest groups of at most `fitting` members, as equal in size as possible."""
    count = -(-len(group.members) // fitting)
    sizes = [len(group.members[part::count]) for part in range(count)]
    ends = [sum(sizes[: part + 1]) for part in range(count)]
    return [group._replace(members=group.members[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def member_values(group: Group) -> dict[str, list[float]]:
    """Return the members' values of the settings that differ, by name."""
    return {name: [float(getattr(member.config, name)) for member in group.members] for name in group.names}


def _shape(config: Config) -> tuple[Any, ...]:
    """Return the settings that shape the program: all but the seed and the traceable ones that are set."""
    settings = asdict(replace(config, seed=0))
    return tuple(None if name in TRACEABLE and value is not None else (name, value) for name, value in settings.items())


def _differing(members: Sequence[Member]) -> tuple[str, ...]:
    values = {name: {getattr(member.config, name) for member in members} for name in TRACEABLE}
    return tuple(name for name, found in values.items() if len(found) > 1)
