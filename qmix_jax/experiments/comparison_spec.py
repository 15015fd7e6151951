"""Specification of a comparison: its runs, their flags of `train.py`, and its folder.

results/compare_<i>/
  configs/compare.json        the specification
  <algorithm>/seed_<k>/       run directories
  evaluations.csv  summary.csv  comparison.md  curves.png
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.experiment import SEEDS, ExperimentSettings, Kind
from qmix_jax.experiments.points import Point
from qmix_jax.settings import setting

_ALGORITHMS = {declared.name: declared for declared in fields(Config)}["algorithm"].metadata["choices"]


@dataclass(frozen=True)
class ComparisonSettings(ExperimentSettings):
    """Flags of a comparison; Config has those of each run."""

    num_seeds: int = setting(
        5, "runs of each algorithm, with seeds --seed, --seed + 1, ...", at_least=1, at_most=10_000, group=SEEDS
    )
    algorithms: tuple[str, ...] = setting(
        ("qmix", "vdn", "iql", "madqn"), "algorithms to compare", choices=_ALGORITHMS, group="The comparison"
    )

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            ConfigError: naming the flag.
        """
        super().__post_init__()
        for name in self.algorithms:
            if self.algorithms.count(name) > 1:
                raise ConfigError(f"--algorithms {' '.join(self.algorithms)}: must name {name} only once")


def _points(settings: ComparisonSettings, seed: int) -> list[Point]:
    return [{"algorithm": algorithm} for algorithm in settings.algorithms]


def _folders(points: Sequence[Point]) -> list[str]:
    return [point["algorithm"] for point in points]


COMPARISON = Kind(
    "comparison",
    "compare",
    "algorithm",
    4,
    ComparisonSettings,
    _points,
    _folders,
    _folders,
    lambda comparison: None,
    ("memory_limit",),
    MappingProxyType({"algorithm": "see --algorithms", "init_from": "algorithms differ in parameters"}),
)
