"""The model of a run that `--checkpoint` names."""

import re

from env_jax.types import Environment
from qmix_jax.errors import RunError
from qmix_jax.runs.policy import TrainedPolicy, load_policy
from qmix_jax.settings import ConfigError, DamagedError
from qmix_jax.storage.checkpoint import BEST, FINAL, checkpoint_name, checkpoints
from qmix_jax.storage.directory import RunDirectory

_NAMED = {"final": FINAL, "best": BEST}


def model_name(checkpoint: str) -> str | None:
    """The folder in models/ that 'final', 'best' or 'ep<N>' stands for; None for anything else."""
    if re.fullmatch(r"ep[0-9]{1,18}", checkpoint):
        return checkpoint_name(int(checkpoint[2:]))
    return _NAMED.get(checkpoint)


def load_chosen(run: RunDirectory, checkpoint: str, environment: Environment | None = None) -> TrainedPolicy:
    """The policy of the model that `--checkpoint` names; `environment` as for `load_policy`.

    Raises:
        ConfigError: there is none of that name; the message lists those there are.
        RunError: it is damaged.
    """
    name = model_name(checkpoint)
    try:
        if name is None:
            raise FileNotFoundError
        return load_policy(run.path, name, environment)
    except FileNotFoundError:
        raise ConfigError(f"--checkpoint {checkpoint}: must be one of {_listed(run)}") from None
    except DamagedError as error:
        raise RunError(str(error)) from None


def _listed(run: RunDirectory) -> str:
    """The run's models, as --checkpoint names them."""
    try:
        episodes = [path.name.rpartition("_")[2] for path in reversed(checkpoints(run.models))]
        named = [name for name, folder in _NAMED.items() if (run.models / folder).is_dir()]
    except OSError:
        named, episodes = [], []
    return ", ".join([*named, *episodes]) or f"those in {run.models}, but there are none"
