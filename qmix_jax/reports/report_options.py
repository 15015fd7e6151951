"""What `qmix-jax report` can be told, in the order `--help` shows it."""

from dataclasses import dataclass, fields

from qmix_jax.settings import check_setting, setting
from qmix_jax.storage.output_file import check_output_file


@dataclass(frozen=True)
class ReportOptions:
    """What is evaluated for the page (a run's; sweeps and comparisons have their figures), and where it is written."""

    checkpoint: str = setting("final", "final, best, or ep<N> for models/checkpoint_ep<N>")
    episodes: int = setting(200, "episodes of the evaluation", at_least=1, at_most=100_000)
    seed: int = setting(0, "of the evaluation's starts and its intervals", at_least=0, at_most=2**32 - 1)
    replays: int = setting(20, "most episodes to replay, the worst first", at_least=1, at_most=1_000)
    output: str | None = setting(None, "what to write; report.html in the folder by default", metavar="FILE")

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            ConfigError: naming the flag, its value and what would be accepted.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        check_output_file("output", self.output)
