"""What users may not expect of several runs, printed before they are trained."""

from collections.abc import Sequence

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.experiments.outcomes import Run
from qmix_jax.storage.environment_record import check_environment
from qmix_jax.storage.hparams import run_notices
from qmix_jax.training.environments import make_environment


def notice_lines(runs: Sequence[Run]) -> list[str]:
    """Return the notices of runs that have not ended, each once, and how their environments have changed since.

    Raises:
        ConfigError: a run cannot continue in its environment.
    """
    lines: dict[str, None] = {}
    for run in runs:
        if not has_ended(run.directory):
            environment = make_environment(run.config)
            if run.directory.hparams.is_file():
                lines |= dict.fromkeys(check_environment(run.directory.hparams, environment, resumes=True))
            lines |= dict.fromkeys(run_notices(run.config, environment))
    return [f"notice: {line}" for line in lines]
