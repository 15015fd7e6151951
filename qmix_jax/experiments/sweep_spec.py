"""Specification of a sweep: the settings and seeds it tries, and its folder.

results/sweep_<i>/
  configs/sweep.json                       the specification
  seed_<k>/  or  <name>=<value>/seed_<k>/  run directories
  evaluations.csv  summary.csv  sweep.md  curves.png  settings.png  tasks.png
  optuna.log  search.png                   of a search

Imports at the top stay light, see `train`.
"""

from dataclasses import dataclass, fields
from importlib.util import find_spec

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, missing
from qmix_jax.experiments.experiment import Experiment, Kind
from qmix_jax.experiments.plan import group_members, numbered_folders, point_folders, share_groups
from qmix_jax.experiments.points import Point, grid_points, random_points, spread_points
from qmix_jax.settings import as_text, check_setting, setting

BATCH = 8  # suggestions of a search trained at once, if --batch does not say
_ADDED = ("optuna", "batch", "prune")  # settings that the first files of this format lack


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


def _points(settings: SweepSettings, config: Config) -> list[Point]:
    """Return the points; a single empty one where only seeds differ, for a search some of its ranges to check them."""
    if settings.optuna is not None:
        return spread_points(settings.ranges or (), min(settings.optuna, settings.batch or BATCH))
    if settings.random is not None:
        return random_points(settings.ranges or (), settings.random, config.seed)
    return grid_points(settings.grid or ())


def _check(sweep: Experiment) -> None:
    """Refuse settings with which members cannot be trained in turn.

    Raises:
        ConfigError: naming the flag.
    """
    config, workers = sweep.config, sweep.settings.workers
    if sweep.settings.optuna is not None and find_spec("optuna") is None:
        raise ConfigError(f"--optuna {sweep.settings.optuna}: {missing('optuna', 'optuna')}")
    if config.num_devices > 1:
        raise ConfigError(f"--num_devices {config.num_devices}: must be 1 in a sweep, which spreads its members")
    for member in sweep.members:
        if member.config.keep_resumable < 2:
            raise ConfigError("--keep_resumable 1: must be at least 2 in a sweep, whose members write in turn")
        if not member.config.checkpoint_replay:
            raise ConfigError("--checkpoint_replay false: must be true in a sweep")
    share_groups(group_members(sweep.members), workers or 1)


SWEEP = Kind("sweep", "sweep", 5, SweepSettings, _points, point_folders, numbered_folders, _check, added=_ADDED)
