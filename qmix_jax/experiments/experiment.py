"""Specification of an experiment, a sweep or a comparison: its settings, its runs, and the file that keeps them.

results/sweep_<i>/configs/sweep.json  results/compare_<i>/configs/compare.json

Imports at the top stay light, see `train`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.experiments.plan import Member, is_folder, plan_members
from qmix_jax.experiments.points import Point
from qmix_jax.presets import PRESETS, make_config, with_preset
from qmix_jax.settings import is_tuple, read_settings
from qmix_jax.storage.files import check_no_links, read_json, write_json
from qmix_jax.upgrades import IMPLIED, RENAMED, rename_values


class Kind(NamedTuple):
    """What distinguishes sweeps and comparisons."""

    name: str  # in messages
    command: str  # and the names of folder and file
    format: int  # of its file
    settings: type  # dataclass of its own flags
    points: Callable[[Any, Config], list[Point]]  # from its own settings and those of all runs
    folders: Callable[[Sequence[Point]], list[str]]  # of the points
    earlier_folders: Callable[[Sequence[Point]], list[str]]  # where the file does not name them
    check: Callable[["Experiment"], None]  # refuses settings in which its runs cannot be trained
    without: Mapping[str, str] = MappingProxyType({})  # flags of `train` that it does not take, and why
    alone: bool = False  # whether each run is trained as `train` does, in a process of its own
    added: tuple[str, ...] = ()  # settings that the first files of this format lack


class Experiment(NamedTuple):
    """Runs that differ in some settings, all of them resolved."""

    kind: Kind
    settings: Any  # its own, of type `kind.settings`
    flags: Mapping[str, Any]  # of `train`, as text by name
    config: Config  # settings of all runs, but for those of the points
    points: list[Point]
    folders: list[str]  # of the points
    members: tuple[Member, ...]

    def words(self) -> dict[str, Any]:
        """Return the flags that start the same experiment on any machine, as text by name."""
        own = {name: value for name, value in asdict(self.settings).items() if value is not None and name != "workers"}
        texts = {name: [*value] if isinstance(value, tuple) else str(value) for name, value in own.items()}
        return {**texts, **self.flags}

    def shared_by(self, workers: int) -> "Experiment":
        """Return the same experiment for this many processes."""
        return self._replace(settings=replace(self.settings, workers=workers))


def resolve(
    kind: Kind, settings: Any, flags: Mapping[str, Any], name_folders: Callable[[Sequence[Point]], list[str]]
) -> Experiment:
    """Return the experiment of these settings, with all its runs.

    Args:
        kind: what it is.
        settings: its own.
        flags: of `train`, as text by name.
        name_folders: names the points' folders.

    Raises:
        ConfigError: a flag is not accepted, or settings contradict each other.
    """
    first = {"algorithm": settings.algorithms[0]} if kind.alone else {}
    config = make_config({**flags, **first})
    points = kind.points(settings, config)
    for name in points[0]:
        if name in flags or name in {f"env_args.{argument}" for argument in config.env_arguments}:
            raise ConfigError(f"--{name}: cannot be given beside --grid or --ranges, which try values of it")
    folders = name_folders(points)
    members = plan_members(config, points, settings.num_seeds, folders)
    if kind.alone:  # seed by seed: an hour in which the machine is slow affects all points alike
        members = tuple(sorted(members, key=attrgetter("seed")))
    experiment = Experiment(kind, settings, flags, config, points, folders, members)
    kind.check(experiment)
    return experiment


def experiment_from_flags(kind: Kind, arguments: Mapping[str, Any]) -> Experiment:
    """Return the experiment of these flags, given as text by name.

    Raises:
        ConfigError: a flag is not accepted.
    """
    for name, reason in kind.without.items():
        if name in arguments:
            raise ConfigError(f"--{name} {arguments[name]}: cannot be given here, {reason}")
    own = {declared.name for declared in fields(kind.settings)}
    settings = read_settings(kind.settings, {name: arguments[name] for name in arguments if name in own})
    flags = {name: text for name, text in arguments.items() if name not in own}
    return resolve(kind, kind.settings(**settings), with_preset(flags), kind.folders)


def experiment_file(path: Path, kind: Kind) -> Path:
    """Return the path of an experiment's specification in its folder."""
    return path / "configs" / f"{kind.command}.json"


def write_experiment(path: Path, experiment: Experiment) -> None:
    """Write the specification, atomically."""
    kind, settings = experiment.kind, asdict(experiment.settings)
    written = experiment_file(path, kind)
    written.parent.mkdir(exist_ok=True)
    write_json(written, {"format": kind.format, **settings, "flags": experiment.flags, "folders": experiment.folders})


def read_experiment(kind: Kind, path: Path) -> Experiment:
    """Read back what `write_experiment` wrote, in this version or an earlier one.

    Raises:
        ConfigError: the folder holds no such experiment that can be resumed.
    """
    written = experiment_file(path, kind)
    try:
        if not written.is_file():
            raise ConfigError(f"must be the folder of a {kind.name}, with {written.relative_to(path)}")
        check_no_links(path)
        content = read_json(written)
        folders = content.pop("folders", None)
        flags = _read_flags(written, content, kind)
        content = dict.fromkeys(kind.added) | content
        names = [declared.name for declared in fields(kind.settings)]
        if content.keys() != set(names):
            raise ConfigError(f"{written}: must hold {', '.join(names)} and flags")
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        experiment = resolve(kind, kind.settings(**settings), flags, partial(_read_folders, kind, folders))
    except (OSError, ConfigError, DamagedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--resume {path}: {reason}") from None
    return experiment


def _read_folders(kind: Kind, found: Any, points: Sequence[Point]) -> list[str]:
    if found is None:
        return kind.earlier_folders(points)
    valid = isinstance(found, list) and all(map(is_folder, found))
    if not valid or not len(set(found)) == len(found) == len(points):
        raise ConfigError(f"folders must be the names of {len(points)} different folders")
    return found


def _read_flags(path: Path, content: dict[str, Any], kind: Kind) -> Mapping[str, Any]:
    """Remove format and flags of `train` from a file's content, and return the flags as text by name.

    Runs of earlier formats had the flags `upgrades.IMPLIED`, unless the preset or the experiment had others.

    Raises:
        ConfigError: the format or the flags are not valid.
    """
    written, flags = content.pop("format", None), content.pop("flags", None)
    if type(written) is not int or not kind.format - len(IMPLIED) <= written <= kind.format:
        raise ConfigError(f"{path}: format must be {kind.format}, as this version writes it")
    declared = {declared.name: declared for declared in fields(Config) if declared.name not in kind.without}
    if not isinstance(flags, dict):
        raise ConfigError("flags must be texts by name")
    for name, text in flags.items():
        texts = text if name in declared and is_tuple(declared[name]) else [text]
        known = name == "preset" or name in declared
        if not known or not isinstance(texts, list) or not all(isinstance(element, str) for element in texts):
            raise ConfigError(f"--{name[:100]}: not a valid flag and value")
    if written == kind.format:
        return flags
    algorithms = content.get("algorithms")
    for name in RENAMED["algorithm"].keys() & set(map(str, algorithms)) if isinstance(algorithms, list) else ():
        raise ConfigError(f"{path}: {name} is another algorithm now; resume its runs one by one")
    words = content.get("grid") or content.get("ranges")
    tried = {str(word).partition("=")[0] for word in words} if isinstance(words, list) else set()
    flags = rename_values(flags)
    preset = PRESETS[flags["preset"]].settings if flags.get("preset") in PRESETS else {}
    implied = IMPLIED[written - kind.format].items()
    return {**{name: text for name, text in implied if name not in preset and name not in tried}, **flags}


def flag_words(arguments: Mapping[str, Any]) -> list[str]:
    """Convert flags, as text by name, back to command-line arguments."""
    words: list[str] = []
    for name, text in arguments.items():
        values = text if isinstance(text, list) else [text]
        words += [f"--{name}={text}"] if values == [text] and text.startswith("-") else [f"--{name}", *values]
    return words
