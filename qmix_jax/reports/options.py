"""What `qmix-jax evaluate` can be told, in the order `--help` shows it."""

import os
from dataclasses import dataclass, fields

from qmix_jax.settings import ConfigError, check_setting, setting
from qmix_jax.storage.output_file import check_output_file

FILES = ("json", "gif", "html")  # options that name a file to write


@dataclass(frozen=True)
class Options:
    """What is evaluated, how, and what is written."""

    import_torch: str | None = setting(
        None, "instead of a run: q_networks that the PyTorch script saved, on raw observations", metavar="FILE"
    )
    checkpoint: str = setting("final", "final, best, or ep<N> for models/checkpoint_ep<N>")
    episodes: int = setting(
        1_000, "episodes; with random starts each from a start of its own", at_least=1, at_most=100_000
    )
    env_mode: str | None = setting(
        None,
        "starts: one layout restored at every reset, or a new one; as trained where not set",
        choices=("fixed", "random"),
    )
    layout_seed: int | None = setting(
        None, "NumPy seed of the fixed layout; as trained where not set", at_least=0, at_most=2**32 - 1
    )
    seed: int = setting(
        0,
        "of the starts, the random policies and the intervals; a run's own seed repeats its evaluations' starts",
        at_least=0,
        at_most=2**32 - 1,
    )
    json: str | None = setting(None, "write the figures, and every episode's, to this file", metavar="FILE")
    gif: str | None = setting(None, "write an episode to this file, as a moving picture", metavar="FILE")
    episode: int = setting(0, "which of the episodes --gif shows, from 0", at_least=0)
    html: str | None = setting(None, "write a page to this file that replays episodes, the worst first", metavar="FILE")
    replays: int = setting(50, "most episodes in that page", at_least=1, at_most=1_000)

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            ConfigError: naming the flag, its value and what would be accepted.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        if self.gif is not None and self.episode >= self.episodes:
            raise ConfigError(f"--episode {self.episode}: must be below --episodes, {self.episodes}")
        if self.import_torch is not None:
            self._check_import(self.import_torch)
        for name in FILES:
            check_output_file(name, getattr(self, name))

    def _check_import(self, path: str) -> None:
        if not path.strip() or "\0" in path or not os.path.isfile(path):
            raise ConfigError(f"--import_torch {path!r}: must be a file that exists")
        if self.checkpoint != Options.checkpoint:
            raise ConfigError(f"--checkpoint {self.checkpoint}: is for runs, and cannot be given with --import_torch")
        if self.html is not None:
            raise ConfigError(f"--html {self.html}: shows a run's networks, and cannot be given with --import_torch")
