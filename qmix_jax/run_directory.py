"""Where a run leaves its files: `results/run_<i>/`, numbered upwards, never shared by two runs.

configs/hparams.json    models/    training_log.csv    evaluation_log.csv    diagnostics_log.csv    timing.csv
training_plots.png    diagnostics_plots.png
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from qmix_jax.settings import ConfigError


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run."""

    path: Path

    @property
    def hparams(self) -> Path:
        """Every setting, and what it ran on."""
        return self.path / "configs" / "hparams.json"

    @property
    def models(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "models"

    @property
    def training_log(self) -> Path:
        """One row per finished episode."""
        return self.path / "training_log.csv"

    @property
    def evaluation_log(self) -> Path:
        """One row per greedy evaluation."""
        return self.path / "evaluation_log.csv"

    @property
    def diagnostics_log(self) -> Path:
        """One row per chunk: how the Q-learning itself fares."""
        return self.path / "diagnostics_log.csv"

    @property
    def timing(self) -> Path:
        """One row per chunk: the only file that knows clock time."""
        return self.path / "timing.csv"

    @property
    def logs(self) -> tuple[Path, ...]:
        """All CSV files."""
        return self.training_log, self.evaluation_log, self.diagnostics_log, self.timing

    @property
    def plots(self) -> Path:
        """Learning curves."""
        return self.path / "training_plots.png"

    @property
    def diagnostics_plots(self) -> Path:
        """The diagnostics' curves."""
        return self.path / "diagnostics_plots.png"


def check_results_dir(results_dir: str) -> None:
    """Refuse a folder that cannot be made or written to, without making it.

    Raises:
        ConfigError: naming the flag, the folder and what is wrong with it.
    """
    if not results_dir.strip() or "\0" in results_dir:
        raise ConfigError(f"--results_dir {results_dir!r}: must name a folder")
    try:
        # Path.exists() raises on names that are too long or that pass through a file's name where a folder should be.
        nearest = Path(results_dir).absolute()
        while not nearest.exists() and not nearest.is_symlink():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise ConfigError(f"--results_dir {results_dir}: must be a folder, but {nearest} is not one")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ConfigError(f"--results_dir {results_dir}: must be writable, but {nearest} is not")
    except OSError as error:
        raise ConfigError(f"--results_dir {results_dir}: {error.strerror}") from None


def create_run_directory(results_dir: str) -> RunDirectory:
    """Make the next `run_<i>`: one above the highest there, whatever else is made at the same time.

    Raises:
        ConfigError: naming the flag, the folder and why it cannot be made.
    """
    check_results_dir(results_dir)
    parent = Path(results_dir)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        run = RunDirectory(_claim_next(parent))
        run.hparams.parent.mkdir()
        run.models.mkdir()
    except OSError as error:
        raise ConfigError(f"--results_dir {results_dir}: cannot be written to: {error.strerror}") from None
    return run


def _claim_next(parent: Path) -> Path:
    while True:
        matches = [re.fullmatch(r"run_([0-9]+)", name) for name in os.listdir(parent)]
        path = parent / f"run_{1 + max((int(match[1]) for match in matches if match), default=0)}"
        try:
            path.mkdir()  # mkdir either makes it or fails: of two runs that want the same number, one looks again
        except FileExistsError:
            continue
        return path
