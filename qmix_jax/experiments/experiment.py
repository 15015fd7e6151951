"""Specification of an experiment, a sweep or a comparison: its settings, its runs, and the file that keeps them.

results/sweep_<i>/configs/sweep.json  results/compare_<i>/configs/compare.json

Imports at the top stay light, see `train`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.experiments.plan import Member, is_folder, plan_members, trains_alone
from qmix_jax.experiments.points import Point
from qmix_jax.presets import PRESETS, make_config, with_preset
from qmix_jax.settings import check_setting, is_tuple, read_settings, setting
from qmix_jax.storage.files import check_no_links, read_json, write_json
from qmix_jax.upgrades import IMPLIED, RENAMED, rename_values

SEEDS = "Seeds and processes"


@dataclass(frozen=True)
class ExperimentSettings:
    """Flags of every experiment; Config has those of each run."""

    num_seeds: int = setting(
        1, "runs of each point, with seeds --seed, --seed + 1, ...", at_least=1, at_most=10_000, group=SEEDS
    )
    workers: int | None = setting(
        None,
        "processes at once, each on an equal share of the cores; not set: one for each core, or 1 with an accelerator",
        at_least=1,
        changeable=True,
    )
    memory_limit: float | None = setting(
        None,
        "GiB for the runs trained at once, on each device or in each process; not set: 70 % of the memory",
        above=0.0,
    )

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            ConfigError: naming the flag.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))


class Kind(NamedTuple):
    """What distinguishes sweeps and comparisons."""

    name: str  # in messages
    command: str  # and the names of folder and file
    column: str  # what its tables call a point
    format: int  # of its file
    settings: type  # dataclass of its own flags, which are more than `ExperimentSettings`
    points: Callable[[Any, int], list[Point]]  # from its own settings and the first seed
    folders: Callable[[Sequence[Point]], list[str]]  # of the points
    earlier_folders: Callable[[Sequence[Point]], list[str]]  # where the file does not name them
    check: Callable[["Experiment"], None]  # refuses settings with which its runs cannot be trained
    added: tuple[str, ...]  # settings that the first files of this format lack
    without: Mapping[str, str] = MappingProxyType({})  # flags of `train` that it does not take, and why


class Experiment(NamedTuple):
    """Runs that differ in some settings, all of them resolved."""

    kind: Kind
    settings: Any  # its own, of type `kind.settings`
    flags: Mapping[str, Any]  # of `train`, as text by name
    config: Config  # of all runs, but for what the points change: here it has the first point's settings
    points: list[Point]
    folders: list[str]  # of the points
    members: tuple[Member, ...]

    @property
    def some_alone(self) -> bool:
        """Whether a run cannot share a program, see `trains_alone`."""
        return any(trains_alone(member.config) for member in self.members)

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
    seed = read_settings(Config, {name: flags[name] for name in ("seed",) if name in flags}).get("seed", Config.seed)
    points = kind.points(settings, seed)
    config = make_config(flags, {name: value for name, value in points[0].items() if name not in flags})
    for name in points[0]:
        if name in flags or name in {f"env_args.{argument}" for argument in config.env_arguments}:
            raise ConfigError(f"--{name}: cannot be given beside --grid or --ranges, which try values of it")
    folders = name_folders(points)
    members = plan_members(config, points, settings.num_seeds, folders)
    if settings.workers is not None and settings.workers > len(members):
        raise ConfigError(f"--workers {settings.workers}: must be at most {len(members)}, the runs there are")
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
