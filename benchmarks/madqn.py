"""Compare the preset `madqn` with the script it is named after: `python benchmarks/madqn.py 0 1 2 [-- train.py flags]`.

Trains a run per seed, prints a Markdown table of the behaviour policy's discounted return at 0.99, the discount of the
script's known figure, and plots it over episodes in docs/madqn.png. The preset learns with another discount, so the
returns are computed from the rewards in replay, which holds the whole run. The run directories stay in `results/`.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
FOODS, AGENTS = 4, 4
DISCOUNT = 0.99
REFERENCE, REFERENCE_LEFT = 1.91, 1.12  # return and foods left, of the script's behaviour policy
EPISODES = 300  # episodes after which these were measured
WINDOW = 50  # episodes of an average
_BLUE, _GREY = "#0072B2", "#595959"


class Episodes(NamedTuple):
    """Finished episodes of a run, in order."""

    returns: np.ndarray  # float64, discounted team return at DISCOUNT
    foods_left: np.ndarray  # float64
    lengths: np.ndarray  # int64, steps


def train(seed: int, flags: list[str]) -> Path:
    """Train one run; return its run directory."""
    command = [sys.executable, "train.py", "--preset", "madqn", "--seed", str(seed), *flags]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return ROOT / output.splitlines()[-1].removeprefix("run directory: ")


def read_episodes(directory: Path) -> Episodes:
    """Read all finished episodes of a run in one environment, from the last checkpoint's replay."""
    checkpoints = (directory / "models").glob("checkpoint_ep*")
    newest = max(checkpoints, key=lambda path: int(path.name.removeprefix("checkpoint_ep")))
    with np.load(newest / "resume.npz") as arrays:
        steps = int(arrays["state/vector_step"])
        rewards = arrays["state/replay/experience/rewards"][0, :steps].sum(axis=-1, dtype=np.float64)
        ends = np.flatnonzero(arrays["state/replay/experience/done"][0, :steps]) + 1
    assert len(rewards) == steps, "replay must hold the whole run"
    episodes = np.split(rewards, ends)[:-1]  # after the last end comes an unfinished episode
    # A food pays 1. At the time limit each one left costs every agent 1/2: sum = (FOODS - left) - AGENTS / 2 * left.
    left = (FOODS - np.array([episode.sum() for episode in episodes])) / (1 + AGENTS / 2)
    returns = np.array([(DISCOUNT ** np.arange(len(episode))) @ episode for episode in episodes])
    return Episodes(returns, left, np.array([len(episode) for episode in episodes]))


def draw(path: Path, runs: list[Episodes]) -> None:
    """Plot the median and range over the runs of the moving average of returns, and the script's figure."""
    count = min(len(run.returns) for run in runs)
    averages = np.array([np.convolve(run.returns[:count], np.ones(WINDOW) / WINDOW, "valid") for run in runs])
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    at = np.arange(WINDOW, count + 1)
    axes.fill_between(
        at, averages.min(axis=0), averages.max(axis=0), color=_BLUE, alpha=0.2, linewidth=0, label="range"
    )
    axes.plot(at, np.median(averages, axis=0), color=_BLUE, label=f"preset madqn, median of {len(runs)} seeds")
    axes.axhline(REFERENCE, color=_GREY, linestyle="--", label=f"the script after {EPISODES} episodes, {REFERENCE}")
    axes.set_title("MADQN's behaviour policy on layout 1", loc="left", fontweight="bold")
    axes.set_xlabel("episode")
    axes.set_ylabel(f"discounted team return ({DISCOUNT}), mean of {WINDOW} episodes")
    axes.set_xlim(0, count)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    FigureCanvasAgg(figure).print_png(path)


def main(arguments: list[str]) -> None:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    seeds, flags = [int(seed) for seed in arguments[:cut]], arguments[cut + 1 :]
    print(f"`python train.py {' '.join(['--preset madqn', *flags])} --seed <seed>`\n")
    print(
        f"| seed | episodes | return, episodes {EPISODES - WINDOW + 1} to {EPISODES} | return, last {WINDOW} |", end=""
    )
    print(f" foods left, last {WINDOW} | mean length, last {WINDOW} (steps) |\n| --- | --- | --- | --- | --- | --- |")
    runs = []
    for seed in seeds:
        run = read_episodes(train(seed, flags))
        runs.append(run)
        early, last = slice(EPISODES - WINDOW, EPISODES), slice(-WINDOW, None)
        print(
            f"| {seed} | {len(run.returns)} | {run.returns[early].mean():.2f} | {run.returns[last].mean():.2f} "
            f"| {run.foods_left[last].mean():.2f} | {run.lengths[last].mean():.0f} |",
            flush=True,
        )
    print(f"| the script | {EPISODES} | {REFERENCE} | {REFERENCE} | {REFERENCE_LEFT} | |")
    draw(ROOT / "docs" / "madqn.png", runs)


if __name__ == "__main__":
    main(sys.argv[1:])
