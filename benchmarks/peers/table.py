"""Write the table and plots of finished runs: `python benchmarks/peers/table.py [FOLDER]`.

Writes `peers.md` to the folder, and a plot for every task.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring import ROOT, number
from peers.tasks import TASKS, Task

from qmix_jax.analysis.stats import Estimate, common_points, estimate, interquartile_mean, make_band, step_values
from qmix_jax.analysis.tables import markdown_table
from qmix_jax.runs.plots import save_figure
from qmix_jax.storage.files import replacing

RESULTS = ROOT / "benchmarks" / "results" / "peers"
_SIDES = {"ours": "qmix_jax", "jaxmarl": "JaxMARL"}
_COLOURS = {
    "ours": {
        "qmix": "#0072B2",
        "vdn": "#56B4E9",
        "general": "#009E73",
        "pqn": "#CC79A7",
        "pqn_vdn": "#882255",
        "iql": "#000000",
        "qplex": "#F0E442",
    },
    "jaxmarl": {"qmix": "#D55E00", "vdn": "#E69F00", "iql": "#999999", "pqn_vdn": "#DDAACC"},
}
_ALGORITHMS = ("qmix", "vdn", "general", "pqn", "pqn_vdn", "iql", "qplex")
_UNITS = {"team": "sum over agents", "agent": "one agent"}
_HEADER = (
    *("trainer", "algorithm", "seeds", "return", "win rate", "own last test", "environment steps", "training, s"),
    *("start, s", "of it compiling, s", "steps/s", "updates/s", "peak memory, MiB"),
)
_MOST_POINTS = 200
_HOW = """\
# Beside JaxMARL

JaxMARL's own scripts (`baselines/QLearning`, unmodified{commit}) and ours, trained in turn on the same core, in the
same environments (the installed JaxMARL {version}), for the same number of environment steps. Measured by
`python benchmarks/peers/run.py` on {cpu}. Means over seeds are interquartile, with 95 % bootstrap intervals; of three
seeds an interval spans all.

- **Return** and **win rate** are of the final greedy policies, which our evaluator plays: the same episodes for both
  sides. JaxMARL's parameters are taken from what its script returns.
- **Own last test** is what each side logged at its end. On MPE JaxMARL's episodes have 26 steps, ours 25.
- **Start** is the time from the call to the first step of training: tracing, compiling, initialising. No program is
  taken from a cache. **Training** is the time from then on, each side's tests included: as many, of as many episodes.
- JaxMARL's targets sum the agents' rewards on MPE and take the first agent's on SMAX and Overcooked, where all get the
  same; ours always sum.{clock}

JaxMARL's settings are those of the files named, except for environment steps, tests, and the overrides.

{settings}
"""

Group = Sequence[Mapping[str, Any]]  # runs that differ in their seed


def read_groups(folder: Path, task: str) -> dict[tuple[str, str], Group]:
    """Read a task's finished runs, by side and algorithm, in a fixed order."""
    runs = [json.loads(path.read_text()) for path in sorted((folder / task).glob("*.json"))]
    groups = {
        (side, algorithm): [run for run in runs if (run["side"], run["algorithm"]) == (side, algorithm)]
        for algorithm in _ALGORITHMS
        for side in _SIDES
    }
    return {name: group for name, group in groups.items() if group}


def table(groups: Mapping[tuple[str, str], Group], clock: str) -> str:
    """Return a task's rows: interquartile means over seeds with intervals, and medians of speed and memory.

    Args:
        groups: the runs.
        clock: `seconds`, or `cpu_seconds` for runs on a busy machine.
    """
    return markdown_table(_HEADER, [row(*name, group, clock) for name, group in groups.items()])


def row(side: str, algorithm: str, group: Group, clock: str) -> list[str]:
    def middle(figure: str) -> float:
        return median(run[figure] for run in group)

    def rate(figure: str) -> str:
        return number(median(run[figure] / run[f"train_{clock}"] for run in group))

    tests = [run["curve"][-1]["return"] for run in group]
    returns, won = final(group, "return"), final(group, "win_rate")
    return [
        *(_SIDES[side], algorithm, str(len(group))),
        *(cell(estimate(returns), "{:.2f}"), "-" if won is None else cell(estimate(won), "{:.0%}")),
        "-" if None in tests else f"{interquartile_mean(np.array(tests)):.2f}",
        *(number(middle("env_steps")), number(middle(f"train_{clock}")), number(middle(f"start_{clock}"))),
        *(number(middle("compile_seconds")) if clock == "seconds" else "-", rate("env_steps"), rate("updates")),
        number(middle("peak_mib")),
    ]


def final(group: Group, figure: str) -> np.ndarray | None:
    """Return a figure of the final policies, float64[S]; None where it is unknown."""
    values = [run["final"][figure] for run in group]
    return None if None in values else np.array(values)


def cell(figure: Estimate, form: str) -> str:
    text = form.format(figure.value)
    return text if np.isnan(figure.low) else f"{text} [{form.format(figure.low)}, {form.format(figure.high)}]"


def plot(path: Path, task: Task, groups: Mapping[tuple[str, str], Group], clock: str) -> None:
    """Draw each side's evaluations during training against steps and time, and our evaluation of the final policies."""
    won = all(final(group, "win_rate") is not None for group in groups.values())
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    figure.suptitle(f"{task.title}: each side's own evaluations; diamonds: final policies, by our evaluator")
    labels = ("environment steps", "CPU seconds of training" if clock == "cpu_seconds" else "seconds of training")
    for axes, x_name, label in zip(figure.subplots(1, 2), ("env_steps", clock), labels, strict=True):
        for (side, algorithm), group in groups.items():
            colour = _COLOURS[side][algorithm]
            x, value, low, high = band(group, x_name, "win_rate" if won else "return")
            style = "-" if side == "ours" else "--"
            axes.plot(x, value, style, color=colour, label=f"{_SIDES[side]} {algorithm} ({len(group)})")
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            last = final(group, "win_rate" if won else "return")
            axes.plot(x[-1], estimate(last).value, "D", color=colour, markersize=7, markeredgecolor="white")
        axes.set_xlabel(label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    axes = figure.axes[0]
    axes.set_ylabel("win rate" if won else f"undiscounted return, {_UNITS[task.unit]}")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside right upper")
    save_figure(path, figure)


def settings_table() -> str:
    """Return what JaxMARL's scripts are given, by task and algorithm."""
    rows = [
        (task.title, algorithm, peer.script, peer.settings, ", ".join(f"{k} {v}" for k, v in peer.overrides.items()))
        for task in TASKS.values()
        for algorithm, peer in task.jaxmarl.items()
    ]
    return markdown_table(("task", "algorithm", "script", "settings", "overrides"), rows)


def heading(runs: Sequence[Mapping[str, Any]], clock: str) -> str:
    """Return how the runs were made."""
    commits = sorted({run["commit"] for run in runs if run["commit"] and run["side"] == "jaxmarl"})
    return _HOW.format(
        commit=f", commit {', '.join(commits)}" if commits else "",
        version=", ".join(sorted({run["machine"]["jaxmarl"] for run in runs})),
        cpu=", ".join(sorted({run["machine"]["cpu"] for run in runs})),
        clock="\n- The machine was busy with other work: times are CPU seconds." if clock == "cpu_seconds" else "",
        settings=settings_table(),
    )


def band(group: Group, x_name: str, y_name: str) -> tuple[np.ndarray, ...]:
    """Return a group's curve: x, interquartile mean over seeds, and the ends of its interval. float64[P] each."""
    curves = []
    for run in group:
        columns = (
            [np.nan if point[name] is None else point[name] for point in run["curve"]] for name in (x_name, y_name)
        )
        curves.append(tuple(map(np.array, columns)))
    points = common_points([x for x, _ in curves], _MOST_POINTS)
    return tuple(make_band(points, np.array([step_values(x, y, points) for x, y in curves])))


def write(folder: Path, clock: str) -> str:
    """Write and return the Markdown, and draw the plots."""
    runs: list[Mapping[str, Any]] = []
    sections = []
    for name, task in TASKS.items():
        groups = read_groups(folder, name)
        if groups:
            runs += [run for group in groups.values() for run in group]
            kind = "" if task.core else " (indicative)"
            sections.append(
                f"## {task.title}{kind}\n\nReturn: undiscounted, {_UNITS[task.unit]}.\n\n"
                f"{table(groups, clock)}\n\n![{task.title}]({name}.png)\n"
            )
            plot(folder / f"{name}.png", task, groups, clock)
    if not runs:
        raise SystemExit(f"{folder}: must be a folder of finished runs, see run.py")
    text = "\n".join([heading(runs, clock), *sections])
    with replacing(folder / "peers.md") as temporary:
        temporary.write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=RESULTS)
    parser.add_argument("--cpu_time", action="store_true", help="CPU seconds, for runs on a machine busy with others")
    arguments = parser.parse_args()
    print(write(arguments.folder, "cpu_seconds" if arguments.cpu_time else "seconds"))


if __name__ == "__main__":
    main()
