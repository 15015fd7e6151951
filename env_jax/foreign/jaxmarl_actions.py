"""Names of the actions of JaxMARL's environments, for `EnvSpec.action_names`."""

from typing import Any

from jaxmarl.environments.mpe.simple import SimpleMPE
from jaxmarl.environments.mpe.simple_reference import SimpleReferenceMPE
from jaxmarl.environments.mpe.simple_speaker_listener import SimpleSpeakerListenerMPE
from jaxmarl.environments.overcooked import Overcooked
from jaxmarl.environments.overcooked.overcooked import OvercookedActions
from jaxmarl.environments.overcooked_v2 import OvercookedV2
from jaxmarl.environments.overcooked_v2.common import OvercookedActionsEnum
from jaxmarl.environments.smax.heuristic_enemy_smax_env import EnemySMAX

_MOVES = ("stay", "left", "right", "down", "up")


def action_names(environment: Any, num_actions: int) -> tuple[str, ...] | None:
    """Return the name of each action; None where they are not known."""
    names: tuple[str, ...] = ()
    if isinstance(environment, SimpleSpeakerListenerMPE):  # the speaker says one of the first three
        names = tuple(f"{move} / say {said}" if said < 3 else move for said, move in enumerate(_MOVES))
    elif isinstance(environment, SimpleReferenceMPE):
        names = tuple(f"{_MOVES[action % 5]}, say {action // 5}" for action in range(num_actions))
    elif isinstance(environment, SimpleMPE):
        names = _MOVES
    elif isinstance(environment, EnemySMAX):
        attacks = num_actions - 5
        names = ("up", "right", "down", "left", "stop", *(f"attack {enemy}" for enemy in range(attacks)))
    elif isinstance(environment, Overcooked):
        names = tuple(action.name for action in OvercookedActions)[:num_actions]  # the last one is not an action
    elif isinstance(environment, OvercookedV2):
        names = tuple(action.name for action in OvercookedActionsEnum)
    return names if len(names) == num_actions else None
