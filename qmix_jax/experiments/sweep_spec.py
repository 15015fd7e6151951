"""Specification of a sweep: the settings and seeds it tries, and its folder.

results/sweep_<i>/
  configs/sweep.json                       the specification
  seed_<k>/  or  <name>=<value>/seed_<k>/  run directories
  evaluations.csv  summary.csv  sweep.md  curves.png  settings.png

Imports at the top stay light, see `train`.
"""

from dataclasses import dataclass, fields

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.experiment import Experiment, Kind
from qmix_jax.experiments.plan import group_members, numbered_folders, point_folders, share_groups
from qmix_jax.experiments.points import Point, grid_points, random_points
from qmix_jax.settings import check_setting, setting


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
        None, "ranges for --random: lr=1e-4:1e-2:log gamma=0.9:0.99", metavar="NAME=LOW:HIGH[:log]"
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
        if (self.random is None) != (self.ranges is None):
            given, missing = ("random", "ranges") if self.ranges is None else ("ranges", "random")
            raise ConfigError(f"--{given}: must come with --{missing}")


def _points(settings: SweepSettings, config: Config) -> list[Point]:
    """Return the points; a single empty one where only seeds differ."""
    if settings.random is not None:
        return random_points(settings.ranges or (), settings.random, config.seed)
    return grid_points(settings.grid or ())


def _check(sweep: Experiment) -> None:
    """Refuse settings with which members cannot be trained in turn.

    Raises:
        ConfigError: naming the flag.
    """
    config, workers = sweep.config, sweep.settings.workers
    if config.num_devices > 1:
        raise ConfigError(f"--num_devices {config.num_devices}: must be 1 in a sweep, which spreads its members")
    for member in sweep.members:
        if member.config.keep_resumable < 2:
            raise ConfigError("--keep_resumable 1: must be at least 2 in a sweep, whose members write in turn")
        if not member.config.checkpoint_replay:
            raise ConfigError("--checkpoint_replay false: must be true in a sweep")
    share_groups(group_members(sweep.members), workers or 1)


SWEEP = Kind("sweep", "sweep", 5, SweepSettings, _points, point_folders, numbered_folders, _check)
