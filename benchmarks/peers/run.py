"""Train JaxMARL's own scripts and ours in turn: `python benchmarks/peers/run.py --jaxmarl CHECKOUT`.

Each run is a process of its own, pinned to one core, and leaves one JSON file in the folder of `--out`. A run whose
file exists is not repeated, so that the command continues where it was stopped; only the run under way is lost. Then
`table.py` prints the table.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring import ROOT
from peers.tasks import CORE_ALGORITHMS, CORE_SEEDS, INDICATIVE_SEEDS, TASKS

RESULTS = ROOT / "benchmarks" / "results" / "peers"
SIDES = ("jaxmarl", "ours")
_QUICK = {"tasks": ["switch_riddle"], "algorithms": ["vdn"], "seeds": [0]}
_QUICK_STEPS = "1200"


class Run(NamedTuple):
    """One training run."""

    task: str
    algorithm: str
    side: str
    seed: int

    def path(self, out: Path) -> Path:
        """Return its JSON file."""
        return out / self.task / f"{self.side}_{self.algorithm}_seed{self.seed}.json"


def chosen_runs(arguments: argparse.Namespace) -> Iterator[Run]:
    """List the runs: seed by seed, task by task, both sides in turn."""
    for seed in arguments.seeds or CORE_SEEDS:
        for name in arguments.tasks or TASKS:
            task = TASKS[name]
            if not arguments.seeds and seed not in (CORE_SEEDS if task.core else INDICATIVE_SEEDS):
                continue
            for algorithm in arguments.algorithms or algorithms(name, seed):
                for side in arguments.sides:
                    run = Run(name, algorithm, side, seed)
                    if algorithm in getattr(task, side) and (arguments.algorithms or not takes_hours(run)):
                        yield run


def takes_hours(run: Run) -> bool:
    """Return whether a run is left out unless `--algorithms` names its algorithm."""
    return run.side == "jaxmarl" and TASKS[run.task].jaxmarl[run.algorithm].takes_hours


def algorithms(name: str, seed: int) -> tuple[str, ...]:
    """Return a task's algorithms: the indicative ones are trained with the first seed only."""
    known = tuple(dict.fromkeys([*TASKS[name].jaxmarl, *TASKS[name].ours]))
    return known if seed in INDICATIVE_SEEDS else tuple(each for each in known if each in CORE_ALGORITHMS)


def train(run: Run, arguments: argparse.Namespace) -> int:
    """Train one run in a process of its own, without a cache of compiled programs. Returns its exit status."""
    here = ROOT / "benchmarks"
    folders = [str(here), str(ROOT)]
    words = [run.task, run.algorithm, str(run.seed), str(run.path(arguments.out).resolve())]
    if run.side == "jaxmarl":
        folders = [str(here / "peers" / "stand_ins"), *folders]
        words.append(str(arguments.jaxmarl.resolve()))
    command = [sys.executable, "-m", f"peers.train_{run.side}", *words, *([_QUICK_STEPS] if arguments.quick else [])]
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(folders),
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "JAX_PLATFORMS": "cpu",
        "TRAINED_COMMIT": arguments.commit if run.side == "jaxmarl" else commit(ROOT),
    }
    # In a session of its own, a run is not reached by Ctrl-C; `subprocess.run` ends it, without a traceback.
    return subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, start_new_session=True).returncode


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jaxmarl", type=Path, metavar="CHECKOUT", help="a checkout of JaxMARL's repository")
    parser.add_argument("--commit", default="", help="its commit, if the folder is not a git repository")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, help="only these")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="only these")
    parser.add_argument("--algorithms", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, help="these, instead of 3 for core tasks and 1 for others")
    parser.add_argument("--core", type=int, help="the core to use; else the last one allowed")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="one small run a side; the figures mean nothing")
    return parser


def main() -> int:
    parser = make_parser()
    arguments = parser.parse_args()
    if "jaxmarl" in arguments.sides:
        if arguments.jaxmarl is None:
            parser.error("--jaxmarl CHECKOUT: must be given, or --sides ours")
        if not (arguments.jaxmarl / "baselines" / "QLearning").is_dir():
            parser.error(f"--jaxmarl {arguments.jaxmarl}: must be a checkout of JaxMARL, with baselines/QLearning")
        arguments.commit = arguments.commit or commit(arguments.jaxmarl)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core})
    if arguments.quick:
        vars(arguments).update({name: getattr(arguments, name) or value for name, value in _QUICK.items()})
    failed = 0
    for run in chosen_runs(arguments):
        if run.path(arguments.out).exists():
            continue
        started = time.perf_counter()
        status = train(run, arguments)
        failed += status != 0
        outcome = f"{time.perf_counter() - started:.0f} s" if status == 0 else f"failed with exit status {status}"
        print(f"{run.task} {run.side} {run.algorithm} seed {run.seed}: {outcome}", flush=True)
    return int(failed > 0)


def commit(checkout: Path) -> str:
    """Return the checkout's commit, empty if it is not a git repository."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the run under way must not go on alone
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command continues with the run that was under way")
