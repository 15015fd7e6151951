"""Specification of a sweep: the settings and seeds it tries, and its folder.

results/sweep_<i>/
  configs/sweep.json                       the specification
  seed_<k>/  or  <name>=<value>/seed_<k>/  run directories
  evaluations.csv  summary.csv  sweep.md  curves.png  settings.png  tasks.png
  optuna.log  search.png                   of a search

Imports at the top stay light, see `train`.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from qmix_jax.errors import ConfigError, missing
from qmix_jax.experiments.experiment import Experiment, ExperimentSettings, Kind
from qmix_jax.experiments.plan import numbered_folders, point_folders
from qmix_jax.experiments.points import Point, grid_points, random_points, spread_points
from qmix_jax.settings import as_text, setting

BATCH = 8  # suggestions of a search trained at once, if --batch does not say
_ADDED = ("optuna", "batch", "prune")  # settings that the first files of this format lack


@dataclass(frozen=True)
class SweepSettings(ExperimentSettings):
    """Flags of a sweep; Config has those of each run."""

    grid: tuple[str, ...] | None = setting(
        None,
        "every combination: lr=1e-3,5e-4 gamma=0.95,0.97 hidden_sizes=64x64,128x128 env_args.scenario=3m,2s3z",
        metavar="NAME=VALUE,VALUE",
        group="The sweep",
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

    def __post_init__(self) -> None:
        """Refuse invalid combinations.

        Raises:
            ConfigError: naming the flag.
        """
        super().__post_init__()
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


def _points(settings: SweepSettings, seed: int) -> list[Point]:
    """Return the points; a single empty one where only seeds differ, for a search some of its ranges to check them."""
    if settings.optuna is not None:
        return spread_points(settings.ranges or (), min(settings.optuna, settings.batch or BATCH))
    if settings.random is not None:
        return random_points(settings.ranges or (), settings.random, seed)
    return grid_points(settings.grid or ())


def _check(sweep: Experiment) -> None:
    """Refuse a search that cannot be made.

    Raises:
        ConfigError: naming the flag.
    """
    if sweep.settings.optuna is None:
        return
    flag = f"--optuna {sweep.settings.optuna}"
    if find_spec("optuna") is None:
        raise ConfigError(f"{flag}: {missing('optuna', 'optuna')}")
    if sweep.some_alone:
        raise ConfigError(
            f"{flag}: must come with --num_devices 1, --keep_resumable 2 or more and --checkpoint_replay true, since "
            "runs share programs and go on from checkpoints"
        )


SWEEP = Kind("sweep", "sweep", "settings", 5, SweepSettings, _points, point_folders, numbered_folders, _check, _ADDED)
