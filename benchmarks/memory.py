"""Measure memory, compilation and time of whole runs: `python benchmarks/memory.py [-- train.py flags]`.

Runs `train.py` in processes of its own, once with an empty compilation cache and then with a warm one. 'First progress'
is when the first row of `timing.csv` appears. Without flags it measures every run in `RUNS`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
from measuring import ROOT, finish, has_rows, make_parser, number, spread, table
from processes import run_alone

from qmix_jax.config import Config
from qmix_jax.learning.time_limit import bootstraps_at_limit
from qmix_jax.runs.compilation import compile_programs, enable_compilation_cache
from qmix_jax.storage.hparams import read_config
from qmix_jax.training.environments import make_environment
from qmix_jax.training.replay import transition_bytes
from qmix_jax.training.trainer import make_trainer

# A tenth or less of the longer presets' budgets: memory and compilation do not depend on it.
RUNS = {
    "default": ["--num_envs", "512"],
    "random": ["--preset", "random", "--num_envs", "512", "--total_steps", "300000"],
    "throughput": ["--preset", "throughput", "--total_steps", "4096000"],
}
_QUICK_RUN = {"quick": ["--num_envs", "8", "--total_steps", "400", "--min_buffer_size", "100", "--eval_episodes", "2"]}
_WARM_RUNS = 2


class Measured(NamedTuple):
    """One run, measured from outside."""

    first_progress: float  # seconds from the start of the command
    total: float  # seconds
    peak_memory: float  # MiB resident


def measure_run(flags: list[str], cache: str) -> tuple[Measured, Config]:
    """Run `train.py` once; return the measurement and the configuration in its hparams.json."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "train.py", *flags, "--results_dir", results]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}, stdout=subprocess.DEVNULL
        )
        timing = Path(results) / "run_1" / "timing.csv"
        first_progress = float("nan")
        while True:
            # The peak is at least that of this process, which the run began as a copy of: it must stay small.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if first_progress != first_progress and has_rows(timing):
                first_progress = time.perf_counter() - started
            if pid:
                break
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed with exit status {process.returncode}")
        unit = 2**20 if sys.platform == "darwin" else 2**10
        measured = Measured(first_progress, time.perf_counter() - started, usage.ru_maxrss / unit)
        return measured, read_config(Path(results) / "run_1" / "configs" / "hparams.json")


def compile_seconds(config: Config) -> float:
    """Return the seconds to compile all of a run's programs, or to read them from the cache."""
    enable_compilation_cache()
    key = jax.random.key(config.seed)
    trainer = make_trainer(config, make_environment(config))
    started = time.perf_counter()
    compile_programs(trainer, key, key)
    return time.perf_counter() - started


def compiled_memory(config: Config) -> dict[str, float]:
    """Return the MiB of temporaries in the compiled chunk, and of donated state that is reused in place."""
    trainer = make_trainer(config, make_environment(config))
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    analysis = jax.jit(trainer.train_chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    return {
        "temporaries_mib": analysis.temp_size_in_bytes / 2**20,
        "reused_mib": analysis.alias_size_in_bytes / 2**20,
    }


def measure(flags: list[str], warm_runs: int) -> dict[str, Any]:
    """Measure one cold run, `warm_runs` warm ones, and the memory that the shapes alone determine."""
    with tempfile.TemporaryDirectory() as cache:
        cold, config = measure_run(flags, cache)
        warm = [measure_run(flags, cache)[0] for _ in range(warm_runs)]
    with tempfile.TemporaryDirectory() as cache:
        compile_cold, compile_warm = (run_alone(compile_seconds, config, cache=cache) for _ in range(2))
    spec = make_environment(config).spec
    per_transition = transition_bytes(spec, bootstraps=bootstraps_at_limit(config, spec))
    return {
        "flags": flags,
        "cold": cold._asdict(),
        "warm": {name: spread(getattr(run, name) for run in warm) for name in Measured._fields},
        "compile_seconds_cold": compile_cold,
        "compile_seconds_warm": compile_warm,
        "replay_bytes_per_transition": per_transition,
        "replay_mib": per_transition * config.replay_capacity / 2**20,
        **run_alone(compiled_memory, config),
    }


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    runs, memory = [], []
    for name, run in figures["runs"].items():
        cold, warm = run["cold"], run["warm"]
        columns = ("first_progress", "total", "peak_memory")
        runs.append([name, "cold", number(run["compile_seconds_cold"]), *(number(cold[column]) for column in columns)])
        runs.append([name, "warm", number(run["compile_seconds_warm"]), *(warm[column] for column in columns)])
        columns = ("replay_bytes_per_transition", "replay_mib", "reused_mib", "temporaries_mib")
        memory.append([name, *(number(run[column]) for column in columns)])
    return "\n\n".join(
        [
            "## Whole runs",
            *(f"{name}: `python train.py {' '.join(run['flags'])}`" for name, run in figures["runs"].items()),
            table(
                [
                    "run",
                    "compilation cache",
                    "compilation (s)",
                    "first progress (s)",
                    "whole run (s)",
                    "peak memory (MiB)",
                ],
                runs,
            ),
            table(
                ["run", "bytes a transition", "replay (MiB)", "state updated in place (MiB)", "temporaries (MiB)"],
                memory,
            ),
        ]
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("flags", nargs="*", help="train.py flags of one run to measure instead, after --")
    arguments = parser.parse_args()
    runs = _QUICK_RUN if arguments.quick else RUNS
    if arguments.flags:
        runs = {"run": arguments.flags}
    warm_runs = 1 if arguments.quick else _WARM_RUNS
    figures = {"runs": {name: measure(flags, warm_runs) for name, flags in runs.items()}}
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
