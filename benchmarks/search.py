"""`python benchmarks/search.py`: Optuna's suggestions against random draws at equal environment steps.

Three studies of each, of 16 points on layout 5, without pruning: every run has the same steps. Studies that have ended
are not repeated. Writes docs/search.png and prints each study's best return.
"""

import argparse
import sys
from pathlib import Path

from qmix_jax import sweep

POINTS, STUDIES, STEPS = 16, 3, 20_480
FLAGS = (
    "--ranges lr=1e-4:1e-2:log gamma=0.9:0.99 epsilon_decay_steps=2000:20000 --workers 1 --layout_seed 5 "
    f"--num_envs 128 --total_steps {STEPS} --train_frequency 16 --min_buffer_size 2000 --eval_interval 5120 "
    "--save_interval 100000 --quiet"
).split()
KINDS = {
    "random": ["--random", f"{POINTS}"],
    "TPE": ["--optuna", f"{POINTS}", "--batch", "4", "--prune", "false"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="results/search", type=Path, help="where the studies are trained")
    parser.add_argument("--output", default="docs/search.png", type=Path, help="the plot")
    arguments = parser.parse_args()
    for seed in range(STUDIES):
        for kind, words in KINDS.items():
            folder = arguments.folder / f"{kind}_{seed}"
            if not (folder / "sweep_1" / "sweep.md").exists():
                status = sweep.main([*words, *FLAGS, "--seed", f"{seed}", "--results_dir", str(folder)])
                if status:
                    return status

    from qmix_jax.analysis.search_plot import best_so_far, plot_search

    searches = {
        kind: [read_search(arguments.folder / f"{kind}_{seed}" / "sweep_1") for seed in range(STUDIES)]
        for kind in KINDS
    }
    for kind, found in searches.items():
        best = ", ".join(f"{best_so_far(search)[1][-1]:.3f}" for search in found)
        halfway = ", ".join(f"{best_so_far(search)[1][POINTS // 2 - 1]:.3f}" for search in found)
        print(f"{kind}: best return {best}; after {POINTS // 2} points {halfway}")
    title = f"{POINTS} points of {STEPS:,} steps on layout 5: mean and range of {STUDIES} studies"
    plot_search(arguments.output, title, searches)
    return 0


def read_search(path: Path) -> tuple[list[int], list[float | None]]:
    """Return steps and values of the points in their order, for `search_plot`."""
    from qmix_jax.experiments.experiment import read_experiment
    from qmix_jax.experiments.plan import point_folders
    from qmix_jax.experiments.points import read_ranges
    from qmix_jax.experiments.search import JOURNAL
    from qmix_jax.experiments.study import Study
    from qmix_jax.experiments.sweep_spec import SWEEP
    from qmix_jax.storage.directory import RunDirectory
    from qmix_jax.storage.logs import EVALUATION_COLUMNS, read_log

    experiment = read_experiment(SWEEP, path)
    settings, folders = experiment.settings, experiment.folders
    if settings.optuna is not None:
        study = Study(path / JOURNAL, read_ranges(settings.ranges), settings.optuna, experiment.config.seed)
        folders = point_folders([suggestion.point for suggestion in study.suggestions()])
    runs = [RunDirectory(path / folder / "seed_0") for folder in folders]
    returns = [read_log(run.evaluation_log, EVALUATION_COLUMNS)["mean_return"] for run in runs]
    return [STEPS * (number + 1) for number in range(len(runs))], [float(found[-1]) for found in returns]


if __name__ == "__main__":
    sys.exit(main())
