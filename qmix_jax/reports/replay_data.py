"""The replay page's data: a few episodes as compact JSON.

Small numbers are strings, a base-36 digit each; values are whole thousandths. In an episode of T steps there are T + 1
frames: before every step, and after the last one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from env_jax.gridworld.constants import ACTION_NAMES, GRID_SIZE
from env_jax.gridworld.oracle import NO_FOOD, best_routes
from env_jax.gridworld.viewer import COMMUNICATION_PAIRS
from env_jax.recording import Recording, cut
from qmix_jax.reports.assessment import LEARNED, Assessment, activations, record_episodes
from qmix_jax.reports.scores import EpisodeValues
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.training.evaluation import SCORE_DISCOUNT
from qmix_jax.training.inspection import Activations

_WORST = 0.8  # share of the shown episodes that are the worst ones
_DIGITS = np.array(list("0123456789abcdefghijklmnopqrstuvwxyz"))


def page_data(policy: TrainedPolicy, assessment: Assessment, most: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of the page.

    Args:
        policy: the policy.
        assessment: its episodes in GridWorld25.
        most: maximum number of episodes.
        about: the figures of `--json`, for the page's header.
    """
    values = assessment.values[LEARNED]
    chosen, typical = choose_episodes(values.best_returns - values.returns, _fingerprints(assessment), most)
    recording = record_episodes(assessment, chosen)
    inner = activations(policy, recording)
    starts = jax.tree.map(lambda x: x[0], recording.states)
    routes = jax.jit(jax.vmap(lambda state: best_routes(state, SCORE_DISCOUNT)))(starts)
    recording, inner, routes = jax.device_get((recording, inner, routes))
    episodes = []
    for row, number in enumerate(chosen):
        length = int(values.lengths[number])
        of_episode = cut(_row(recording, row), length)
        episodes.append(
            {
                **_summary(number, values),
                "typical": typical[row],
                "routes": [[food for food in route if food != NO_FOOD] for route in routes[row].tolist()],
                **_course(of_episode),
                **_values_of(_row(inner, row), length),
                "to_come": _thousandths(_returns_to_come(policy, np.asarray(of_episode.time_steps.rewards[1:]))),
            }
        )
    return {
        "about": dict(about),
        "size": GRID_SIZE,
        "actions": ACTION_NAMES,
        "pairs": COMMUNICATION_PAIRS,
        "gamma": policy.config.gamma,
        "episodes": episodes,
    }


def choose_episodes(regrets: np.ndarray, fingerprints: Sequence[bytes], most: int) -> tuple[list[int], list[bool]]:
    """Choose the episodes to show, the worst first. Also returns for each whether it stands for the typical ones.

    Args:
        regrets: float[K], best possible return minus return.
        fingerprints: K of them; of equal episodes only the first is considered.
        most: maximum number of episodes.
    """
    first: dict[bytes, int] = {}
    for number, fingerprint in enumerate(fingerprints):
        first.setdefault(fingerprint, number)
    different = np.array(list(first.values()))
    order = different[np.argsort(-regrets[different], kind="stable")].tolist()
    worst = order if len(order) <= most else order[: max(1, round(_WORST * most))]
    rest = order[len(worst) :]
    count = min(most - len(worst), len(rest))
    evenly = [rest[(2 * k + 1) * len(rest) // (2 * count)] for k in range(count)]
    return worst + evenly, [False] * len(worst) + [True] * len(evenly)


def _fingerprints(assessment: Assessment) -> list[bytes]:
    """Return bytes that are equal for episodes with equal starts and actions."""
    starts, actions = jax.device_get((assessment.starts, assessment.actions))
    lengths = assessment.values[LEARNED].lengths.astype(int)
    cells = np.concatenate([starts.agent_positions, starts.food_positions], axis=1)
    return [cells[k].tobytes() + actions[: lengths[k], k].tobytes() for k in range(len(lengths))]


def _row(tree: Any, row: int) -> Any:
    return jax.tree.map(lambda x: x[:, row], tree)


def _summary(number: int, values: EpisodeValues) -> dict[str, Any]:
    return {
        "number": number,
        "return": round(float(values.returns[number]), 6),
        "best": round(float(values.best_returns[number]), 6),
        "length": int(values.lengths[number]),
        "solved": bool(values.solved[number]),
    }


def _course(recording: Recording) -> dict[str, Any]:
    """Return positions, observations, actions and returns of an episode."""
    states, steps, actions = recording
    weights = SCORE_DISCOUNT ** np.arange(len(actions))
    so_far = np.concatenate([[0.0], np.cumsum(weights * steps.rewards[1:].sum(axis=1))])
    return {
        "agents": _digits(states.agent_positions),
        "foods": _digits(states.food_positions[0]),
        "present": _digits(states.food_present),
        "actions": _digits(actions),
        "seen": _digits(steps.observations),
        "so_far": _thousandths(so_far),
    }


def _values_of(inner: Activations, length: int) -> dict[str, Any]:
    return {
        name: None if values is None else _thousandths(np.asarray(values[:length]))
        for name, values in inner._asdict().items()
    }


def _returns_to_come(policy: TrainedPolicy, rewards: np.ndarray) -> np.ndarray:
    """Return the return-to-go at each step, which q_tot estimates, float[T], from rewards float[T, N]."""
    config = policy.config
    to_come, returns = 0.0, np.zeros(len(rewards))
    for step in reversed(range(len(rewards))):
        returns[step] = to_come = config.reward_scale * float(rewards[step].sum()) + config.gamma * to_come
    return returns


def _digits(numbers: Any) -> str:
    return "".join(_DIGITS[np.asarray(numbers).astype(int).reshape(-1)])


def _thousandths(values: np.ndarray) -> list[int | None]:
    """Return the values in thousandths, flat; None for NaN and infinities."""
    return [round(1000 * value) if np.isfinite(value) else None for value in values.reshape(-1).tolist()]
