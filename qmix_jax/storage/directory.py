"""Run directories: `results/run_<i>/`, numbered upwards and never shared by two runs, or a given folder.

configs/hparams.json    models/    training_log.csv    evaluation_log.csv    diagnostics_log.csv    timing.csv
training_plots.png    diagnostics_plots.png    optional: tensorboard/    configs/wandb_id.txt
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from qmix_jax.errors import ConfigError
from qmix_jax.storage.output_file import check_output_folder

_LEFTOVERS = ("lock", "hparams.writing")  # left by a run that was killed before it wrote its settings


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run."""

    path: Path

    @property
    def hparams(self) -> Path:
        """All settings, versions and the machine."""
        return self.path / "configs" / "hparams.json"

    @property
    def models(self) -> Path:
        """The checkpoints' folder."""
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
        """One row per chunk: diagnostics of the Q-learning."""
        return self.path / "diagnostics_log.csv"

    @property
    def timing(self) -> Path:
        """One row per chunk: the only file with wall-clock times."""
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
        """Curves of the diagnostics."""
        return self.path / "diagnostics_plots.png"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files, one per process that trained the run."""
        return self.path / "tensorboard"

    @property
    def wandb_id(self) -> Path:
        """The run's id in Weights & Biases."""
        return self.path / "configs" / "wandb_id.txt"


def existing_run(path: str) -> RunDirectory:
    """Return the run in this folder.

    Raises:
        ConfigError: it is not the folder of a run.
    """
    run = RunDirectory(Path(path))
    try:
        found = run.hparams.is_file()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if not found:
        raise ConfigError(f"{path}: must be the folder of a run, with {run.hparams.relative_to(run.path)}")
    return run


def runs_below(path: Path) -> list[RunDirectory]:
    """Return the runs of a sweep or a comparison that have begun, numbers within their names in ascending order."""

    def in_order(folder: Path) -> list[tuple[bool, int, str]]:
        parts = re.split("([0-9]+)", str(folder.relative_to(path)))
        return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]

    found = [file.parents[1] for depth in ("*", "*/*") for file in path.glob(f"{depth}/configs/hparams.json")]
    return [RunDirectory(folder) for folder in sorted(found, key=in_order)]


def check_run_directory(path: str) -> None:
    """Refuse a folder that no new run can be written into, without creating it.

    Raises:
        ConfigError: naming the flag, the folder and what is wrong with it, such as a file that it holds.
    """
    check_output_folder("run_directory", path)
    for held in sorted(Path(path).rglob("*")):
        if held.is_symlink() or not (held.is_dir() or held.name in _LEFTOVERS):
            raise ConfigError(f"--run_directory {path}: must be new or empty, but holds {held.relative_to(path)}")


def create_run_directory(results_dir: str) -> RunDirectory:
    """Create the next `run_<i>`, see `create_numbered`.

    Raises:
        ConfigError: naming the flag, the folder and why it cannot be created.
    """
    return make_run_directory(create_numbered(results_dir, "run"), f"--results_dir {results_dir}")


def make_run_directory(path: Path, flag: str) -> RunDirectory:
    """Create the folders of a run at `path`, which the user chose with `flag`.

    Raises:
        ConfigError: naming the flag and why they cannot be created.
    """
    run = RunDirectory(path)
    with _refusing(flag):
        run.hparams.parent.mkdir(parents=True, exist_ok=True)
        run.models.mkdir(exist_ok=True)
    return run


def create_numbered(results_dir: str, kind: str) -> Path:
    """Create the next `<kind>_<i>`, one above the highest; safe against concurrent processes.

    Raises:
        ConfigError: naming the flag, the folder and why it cannot be created.
    """
    check_output_folder("results_dir", results_dir)
    parent = Path(results_dir)
    with _refusing(f"--results_dir {results_dir}"):
        parent.mkdir(parents=True, exist_ok=True)
        return _claim_next(parent, kind)


def missing_folders(path: Path) -> list[Path]:
    """List those of `path` and its parents that do not exist yet, innermost first."""
    return list(takewhile(lambda folder: not os.path.exists(folder), (path, *path.parents)))


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the folders that are empty, such as those of a refused new run."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def remove_refused(path: Path, runs: Iterable[RunDirectory], parents: Iterable[Path]) -> None:
    """Remove a refused new folder of several runs, if none of them has started, and its empty `parents`."""
    if not any(run.hparams.exists() for run in runs):
        shutil.rmtree(path)
        remove_empty(parents)


@contextmanager
def _refusing(flag: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{flag}: cannot be written to: {error.strerror}") from None


def _claim_next(parent: Path, kind: str) -> Path:
    while True:
        matches = [re.fullmatch(rf"{kind}_([0-9]+)", name) for name in os.listdir(parent)]
        path = parent / f"{kind}_{1 + max((int(match[1]) for match in matches if match), default=0)}"
        try:
            path.mkdir()  # mkdir is atomic: of two runs that want the same number, one looks again
        except FileExistsError:
            continue
        return path
