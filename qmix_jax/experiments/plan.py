"""The runs of an experiment, resolved once, and grouped by compiled program."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import count
from typing import Any, NamedTuple

from qmix_jax.analysis.groups import settings_name
from qmix_jax.config import TRACEABLE, Config
from qmix_jax.experiments.points import Point, at_point

_LONGEST_FOLDER = 100  # characters
_SHAPING = tuple(declared.name for declared in fields(Config) if declared.name != "seed")


class Member(NamedTuple):
    """One run of an experiment."""

    point: int  # index of its settings
    seed: int  # index of its seed
    config: Config
    folder: str  # its run directory, relative to the experiment's folder; its name as shown to users


class Group(NamedTuple):
    """Members trained by one compiled program: they differ only in seeds and traceable settings."""

    names: tuple[str, ...]  # the settings in which they differ
    members: tuple[Member, ...]
    until: int | None = None  # environment steps of each at which it stops, to be continued; None: at its end

    @property
    def alone(self) -> bool:
        """Whether it is a single member, trained as `qmix-jax train` does."""
        return trains_alone(self.members[0].config)


def plan_members(
    config: Config, points: Sequence[Point], num_seeds: int, folders: Sequence[str] | None = None
) -> tuple[Member, ...]:
    """Return a run for every point and seed. Seeds count from the configuration's own.

    Args:
        config: settings of all runs.
        points: what each point changes.
        num_seeds: runs of each point.
        folders: the points' folders, "" for none; None names them by their settings.

    Raises:
        ConfigError: a point's settings contradict each other.
    """
    members = []
    for number, (point, folder) in enumerate(zip(points, folders or point_folders(points), strict=True)):
        at = at_point(config, point)
        for seed in range(num_seeds):
            path = f"{folder}/seed_{seed}" if folder else f"seed_{seed}"
            members.append(Member(number, seed, replace(at, seed=config.seed + seed) if seed else at, path))
    return tuple(members)


def point_folders(points: Sequence[Point]) -> list[str]:
    """Return a folder for each point, named by its settings; "" for a point without any."""
    folders: dict[str, None] = {}
    for point in points:
        name = re.sub(r"[^A-Za-z0-9._=,-]", "_", settings_name(point).replace(" ", ",") if point else "")[
            :_LONGEST_FOLDER
        ]
        others = (f"{name[: _LONGEST_FOLDER - 6]}_{number}" for number in count(2))
        folders[name if name not in folders else next(other for other in others if other not in folders)] = None
    return list(folders)


def numbered_folders(points: Sequence[Point]) -> list[str]:
    """Return the points' folders as earlier versions named them."""
    return [f"point_{number}" for number in range(len(points))] if len(points) > 1 else [""]


def is_folder(name: object) -> bool:
    """Return whether `point_folders` or `numbered_folders` may have made this name."""
    return isinstance(name, str) and re.fullmatch(r"([A-Za-z][A-Za-z0-9._=,-]{0,99})?", name) is not None


def trains_alone(config: Config) -> bool:
    """Return whether a run cannot share a program: its devices share one run, or it may lack a checkpoint of a step."""
    return config.num_devices > 1 or config.keep_resumable < 2 or not config.checkpoint_replay


def group_members(members: Sequence[Member]) -> list[Group]:
    """Group members by the settings that shape their programs, in order of first appearance."""
    groups: dict[Any, list[Member]] = {}
    for member in members:
        shape = member.folder if trains_alone(member.config) else _shape(member.config)
        groups.setdefault(shape, []).append(member)
    return [Group(_differing(found), tuple(found)) for found in groups.values()]


def share_groups(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Deal members to `count` processes, so that their shares of every group differ by at most one member.

    A part keeps its group's traced settings, even where its own members agree on them. There are at least as many
    members as processes.
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
    parts = -(-len(group.members) // fitting)
    sizes = [len(group.members[part::parts]) for part in range(parts)]
    ends = [sum(sizes[: part + 1]) for part in range(parts)]
    return [group._replace(members=group.members[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def member_values(group: Group) -> dict[str, list[float]]:
    """Return the members' values of the settings that differ, by name."""
    return {name: [float(getattr(member.config, name)) for member in group.members] for name in group.names}


def _shape(config: Config) -> tuple[Any, ...]:
    """Return the settings that shape the program: all but the seed and the traceable ones that are set."""
    values = vars(config)
    return tuple(None if name in TRACEABLE and values[name] is not None else (name, values[name]) for name in _SHAPING)


def _differing(members: Sequence[Member]) -> tuple[str, ...]:
    values = {name: {getattr(member.config, name) for member in members} for name in TRACEABLE}
    return tuple(name for name, found in values.items() if len(found) > 1)
