"""Initial parameters from another run: `--init_from`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.collectives import place
from qmix_jax.runs.policy import check_params
from qmix_jax.storage.checkpoint import FINAL, load_params
from qmix_jax.types import Params, TrainState


def initial_params(config: Config, spec: EnvSpec) -> Params | None:
    """Load the parameters that a new run starts from; None without `--init_from`.

    The other run may have been trained on another task, as long as its networks have the same shapes.

    Raises:
        ConfigError: there are none, they are damaged, or do not fit this run's networks.
    """
    if config.init_from is None:
        return None
    folder = Path(config.init_from)
    run, model = (folder.parents[1], folder.name) if folder.parent.name == "models" else (folder, FINAL)
    flag = f"--init_from {folder}"
    try:
        return check_params(
            load_params(run, model), make_learner(config, spec), f"as this run's networks on {spec.name}"
        )
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{flag}: must be the folder of a run with models/{FINAL}, or one of its models") from None
    except OSError as error:
        raise ConfigError(f"{flag}: {error.strerror}") from None
    except DamagedError as error:
        raise ConfigError(f"{flag}: {error}") from None


def start_from(params: Params | None, state: TrainState, shardings: Any) -> TrainState:
    """Replace the parameters of a new run, or of all members of a population, and their target copies if any."""
    if params is None:
        return state
    learner = state.learner

    full = jax.tree.map(lambda new, old: jnp.broadcast_to(new, old.shape), params, learner.params)
    placed = place(full, shardings.learner.params)
    # Copies: no buffer can be donated twice.
    target_params = None if learner.target_params is None else jax.tree.map(jnp.copy, placed)
    return replace(state, learner=replace(learner, params=placed, target_params=target_params))
