"""What limits a policy on random starts, and how it plays others: `python benchmarks/limits/study.py RUN FULL_SIGHT`.

FULL_SIGHT is a finished run whose agents see everything, RUN one whose agents see what the grid shows them, both
trained in this folder by

    qmix-jax train --preset pqn --env_mode fixed --env sight:Sight

RUN with `--env_args all_agents=false all_foods=false`. More runs may follow; greedy-nearest plays too if one of them is
of the grid itself (`--env_mode random`). All play random starts and those of `docs/examples/layouts.py`, and their
returns are compared, start by start, with the best play that respects the rules (`planner.py`), whose actions are
played in the environment. Prints Markdown tables; `--json PATH` also writes the figures.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2] / "docs" / "examples"))

import jax
import jax.numpy as jnp
import layouts
import numpy as np
from limits.planner import Play, actions_of, best_play
from limits.sight import Sight
from measuring import finish, make_parser, table

from env_jax import GridWorld25
from env_jax.arguments import parameters_of, read_arguments
from env_jax.last_action import LastAction
from env_jax.recording import record
from env_jax.types import Environment
from qmix_jax import load_policy
from qmix_jax.analysis.stats import Estimate, with_interval
from qmix_jax.config import Config
from qmix_jax.reports.assessment import BASELINE, LEARNED, Assessment, assess
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import read_json
from qmix_jax.storage.hparams import read_config
from qmix_jax.training.evaluation import SCORE_DISCOUNT

_SEED = 1  # of the starts: not those of the runs' own evaluations, whose seed is 0
_STARTS = {
    "random": partial(GridWorld25, "random"),
    "foods in a 5 x 5 square": layouts.Clustered,
    "a food in every corner": layouts.Corners,
    "agents in one corner": layouts.OneCorner,
    "64 recorded layouts": layouts.Recorded,
}
_PLANNED, _BASELINE = "best play within the rules", "greedy-nearest"
_SEES = {"FullSight": "all", "SightOfAgents": "all agents", "SightOfFoods": "all foods", "OwnSight": "its own part"}


class Scores(NamedTuple):
    """Results from K starts, float64[K] each by policy."""

    bounds: np.ndarray  # best returns, collisions ignored
    returns: dict[str, np.ndarray]
    solved: dict[str, np.ndarray]

    @property
    def num_exact(self) -> int:
        """Starts from which the planner's play is as good as if collisions were ignored."""
        return int(np.sum(self.bounds - self.returns[_PLANNED] < 1e-9))


def load(folder: Path) -> tuple[str, TrainedPolicy]:
    """Return a run's policy and its name in the tables: what its agents see, and its environment steps."""
    config, derived = read_config(RunDirectory(folder).hparams), read_json(RunDirectory(folder).hparams)["derived"]
    own, sees = None, "the grid as it is"
    if config.env != Config.env:
        own = Sight(**read_arguments(config.env_arguments, parameters_of(Sight)))
        sees = _SEES[own.spec.name] + (" with a memory of the foods" if own.remembered else "")
    policy = load_policy(folder, environment=own)
    return f"sees {sees}, {derived['env_steps'] / 1e6:.1f} million steps", policy


def play_all(starts: GridWorld25, policies: Mapping[str, TrainedPolicy], episodes: int) -> Scores:
    """Play every policy, and the planner, from the same starts."""
    played = {name: assess(policy, _seen_by(policy, starts), _SEED, episodes) for name, policy in policies.items()}
    one = next(iter(played.values()))
    kept = _different(one)
    first = jax.tree.map(lambda x: np.asarray(x)[kept], one.starts)
    plays = [
        best_play(agents, foods, SCORE_DISCOUNT)
        for agents, foods in zip(first.agent_positions, first.food_positions, strict=True)
    ]
    values, solved = {_PLANNED: check_plays(starts, first, plays)}, {_PLANNED: np.ones(len(plays))}
    columns = {name: each.values[LEARNED] for name, each in played.items()}
    for each in played.values():
        if BASELINE in each.values:
            columns[_BASELINE] = each.values[BASELINE]
    for name, column in columns.items():
        values[name], solved[name] = column.returns[kept].astype(np.float64), column.solved[kept].astype(np.float64)
    bounds = np.array([play.bound for play in plays])
    np.testing.assert_allclose(bounds, one.values[LEARNED].best_returns[kept], rtol=1e-5)
    return Scores(bounds, values, solved)


def check_plays(environment: GridWorld25, starts: Any, plays: list[Play]) -> np.ndarray:
    """Play the planner's actions in the environment and return their returns, float64[K], which must be as planned."""
    actions = [actions_of(play.paths) for play in plays]
    longest = max(map(len, actions))
    padded = np.stack([np.pad(of_play, ((0, longest - len(of_play)), (0, 0))) for of_play in actions])
    _, first = jax.vmap(lambda state: environment.start_at(state.agent_positions, state.food_positions))(starts)
    steps = jax.jit(jax.vmap(partial(record, environment)))(starts, first, jnp.asarray(padded)).time_steps
    assert np.asarray(steps.terminated).any(axis=1).all()
    rewards = np.asarray(steps.rewards, np.float64)[:, 1:].sum(axis=-1)
    returns = rewards @ SCORE_DISCOUNT ** np.arange(longest)
    np.testing.assert_allclose(returns, [play.value for play in plays], rtol=1e-12)
    return returns


def share(values: np.ndarray, scores: Scores) -> Estimate:
    """Return a sum over starts, as a share of the best returns, with its interval over starts."""
    samples = (values, scores.bounds)
    found = with_interval(_ratio, samples, paired=True, quantiles="linear")
    return Estimate(*map(float, found))


def _seen_by(policy: TrainedPolicy, starts: GridWorld25) -> Environment:
    own = policy.environment
    inner = own.environment if isinstance(own, LastAction) else own
    environment = replace(inner, inner=starts) if isinstance(inner, Sight) else starts
    return LastAction(environment) if isinstance(own, LastAction) else environment


def _different(assessment: Assessment) -> np.ndarray:
    """Return the first episode of every start, ascending."""
    state = assessment.starts
    cells = np.concatenate([state.agent_positions, state.food_positions], axis=1).reshape(len(state.step_count), -1)
    return np.sort(np.unique(cells, axis=0, return_index=True)[1])


def _ratio(values: np.ndarray, best: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(values, axis=axis) / np.mean(best, axis=axis)


def _shown(figure: Estimate) -> str:
    if figure.low == figure.high:
        return f"{figure.value:.4f}"
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def limit_rows(scores: Scores, own: str, full: str) -> list[tuple[str, Estimate]]:
    """Return the parts of 1 - optimality of the policy `own`, which add up to it; `full` sees everything."""
    returns = scores.returns
    return [
        ("blocking and the order of moves", share(scores.bounds - returns[_PLANNED], scores)),
        ("not learned with full sight either", share(returns[_PLANNED] - returns[full], scores)),
        ("lost with partial sight", share(returns[full] - returns[own], scores)),
        ("all", share(scores.bounds - returns[own], scores)),
    ]


def start_rows(all_scores: Mapping[str, Scores]) -> list[list[str]]:
    """Return a row for each kind of start and policy: optimality, success rate, lowest optimality."""
    rows = []
    for kind, scores in all_scores.items():
        for name, returns in scores.returns.items():
            lowest = np.min(returns / scores.bounds)
            rate = f"{np.mean(scores.solved[name]):.1%}"
            rows.append([kind, str(len(returns)), name, _shown(share(returns, scores)), rate, f"{lowest:.2f}"])
    return rows


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="+", help="a run with the grid's own sight, one with full sight, any others"
    )
    parser.add_argument("--episodes", type=int, default=4_000, help="starts of each kind")
    arguments = parser.parse_args()
    if len(arguments.runs) < 2:
        parser.error("two runs must be given: one with the grid's sight, and one with full sight")
    policies = dict(map(load, arguments.runs))
    own, full, *_ = policies
    episodes = 40 if arguments.quick else arguments.episodes
    scores = {kind: play_all(make(), policies, episodes) for kind, make in _STARTS.items()}
    parts, rows = limit_rows(scores["random"], own, full), start_rows(scores)
    exact = {kind: f"{one.num_exact} of {len(one.bounds)}" for kind, one in scores.items()}
    text = "\n\n".join(
        [
            table(
                ["of 1 - optimality on random starts", "share of the best return"], [(n, _shown(e)) for n, e in parts]
            ),
            table(["starts", "number", "policy", "optimality", "success rate", "lowest optimality"], rows),
            f"The planner's play is as good as if collisions were ignored from: {exact}",
        ]
    )
    finish(arguments, {"parts": dict(parts), "rows": rows, "exact": exact}, text)


if __name__ == "__main__":
    main()
