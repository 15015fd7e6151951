"""Options of `evaluate` and `report`, in the order of `--help`."""

import os
from dataclasses import dataclass

from qmix_jax.config import names_module
from qmix_jax.errors import ConfigError
from qmix_jax.interchange.options import check_options, checkpoint_setting, env_setting
from qmix_jax.settings import setting


@dataclass(frozen=True)
class EvaluateOptions:
    """What is evaluated, how, and which files are written."""

    import_torch: str | None = setting(
        None, "instead of a run: q_networks saved by the PyTorch script, on raw observations", metavar="FILE"
    )
    checkpoint: str = checkpoint_setting()
    env: str | None = env_setting()
    on: str | None = setting(
        None, "play on this environment, package.module:NAME, instead of the run's; it needs the same sizes"
    )
    episodes: int = setting(
        1_000, "episodes to play; random starts differ from episode to episode", at_least=1, at_most=100_000
    )
    env_mode: str | None = setting(
        None,
        "starts: one layout restored at every reset, or a new one; not set: as in training",
        choices=("fixed", "random"),
    )
    layout_seed: int | None = setting(
        None, "NumPy seed of the fixed layout; not set: as in training", at_least=0, at_most=2**32 - 1
    )
    seed: int = setting(
        0,
        "of starts, random policies and intervals; a run's own seed repeats the starts of its evaluations",
        at_least=0,
        at_most=2**32 - 1,
    )
    json: str | None = setting(None, "write the figures, and those of every episode, to this file", metavar="FILE")
    gif: str | None = setting(None, "write one episode to this file as an animation", metavar="FILE")
    episode: int = setting(0, "index of the episode that --gif shows, from 0", at_least=0)
    html: str | None = setting(None, "write a page to this file that replays episodes, the worst first", metavar="FILE")
    replays: int = setting(50, "most episodes on that page", at_least=1, at_most=1_000)

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            ConfigError: naming the flag, its value and what would be accepted.
        """
        check_options(self, "json", "gif", "html")
        if self.on is not None:
            self._check_on(self.on)
        if self.gif is not None and self.episode >= self.episodes:
            raise ConfigError(f"--episode {self.episode}: must be below --episodes, {self.episodes}")
        if self.import_torch is not None:
            self._check_import(self.import_torch)

    def _check_on(self, on: str) -> None:
        if not names_module(on):
            raise ConfigError(f"--on {on[:100]}: must be package.module:NAME, a class or function of yours")
        for flag in ("env_mode", "layout_seed"):
            if getattr(self, flag) is not None:
                raise ConfigError(f"--{flag} {getattr(self, flag)}: is for the grid, and cannot be given with --on")

    def _check_import(self, path: str) -> None:
        if not path.strip() or "\0" in path or not os.path.isfile(path):
            raise ConfigError(f"--import_torch {path!r}: must be a file that exists")
        if self.checkpoint != EvaluateOptions.checkpoint:
            raise ConfigError(f"--checkpoint {self.checkpoint}: is for runs, and cannot be given with --import_torch")
        if self.env is not None:
            raise ConfigError(f"--env {self.env}: is for runs, and cannot be given with --import_torch")
        if self.html is not None:
            raise ConfigError(f"--html {self.html}: shows a run's networks, and cannot be given with --import_torch")


@dataclass(frozen=True)
class ReportOptions:
    """What a run's page evaluates, and where a page is written. A sweep or comparison has its figures already."""

    checkpoint: str = checkpoint_setting()
    env: str | None = env_setting()
    episodes: int = setting(200, "episodes of the evaluation", at_least=1, at_most=100_000)
    seed: int = setting(0, "of the evaluation's starts and intervals", at_least=0, at_most=2**32 - 1)
    replays: int = setting(20, "most episodes to replay, the worst first", at_least=1, at_most=1_000)
    output: str | None = setting(None, "file to write; report.html in the folder by default", metavar="FILE")
    marl_eval: str | None = setting(
        None, "also write the evaluations of all runs to this file, as JSON for marl-eval", metavar="FILE"
    )

    def __post_init__(self) -> None:
        """Refuse invalid options, see `check_options`."""
        check_options(self, "output", "marl_eval")
