"""The replay page's data: a few episodes as JSON.

Values are whole thousandths. In an episode of T steps there are T + 1 frames: before every step, and after the last.
What a frame shows is added by `replay_grid` or `replay_frames`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from env_jax.recording import Recording, cut
from env_jax.types import Environment
from qmix_jax.analysis.stats import Estimate
from qmix_jax.config import Config
from qmix_jax.reports.assessment import LEARNED, Assessment, activations, record_episodes
from qmix_jax.reports.replay_frames import FramesBoard, action_names, can_draw
from qmix_jax.reports.replay_grid import GridBoard, is_gridworld
from qmix_jax.reports.scores import EpisodeValues, figure_cells
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.training.evaluation import SCORE_DISCOUNT
from qmix_jax.training.inspection import Activations

_WORST = 0.8  # share of the shown episodes that are the worst ones


def page_data(
    policy: TrainedPolicy,
    assessment: Assessment,
    most: int,
    about: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, Estimate]] | None = None,
) -> dict[str, Any]:
    """Return the data of the page.

    Args:
        policy: the policy.
        assessment: its episodes, in an environment that `can_show`.
        most: maximum number of episodes.
        about: what was evaluated, for the page's header.
        figures: aggregated results by policy, for a table.
    """
    values, environment = assessment.values[LEARNED], assessment.environment
    board = GridBoard(environment) if is_gridworld(environment) else FramesBoard(environment)
    most = max(1, min(most, board.most_frames // int(np.mean(values.lengths) + 1)))
    regrets = np.where(np.isnan(values.best_returns), 0.0, values.best_returns) - values.returns
    chosen, typical = choose_episodes(regrets, _fingerprints(assessment), most)
    recording = record_episodes(assessment, chosen)
    recording, inner = jax.device_get((recording, activations(policy, recording)))
    episodes = []
    for row, number in enumerate(chosen):
        length = int(values.lengths[number])
        of_episode = cut(_row(recording, row), length)
        episodes.append(
            {
                **_summary(number, values),
                "typical": typical[row],
                **_course(of_episode),
                **_values_of(_row(inner, row), length),
                "to_come": _returns_to_come(policy.config, np.asarray(of_episode.time_steps.rewards[1:])),
                **board.episode(of_episode),
            }
        )
    spec = environment.spec
    return {
        "about": dict(about),
        "table": figures and {"policies": list(figures), "figures": figure_cells(figures)},
        "agents": spec.num_agents,
        "actions": list(action_names(spec)),
        "gamma": policy.config.gamma,
        "board": board.data(),
        "episodes": episodes,
    }


def can_show(environment: Environment) -> bool:
    """Return whether the page can show this environment."""
    return is_gridworld(environment) or can_draw(environment)


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
    """Return bytes that are equal for episodes with equal starts, actions and returns."""
    first, actions = jax.device_get((assessment.first, assessment.actions))
    values = assessment.values[LEARNED]
    ends = values.lengths.astype(int)
    return [
        b"".join(
            part.tobytes() for part in (first.observations[k], first.state[k], actions[:end, k], values.returns[k])
        )
        for k, end in enumerate(ends)
    ]


def _row(tree: Any, row: int) -> Any:
    return jax.tree.map(lambda x: x[:, row], tree)


def _summary(number: int, values: EpisodeValues) -> dict[str, Any]:
    best = float(values.best_returns[number])
    return {
        "number": number,
        "return": round(float(values.returns[number]), 6),
        "best": round(best, 6) if np.isfinite(best) else None,
        "length": int(values.lengths[number]),
    }


def _course(recording: Recording) -> dict[str, Any]:
    """Return actions and returns of an episode."""
    rewards, actions = recording.time_steps.rewards[1:], recording.actions
    weights = SCORE_DISCOUNT ** np.arange(len(actions))
    so_far = np.concatenate([[0.0], np.cumsum(weights * rewards.sum(axis=1))])
    return {"actions": actions.astype(int).reshape(-1).tolist(), "so_far": _thousandths(so_far)}


def _values_of(inner: Activations, length: int) -> dict[str, Any]:
    return {
        name: None if values is None else _thousandths(np.asarray(values[:length]))
        for name, values in inner._asdict().items()
    }


def _returns_to_come(config: Config, rewards: np.ndarray) -> list[int | None] | None:
    """Return the return-to-go at each step, which q_tot estimates, from rewards float[T, N].

    None if rewards are standardised: q_tot is then in units of their statistics, which no policy's file holds.
    """
    if config.standardise_rewards:
        return None
    to_come, returns = 0.0, np.zeros(len(rewards))
    for step in reversed(range(len(rewards))):
        returns[step] = to_come = config.reward_scale * float(rewards[step].sum()) + config.gamma * to_come
    return _thousandths(returns)


def _thousandths(values: np.ndarray) -> list[int | None]:
    """Return the values in thousandths, flat; None for NaN and infinities."""
    return [round(1000 * value) if np.isfinite(value) else None for value in values.reshape(-1).tolist()]
