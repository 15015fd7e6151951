"""What hparams.json holds of the environment a run was trained on, and whether another one may take its place."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from env_jax.gridworld import GridWorld25
from env_jax.last_action import LastAction
from env_jax.program import Program, program_of
from env_jax.types import Environment
from qmix_jax.errors import ConfigError
from qmix_jax.storage.files import read_json

_NETWORKS = ("num_agents", "num_actions", "observation_size", "state_size", "observation_features", "state_features")
_FINGERPRINT = "environment_fingerprint"


def traced_program(environment: Environment) -> Program | None:
    """Return the environment's program; None for GridWorld25, which is known by the version of this package."""
    inner = environment.environment if isinstance(environment, LastAction) else environment
    return None if type(inner) is GridWorld25 else program_of(environment)


def describe_environment(environment: Environment) -> dict[str, Any]:
    """Return the sizes of an environment, the arrays of its state, and the fingerprint of what it computes."""
    spec, program = environment.spec, traced_program(environment)
    names = ("num_agents", "num_actions", "observation_size", "state_size", "max_steps")
    sizes: dict[str, Any] = {name: int(getattr(spec, name)) for name in names}
    sizes["observation_dtype"] = str(np.dtype(spec.observation_dtype))
    if program is None:
        return {"environment": spec.name, "environment_spec": sizes}
    features = {name: getattr(program, name) for name in ("observation_features", "state_features")}
    return {
        "environment": spec.name,
        "environment_spec": {**sizes, **features},
        "environment_state": program.state,
        _FINGERPRINT: program.fingerprint,
    }


def check_environment(path: Path, environment: Environment, resumes: bool = False) -> list[str]:
    """Compare an environment with the one that a run's hparams.json describes.

    It is refused only if it cannot do: the sizes of the networks must be the same, and to resume a run also the time
    limit, which its budget counts in, and the arrays that its checkpoints hold. Other rewards or dynamics can be
    learned from where the run stands, and may be meant.

    Args:
        path: hparams.json; what an older one does not contain is not compared.
        environment: the environment.
        resumes: whether the run is to be trained further.

    Returns:
        A line that says what else has changed, if anything has.

    Raises:
        ConfigError: it is refused, naming the first difference.
    """
    hparams = read_json(path)
    derived, versions = (hparams.get(section) for section in ("derived", "versions"))
    if not isinstance(derived, dict):
        return []
    found, name = describe_environment(environment), environment.spec.name
    differing = _differing(found, derived, "environment_spec", only_known=True)
    if resumes:
        differing |= _differing(found, derived, "environment_state", only_known=False)
    for field, (value, wanted) in differing.items():
        if resumes or field in _NETWORKS:
            raise ConfigError(f"environment {name}: {field} is {value}, must be {wanted}, as the run was trained")
    changes = [f"{field} is {value}, not {wanted}" for field, (value, wanted) in differing.items()]
    fingerprints = [record.get(_FINGERPRINT) for record in (found, derived)]
    # Another version of JAX lowers to another text.
    is_same_jax = isinstance(versions, dict) and versions.get("jax") == metadata.version("jax")
    if is_same_jax and None not in fingerprints and fingerprints[0] != fingerprints[1]:
        changes.append("its functions compute something else")
    return [f"environment {name} has changed since the run was trained: {'; '.join(changes)}"] if changes else []


def _differing(
    found: dict[str, Any], derived: dict[str, Any], section: str, only_known: bool
) -> dict[str, tuple[str, str]]:
    """Return what differs from the record, by name: how it is, and how it was.

    `only_known` leaves out what the record does not have; a record without the section differs in nothing.
    """
    now, before = found.get(section), derived.get(section)
    if not isinstance(now, dict) or not isinstance(before, dict):
        return {}
    names = [name for name in {**now, **before} if name in before or not only_known]
    pairs = {name: (str(now.get(name, "absent")), str(before.get(name, "absent"))[:100]) for name in names}
    return {
        name if only_known else f"state.{name}".rstrip("."): pair for name, pair in pairs.items() if pair[0] != pair[1]
    }
