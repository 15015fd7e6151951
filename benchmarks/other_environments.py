"""Plot learning curves on other libraries' environments: `python benchmarks/other_environments.py [seed ...]`.

Trains the presets `mpe_spread` and `lbf` with each seed, prints a Markdown table of all their finished runs in
`results/mpe_spread` and `results/lbf`, and plots them as `docs/other_environments.png`. Each run's greedy policy is
compared with uniformly random allowed actions from the same starts.
"""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from qmix_jax.analysis.tables import markdown_table
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import read_config
from qmix_jax.storage.logs import fetch_evaluation, read_log
from qmix_jax.training.environments import make_environment
from qmix_jax.training.evaluation import evaluate, evaluation_key, random_policy

ROOT = Path(__file__).parents[1]
PRESETS = ("mpe_spread", "lbf")
_BLUE, _GREY = "#0072B2", "#595959"


def train(preset: str, seed: int, results: Path) -> None:
    command = [sys.executable, "train.py", "--preset", preset, "--seed", str(seed), "--results_dir", str(results)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)


def random_return(directory: RunDirectory) -> tuple[float, float]:
    """Return undiscounted team return and success rate of random actions from the starts of the run's evaluations.

    The rate is NaN where the environment defines no success.
    """
    config = read_config(directory.hparams)
    play = jax.jit(evaluate, static_argnums=(0, 1, 3))
    key = evaluation_key(jax.random.key(config.seed))
    evaluation = play(make_environment(config), random_policy, key, config.eval_episodes)
    return float(evaluation.extra["undiscounted_return"]), float(fetch_evaluation(evaluation).solved)


def draw(axes: Axes, preset: str, curves: list[dict[str, np.ndarray]], random: float) -> None:
    for number, curve in enumerate(curves):
        label = f"QMIX, seeds: {len(curves)}" if number == 0 else None
        axes.plot(curve["env_steps"], curve["undiscounted_return"], color=_BLUE, alpha=0.8, label=label)
    axes.axhline(random, color=_GREY, linestyle=":", label=f"random actions, {random:.2f}")
    axes.set_title(preset, loc="left", fontweight="bold")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("undiscounted team return")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")


def main(arguments: list[str]) -> None:
    figure = Figure(figsize=(11, 4), layout="constrained")
    header = ["preset", "seed", "undiscounted return", "success rate", "mean length (steps)"]
    print(markdown_table([*header, "random: return", "random: success rate"], []))
    for axes, preset in zip(figure.subplots(1, len(PRESETS)), PRESETS, strict=True):
        results = ROOT / "results" / preset
        for seed in arguments:
            train(preset, int(seed), results)
        runs = [RunDirectory(path) for path in sorted(results.glob("run_*"))]
        finished = [run for run in runs if (run.models / "final_model").exists()]
        curves, randoms = [read_log(run.logs[1]) for run in finished], [random_return(run) for run in finished]
        for run, curve, (returned, solved) in zip(finished, curves, randoms, strict=True):
            last = {name: column[-1] for name, column in curve.items()}
            print(
                f"| {preset} | {read_config(run.hparams).seed} | {last['undiscounted_return']:.2f} "
                f"| {last['solved']:.0%} | {last['mean_length']:.1f} | {returned:.2f} | {solved:.0%} |".replace(
                    "nan%", "-"
                ),
                flush=True,
            )
        draw(axes, preset, curves, float(np.mean([returned for returned, _ in randoms])))
    FigureCanvasAgg(figure).print_png(ROOT / "docs" / "other_environments.png")


if __name__ == "__main__":
    main(sys.argv[1:])
