"""Specification of a comparison: its runs, their flags of `train.py`, and its folder.

results/compare_<i>/
  configs/compare.json        the specification
  <algorithm>/seed_<k>/       run directories
  evaluations.csv  summary.csv  comparison.md  curves.png
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.experiments.flags import flag_words, read_stored_flags
from qmix_jax.presets import make_config, with_preset
from qmix_jax.settings import check_setting, read_settings, setting
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import check_no_links, read_json, write_json
from qmix_jax.upgrades import RENAMED

_FORMAT = 4  # of compare.json
_ALGORITHMS = {declared.name: declared for declared in fields(Config)}["algorithm"].metadata["choices"]


@dataclass(frozen=True)
class ComparisonSettings:
    """Flags of a comparison; Config has those of each run."""

    algorithms: tuple[str, ...] = setting(
        ("qmix", "vdn", "iql", "madqn"), "algorithms to compare", choices=_ALGORITHMS, group="The comparison"
    )
    num_seeds: int = setting(5, "runs of each algorithm, with seeds 0, 1, ...", at_least=1, at_most=1_000)
    workers: int = setting(
        1, "runs at once, each on an equal share of the cores; 1: each run has the whole machine", at_least=1
    )

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            ConfigError: naming the flag.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        for name in self.algorithms:
            if self.algorithms.count(name) > 1:
                raise ConfigError(f"--algorithms {' '.join(self.algorithms)}: must name {name} only once")


class Member(NamedTuple):
    """One run of a comparison."""

    algorithm: str
    seed: int
    config: Config
    directory: RunDirectory

    @property
    def name(self) -> str:
        """Its folder, relative to the comparison's."""
        return f"{self.algorithm}/seed_{self.seed}"


class Comparison(NamedTuple):
    """A comparison's own settings, and its flags of `train.py` as text by name."""

    settings: ComparisonSettings
    flags: Mapping[str, Any]

    def configs(self) -> list[Config]:
        """Return the runs' configurations in the order of training: a seed of each algorithm, then the next seed.

        In this order an hour in which the machine is slow affects all algorithms alike.

        Raises:
            ConfigError: a flag is not accepted.
        """
        return [
            make_config({**self.flags, "algorithm": algorithm, "seed": str(seed)})
            for seed in range(self.settings.num_seeds)
            for algorithm in self.settings.algorithms
        ]

    def members(self, path: Path) -> list[Member]:
        """Return the runs in the folder `path`, in the order of training."""
        return [
            Member(
                config.algorithm,
                config.seed,
                config,
                RunDirectory(path / config.algorithm / f"seed_{config.seed}"),
            )
            for config in self.configs()
        ]

    def train_words(self, member: Member) -> list[str]:
        """Return the arguments with which `train.py` trains a run from the start."""
        given = {**self.flags, "algorithm": member.algorithm, "seed": str(member.seed)}
        return flag_words({**given, "run_directory": str(member.directory.path)})


def comparison_from_flags(arguments: Mapping[str, Any]) -> Comparison:
    """Return the comparison of these flags, given as text by name.

    Raises:
        ConfigError: a flag is not accepted.
    """
    for name, instead in (("algorithm", "algorithms"), ("seed", "num_seeds")):
        if name in arguments:
            raise ConfigError(f"--{name} {arguments[name]}: cannot be given here, see --{instead}")
    if "init_from" in arguments:
        raise ConfigError(
            f"--init_from {arguments['init_from']}: cannot be given here, algorithms differ in parameters"
        )
    own = {declared.name for declared in fields(ComparisonSettings)}
    settings = read_settings(ComparisonSettings, {name: arguments[name] for name in arguments if name in own})
    flags = {name: text for name, text in arguments.items() if name not in own}
    comparison = Comparison(ComparisonSettings(**settings), with_preset(flags))
    comparison.configs()
    return comparison


def comparison_file(path: Path) -> Path:
    """Return the path of a comparison's specification in its folder."""
    return path / "configs" / "compare.json"


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write compare.json, atomically."""
    settings = comparison.settings
    content = {
        "format": _FORMAT,
        "algorithms": settings.algorithms,
        "num_seeds": settings.num_seeds,
        "workers": settings.workers,
        "flags": comparison.flags,
    }
    written = comparison_file(path)
    written.parent.mkdir(exist_ok=True)
    write_json(written, content)


def read_comparison(path: Path) -> Comparison:
    """Read back a comparison that `write_comparison` wrote.

    Raises:
        ConfigError: the folder holds no comparison that can be resumed.
    """
    flag, written = f"--resume {path}", comparison_file(path)
    try:
        if not written.is_file():
            raise ConfigError(f"must be the folder of a comparison, with {written.relative_to(path)}")
        check_no_links(path)
        content = read_json(written)
        older = content.get("format") != _FORMAT
        flags = read_stored_flags(written, content, _FORMAT, without=("algorithm", "seed"))
        algorithms = content.get("algorithms")
        if isinstance(algorithms, list):
            content["algorithms"] = tuple(algorithms)
            for name in RENAMED["algorithm"].keys() & set(map(str, algorithms)) if older else ():
                raise ConfigError(f"{written}: {name} is another algorithm now; resume its runs one by one")
        if content.keys() != {declared.name for declared in fields(ComparisonSettings)}:
            raise ConfigError(f"{written}: must hold algorithms, num_seeds, workers and flags")
        comparison = Comparison(ComparisonSettings(**content), flags)
        comparison.configs()
    except (OSError, ConfigError, DamagedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{flag}: {reason}") from None
    return comparison
