"""Compare techniques with the recipe: `python benchmarks/ablation.py fixed|random [--num_seeds 5] [--names NAME ...]`.

Starting from the recipe of a mode, one technique at a time is switched off, or switched on if the recipe does not use
it. Each variant is trained with the same seeds by `qmix-jax sweep`. Prints a Markdown table of everything in
`results/ablation/<mode>` and plots it as `docs/ablation_<mode>.png`. Existing variants are not trained again.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measuring import ROOT, table

from qmix_jax.analysis.run_record import RunRecord, read_record
from qmix_jax.analysis.stats import Estimate, estimate, estimate_difference
from qmix_jax.storage.directory import RunDirectory

_RECIPE = "the recipe"
_DIVERGED = 3  # exit status of a sweep that ended with diverged members
_SEQUENCES = "--sequence_length 8 --batch_size"  # as many transitions per update as in the recipe
_OFF = {
    "feature map: raw observations": "--encoding raw",
    "clock in the mixer's state: none": "--state_clock false",
    "double Q: off": "--double_q false",
    "n-step targets: one step": "--n_step 1",
    "repeated random actions: single ones": "--explore_repeat 1",
    "environments that end greedy: none": "--greedy_envs 0",
    "Adam's epsilon: 1e-8": "--optimizer_epsilon 1e-8",
    "decay of the learning rate: constant": "--lr_schedule constant",
    "sum beside the mixing network: none": "--mixer_skip false",
    "small first outputs: gains of 1": "--hypernet_init_scale 1 --head_init_scale 1",
    "the mixer: a sum (VDN)": "--algorithm vdn",
}
_ON = {
    "prioritised replay": "--replay prioritised",
    "standardised rewards": "--standardise_rewards true",
    "averaged targets (tau 0.005)": "--target_update_interval 1 --target_tau 0.005",
}
_MODES = {
    "fixed": (
        "--num_envs 512",
        {
            **_OFF,
            "agents at different paces: all alike": "--epsilon_spread 0",
            **_ON,
            "one network for all agents": "--share_parameters true",
            "last actions as input": "--last_action true",
            "Q(lambda)": f"--target q_lambda {_SEQUENCES} 8",
            "GRU agents": f"--agent gru {_SEQUENCES} 8",
            "networks of 128-128": "--hidden_sizes 128 128",
        },
    ),
    "random": (
        "--preset random --num_envs 512 --total_steps 1000000 --epsilon_decay_steps 500000 --eval_episodes 1000",
        {
            "last actions as input: none": "--last_action false",
            "one network for all agents: one each": "--share_parameters false",
            **_OFF,
            **_ON,
            "agents at different paces": "--epsilon_spread 0.8",
            "Q(lambda)": f"--target q_lambda {_SEQUENCES} 64",
        },
    ),
}


class Outcome(NamedTuple):
    """A variant's final scores over seeds, and the difference of its optimality to the recipe's."""

    name: str
    final_return: Estimate
    optimality: Estimate
    difference: Estimate
    solved: Estimate


def train(mode: str, flags: str, num_seeds: int) -> Path:
    """Return the folder of a variant's sweep, trained if it does not exist yet.

    Raises:
        RuntimeError: it failed. Seeds that diverged are a result.
    """
    results = ROOT / "results" / "ablation" / mode / (re.sub(r"\W+", "_", flags).strip("_") or "recipe")
    (sweep,) = [*results.glob("sweep_*")] or [results / "sweep_1"]
    if not (sweep / "sweep.md").exists():
        words = ["--resume", str(sweep)] if sweep.exists() else ["--results_dir", str(results), *flags.split()]
        words += [] if sweep.exists() else ["--num_seeds", str(num_seeds), *_MODES[mode][0].split()]
        command = [sys.executable, "-m", "qmix_jax.sweep", *words]
        status = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr).returncode
        if status not in (0, _DIVERGED):
            raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return sweep


def read(sweep: Path) -> list[RunRecord]:
    """Read the logs of all seeds."""
    seeds = sorted(sweep.glob("seed_*"))
    return [read_record(sweep.parent.name, number, RunDirectory(path)) for number, path in enumerate(seeds)]


def final(records: list[RunRecord], column: str) -> np.ndarray:
    """Return each seed's last evaluation, NaN for one that diverged: float64[S]."""
    return np.array([np.nan if record.diverged else record.evaluations[column][-1] for record in records])


def compare(name: str, records: list[RunRecord], recipe: list[RunRecord]) -> Outcome:
    own = final(records, "optimality")
    return Outcome(
        name,
        estimate(final(records, "mean_return")),
        estimate(own),
        estimate_difference(own, final(recipe, "optimality")),
        estimate(final(records, "solved")),
    )


def draw(path: Path, title: str, outcomes: list[Outcome]) -> None:
    """Plot the differences with their intervals, the most harmful at the bottom."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.difference.value)
    figure = Figure(figsize=(9, 1.4 + 0.3 * len(outcomes)), layout="constrained")
    axes = figure.subplots()
    values = np.array([outcome.difference for outcome in outcomes])
    rows = np.arange(len(outcomes))
    axes.axvline(0.0, color="#595959", linestyle=":")
    axes.errorbar(
        values[:, 0], rows, xerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], fmt="o", color="#0072B2"
    )
    axes.set_yticks(rows, [outcome.name for outcome in outcomes])
    axes.set_xlabel("optimality less the recipe's, 95% interval over seeds")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure).print_png(path)


def _shown(figure: Estimate, sign: str = "") -> str:
    return f"{figure.value:{sign}z.3f} [{figure.low:{sign}z.3f}, {figure.high:{sign}z.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mode", choices=_MODES)
    parser.add_argument("--num_seeds", type=int, default=5)
    parser.add_argument("--names", nargs="*", metavar="NAME", help="variants, by the start of their names; default all")
    arguments = parser.parse_args()
    base, variants = _MODES[arguments.mode]
    chosen = [name for name in variants if name.startswith(tuple(arguments.names or [""]))]
    outcomes: list[Outcome] = []
    recipe: list[RunRecord] = []
    for name in [_RECIPE, *chosen]:
        records = read(train(arguments.mode, variants.get(name, ""), arguments.num_seeds))
        recipe = recipe or records
        outcomes.append(compare(name, records, recipe))
        print(f"{name}: {_shown(outcomes[-1].optimality)}", file=sys.stderr, flush=True)
    print(f"`qmix-jax sweep --num_seeds {arguments.num_seeds} {base}`, final greedy policy\n")
    rows = [
        (f"`{variants[one.name]}`" if one.name in variants else "", one)
        for one in sorted(outcomes, key=lambda outcome: -np.nan_to_num(outcome.final_return.value, nan=-np.inf))
    ]
    print(
        table(
            ["variant", "flags", "optimality", "less the recipe's", "success rate"],
            [
                (one.name, flags, _shown(one.optimality), _shown(one.difference, "+"), _shown(one.solved))
                for flags, one in rows
            ],
        )
    )
    title = f"{arguments.mode} starts, {arguments.num_seeds} seeds"
    if chosen:
        draw(ROOT / "docs" / f"ablation_{arguments.mode}.png", title, outcomes[1:])


if __name__ == "__main__":
    main()
