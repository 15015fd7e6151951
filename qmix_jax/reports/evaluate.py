"""Implementation of `evaluate`: plays episodes, prints a table, and writes JSON, a GIF and a replay page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from env_jax.gridworld.viewer import save_gif
from env_jax.recording import cut
from env_jax.types import Environment
from qmix_jax.analysis.stats import Estimate
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.interchange.torch_import import import_policy
from qmix_jax.reports.assessment import LEARNED, Assessment, activations, assess, record_episodes
from qmix_jax.reports.options import EvaluateOptions
from qmix_jax.reports.replay_data import can_show, page_data
from qmix_jax.reports.replay_gif import save_frames_gif
from qmix_jax.reports.replay_grid import is_gridworld
from qmix_jax.reports.replay_page import write_page
from qmix_jax.reports.scores import json_episodes, json_figures, score_episodes, score_table
from qmix_jax.runs.policy import TrainedPolicy, load_chosen
from qmix_jax.runs.user_module import import_environment
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.output_file import writing
from qmix_jax.training.environments import choose_environment, same_environment
from qmix_jax.training.evaluation import SCORE_DISCOUNT


class Played(NamedTuple):
    """Episodes of a policy and of baselines, and their aggregated results."""

    policy: TrainedPolicy
    assessment: Assessment
    figures: dict[str, dict[str, Estimate]]  # by policy, LEARNED first, then by the figure's name in JSON
    document: dict[str, Any]  # what was evaluated and all figures, for JSON


def evaluate_run(run: RunDirectory | None, options: EvaluateOptions) -> None:
    """Print the table, and write the files that `options` name.

    Args:
        run: the run of the model; None for `options.import_torch`.
        options: the options of the command.

    Raises:
        ConfigError: the run, its model or an option is invalid.
        RunError: the model is damaged, or a file could not be written.
    """
    played = play(run, options)
    print(heading(played.document))
    print(score_table(played.figures))
    if options.json is not None:
        episodes = json_episodes(played.assessment.values[LEARNED])
        with writing(options.json) as path:
            path.write_text(json.dumps({**played.document, "per_episode": episodes}, indent=1, allow_nan=False) + "\n")
    if options.gif is not None:
        with writing(options.gif) as path:
            save_episode_gif(path, played.policy, played.assessment, options.episode)
    if options.html is not None:
        data = page_data(played.policy, played.assessment, options.replays, played.document, played.figures)
        with writing(options.html) as path:
            write_page(path, data)


def play(run: RunDirectory | None, options: EvaluateOptions, given: Environment | None = None) -> Played:
    """Play the episodes of `evaluate_run`, with its arguments and errors; `given` is `load_policy`'s `environment`."""
    if run is None:
        policy = import_policy(str(options.import_torch))
    else:
        policy = load_chosen(run, options.checkpoint, given, options.env)
    changes: dict[str, Any] = {"env_mode": options.env_mode, "layout_seed": options.layout_seed}
    config = replace(policy.config, **{name: value for name, value in changes.items() if value is not None})
    if options.layout_seed is not None and config.env_mode != "fixed":
        raise ConfigError(f"--layout_seed {options.layout_seed}: is for fixed starts, see --env_mode")
    environment = same_environment(config, given) if options.on is None else other_environment(policy, options.on)
    for flag in ("gif", "html"):
        if getattr(options, flag) is not None and not can_show(environment):
            lacking = f"must show an environment that draws its states; {environment.spec.name} has no EnvSpec.render"
            raise ConfigError(f"--{flag} {getattr(options, flag)}: {lacking}")

    assessment = assess(policy, environment, options.seed, options.episodes)
    figures = {name: score_episodes(values, options.seed) for name, values in assessment.values.items()}
    best = float(np.mean(assessment.values[LEARNED].best_returns))
    document = {
        **_describe(run, config, environment, options),
        "best_return": best if np.isfinite(best) else None,
        **json_figures(figures[LEARNED]),
        "baselines": {name: json_figures(others) for name, others in figures.items() if name != LEARNED},
    }
    return Played(policy, assessment, figures, document)


def other_environment(policy: TrainedPolicy, on: str) -> Environment:
    """Return the environment that --on names, observed as `policy` was trained.

    Raises:
        ConfigError: it cannot be made, or has other sizes than the policy's own.
    """
    own = replace(policy.config, env_mode=Config.env_mode, layout_seed=Config.layout_seed, shaped_reward_steps=None)
    try:
        import_environment(on)
        environment = choose_environment(replace(own, env=on, env_args=None), None)
    except ConfigError as error:  # names --env, which is not the flag that was given
        raise ConfigError(str(error).replace("--env ", "--on ", 1)) from error.__cause__
    for size in ("num_agents", "num_actions", "observation_size", "state_size"):
        found, wanted = getattr(environment.spec, size), getattr(policy.environment.spec, size)
        if found != wanted:
            raise ConfigError(f"--on {on}: its {size} is {found}, must be {wanted}, as the policy was trained")
    return environment


def _describe(
    run: RunDirectory | None, config: Config, environment: Environment, options: EvaluateOptions
) -> dict[str, Any]:
    """What was evaluated, for JSON."""
    source = {"run": options.import_torch, "checkpoint": "q_networks", "algorithm": "pytorch"}
    if run is not None:
        source = {"run": str(run.path), "checkpoint": options.checkpoint, "algorithm": config.algorithm}
    has_mode = is_gridworld(environment) and options.on is None
    return {
        **source,
        "environment": options.on or environment.spec.name,
        "env_mode": config.env_mode if has_mode else None,
        "layout_seed": config.layout_seed if has_mode and config.env_mode == "fixed" else None,
        "episodes": options.episodes,
        "seed": options.seed,
        "discount": SCORE_DISCOUNT,
    }


def heading(about: dict[str, Any]) -> str:
    """Return what was evaluated, in one line."""
    starts = ", random starts" if about["env_mode"] == "random" else ""  # other environments do not say
    if about["env_mode"] == "fixed":
        starts = f", one start, layout {about['layout_seed']}, so that a greedy policy's episodes are all the same"
    return (
        f"{about['algorithm'].upper()} of {about['run']} ({about['checkpoint']}) on {about['environment']}: "
        f"{about['episodes']} episodes{starts}; seed {about['seed']}, 95 % bootstrap intervals"
    )


def save_episode_gif(path: Path, policy: TrainedPolicy, assessment: Assessment, episode: int) -> None:
    """Write one episode as an animation; GridWorld25 has pictures of its own."""
    values = assessment.values[LEARNED]
    recording = record_episodes(assessment, [episode])
    inner = None if is_gridworld(assessment.environment) else activations(policy, recording)
    of_episode, inner = jax.tree.map(lambda x: x[:, 0], jax.device_get((recording, inner)))
    of_episode, best = cut(of_episode, int(values.lengths[episode])), float(values.best_returns[episode])
    if inner is None:
        save_gif(path, of_episode, best, SCORE_DISCOUNT)
    else:
        save_frames_gif(path, assessment.environment, of_episode, inner, best, SCORE_DISCOUNT)
