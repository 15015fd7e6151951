"""Specification of a sweep: the settings and seeds it tries, its flags of `train.py`, and its folder.

results/sweep_<i>/
  configs/sweep.json                 the specification
  seed_<k>/  or  point_<j>/seed_<k>/ run directories
  evaluations.csv  summary.csv  sweep.md  curves.png  settings.png  tasks.png

Imports at the top stay light, see `train`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError, missing
from qmix_jax.experiments.flags import read_stored_flags
from qmix_jax.experiments.plan import Group, Member, group_members, plan_members, share_groups
from qmix_jax.experiments.points import Point, grid_points, random_points, range_ends
from qmix_jax.presets import make_config, with_preset
from qmix_jax.settings import as_text, check_setting, read_settings, setting
from qmix_jax.storage.files import check_no_links, read_json, write_json

_FORMAT = 4  # of sweep.json
_ADDED = dict.fromkeys(("optuna", "batch", "prune"))  # since the first sweeps of this format


@dataclass(frozen=True)
class SweepSettings:
    """Flags of a sweep; Config has those of each run."""

    num_seeds: int = setting(
        1, "runs of each point, with seeds --seed, --seed + 1, ...", at_least=1, at_most=10_000, group="The sweep"
    )
    grid: tuple[str, ...] | None = setting(
        None,
        "every combination: lr=1e-3,5e-4 gamma=0.95,0.97 hidden_sizes=64x64,128x128 env_args.scenario=3m,2s3z",
        metavar="NAME=VALUE,VALUE",
    )
    random: int | None = setting(None, "instead of --grid: this many draws from --ranges", at_least=1, at_most=10_000)
    ranges: tuple[str, ...] | None = setting(
        None, "ranges for --random or --optuna: lr=1e-4:1e-2:log gamma=0.9:0.99", metavar="NAME=LOW:HIGH[:log]"
    )
    optuna: int | None = setting(
        None,
        "instead of --random: this many suggestions from --ranges, which learn from earlier runs (extra: optuna)",
        at_least=1,
        at_most=10_000,
    )
    batch: int | None = setting(
        None, "suggestions of --optuna that are trained at once; not set: 8", at_least=1, at_most=10_000
    )
    prune: bool | None = setting(
        None,
        "stop two thirds of a batch of --optuna after a ninth and after a third of the steps; not set: true",
    )
    memory_limit: float | None = setting(
        None,
        "GiB for the members trained at once, on each device or in each process; not set: 70 % of the memory",
        above=0.0,
    )
    workers: int | None = setting(
        None,
        "processes at once, each on an equal share of the cores; not set: one for each core, or 1 with an accelerator",
        at_least=1,
    )

    def __post_init__(self) -> None:
        """Refuse invalid combinations.

        Raises:
            ConfigError: naming the flag.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        if self.grid is not None and self.random is not None:
            raise ConfigError(f"--grid {' '.join(self.grid)} and --random {self.random}: give only one of them")
        for name in ("grid", "random"):
            other = getattr(self, name)
            if other is not None and self.optuna is not None:
                raise ConfigError(f"--{name} {as_text(other)} and --optuna {self.optuna}: give only one of them")
        drawn = "random" if self.random is not None else "optuna" if self.optuna is not None else None
        if drawn is not None and self.ranges is None:
            raise ConfigError(f"--{drawn}: must come with --ranges")
        if drawn is None and self.ranges is not None:
            raise ConfigError("--ranges: must come with --random or --optuna")
        for name in ("batch", "prune"):
            if getattr(self, name) is not None and self.optuna is None:
                raise ConfigError(f"--{name} {as_text(getattr(self, name))}: must come with --optuna")


class Sweep(NamedTuple):
    """A sweep's own settings, and its flags of `train.py` as text by name."""

    settings: SweepSettings
    flags: Mapping[str, Any]
    found: tuple[Point, ...] | None = None  # the points of a search, as far as it has got

    def config(self) -> Config:
        """Return the configuration that members share, apart from the settings the sweep tries.

        Raises:
            ConfigError: a flag is not accepted.
        """
        return make_config(self.flags)

    def points(self) -> list[Point]:
        """Return the points; a single empty one where only seeds differ, the ends of the ranges before a search.

        Raises:
            ConfigError: --grid or --ranges cannot be read.
        """
        if self.found is not None:
            return list(self.found)
        if self.settings.optuna is not None:
            return range_ends(self.settings.ranges or ())
        if self.settings.random is not None:
            return random_points(self.settings.ranges or (), self.settings.random, self.config().seed)
        return grid_points(self.settings.grid or ())

    def words(self) -> dict[str, Any]:
        """Return the flags that start the same sweep on any machine, as text by name."""
        own = {name: value for name, value in asdict(self.settings).items() if value is not None and name != "workers"}
        texts = {name: [*value] if isinstance(value, tuple) else str(value) for name, value in own.items()}
        return {**texts, **self.flags}

    def members(self) -> list[Member]:
        """Return all runs.

        Raises:
            ConfigError: settings contradict each other, or too few checkpoints are kept to resume a sweep.
        """
        config, points = self.config(), self.points()
        for name in points[0]:
            if name in self.flags or name in {f"env_args.{argument}" for argument in config.env_arguments}:
                raise ConfigError(f"--{name}: cannot be given beside --grid or --ranges, which try values of it")
        if config.num_devices > 1:
            raise ConfigError(f"--num_devices {config.num_devices}: must be 1 in a sweep, which spreads its members")
        members = plan_members(config, points, self.settings.num_seeds)
        for member in members:
            if member.config.keep_resumable < 2:
                raise ConfigError("--keep_resumable 1: must be at least 2 in a sweep, whose members write in turn")
            if not member.config.checkpoint_replay:
                raise ConfigError("--checkpoint_replay false: must be true in a sweep")
        return members

    def shared_by(self, workers: int) -> "Sweep":
        """Return the same sweep for this many processes."""
        return self._replace(settings=replace(self.settings, workers=workers))

    def shares(self) -> list[list[Group]]:
        """Return each process's groups of runs.

        Raises:
            ConfigError: there are more processes than runs.
        """
        members, workers = self.members(), self.settings.workers or 1
        if workers > len(members):
            raise ConfigError(f"--workers {workers}: must be at most {len(members)}, the runs there are")
        return share_groups(group_members(members), workers)


def sweep_from_flags(arguments: Mapping[str, Any]) -> Sweep:
    """Return the sweep of these flags, given as text by name.

    Raises:
        ConfigError: a flag is not accepted.
    """
    own = {declared.name for declared in fields(SweepSettings)}
    settings = read_settings(SweepSettings, {name: arguments[name] for name in arguments if name in own})
    flags = {name: text for name, text in arguments.items() if name not in own}
    sweep = Sweep(SweepSettings(**settings), with_preset(flags))
    sweep.members()
    return sweep


def check_search(sweep: Sweep) -> None:
    """Refuse a search without Optuna.

    Raises:
        ConfigError: it is not installed.
    """
    if sweep.settings.optuna is not None and find_spec("optuna") is None:
        raise ConfigError(f"--optuna {sweep.settings.optuna}: {missing('optuna', 'optuna')}")


def _tried(content: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that a sweep's file says it tries."""
    texts = content.get("grid") or content.get("ranges")
    return {str(text).partition("=")[0] for text in texts} if isinstance(texts, list) else set()


def sweep_file(path: Path) -> Path:
    """Return the path of a sweep's specification in its folder."""
    return path / "configs" / "sweep.json"


def write_sweep(path: Path, sweep: Sweep) -> None:
    """Write sweep.json, atomically."""
    content = {"format": _FORMAT, **asdict(sweep.settings), "flags": sweep.flags}
    written = sweep_file(path)
    written.parent.mkdir(exist_ok=True)
    write_json(written, content)


def read_sweep(path: Path, is_checked: bool = False) -> Sweep:
    """Read back a sweep that `write_sweep` wrote.

    Args:
        path: the sweep's folder.
        is_checked: whether another process has checked the folder for links, and may be writing into it.

    Raises:
        ConfigError: the folder holds no sweep that can be resumed.
    """
    written = sweep_file(path)
    try:
        if not written.is_file():
            raise ConfigError(f"must be the folder of a sweep, with {written.relative_to(path)}")
        if not is_checked:
            check_no_links(path)
        content = read_json(written)
        flags = read_stored_flags(written, content, _FORMAT, tried=_tried(content))
        content = _ADDED | content
        if content.keys() != {declared.name for declared in fields(SweepSettings)}:
            raise ConfigError(f"{written}: must hold the sweep's settings and flags")
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        sweep = Sweep(SweepSettings(**settings), flags)
        sweep.shares()
    except (OSError, ConfigError, DamagedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--resume {path}: {reason}") from None
    return sweep
