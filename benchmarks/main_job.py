"""Time and memory of the main job, from command to finished run directory: `python benchmarks/main_job.py [flags]`.

Runs `train.py --num_envs 512` in processes of its own, once with an empty compilation cache and then with a warm
one, and prints a Markdown table. 'First progress' is when the first row of `timing.csv` is there.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax

from qmix_jax.config import Config
from qmix_jax.environments import make_environment
from qmix_jax.replay import transition_bytes
from qmix_jax.trainer import make_trainer

ROOT = Path(__file__).parents[1]


class Measured(NamedTuple):
    first_progress: float  # seconds
    total: float  # seconds
    peak_memory: float  # MiB resident


def measure(flags: list[str], cache: str) -> Measured:
    """One run of `train.py`, watched from outside."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "train.py", *flags, "--results_dir", results]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}, stdout=subprocess.DEVNULL
        )
        timing = Path(results) / "run_1" / "timing.csv"
        first_progress = float("nan")
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if first_progress != first_progress and _has_rows(timing):
                first_progress = time.perf_counter() - started
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed with exit status {process.returncode}")
        return Measured(first_progress, time.perf_counter() - started, usage.ru_maxrss / 1024)


def _has_rows(path: Path) -> bool:
    return path.exists() and path.read_text().count("\n") > 1


def compiled_memory(config: Config) -> tuple[float, float, float]:
    """MiB of replay, of temporaries in the compiled chunk, and of donated state that is reused in place."""
    environment = make_environment(config)
    trainer = make_trainer(config, environment)
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    analysis = jax.jit(trainer.train_chunk, donate_argnums=0).lower(state).compile().memory_analysis()
    replay = transition_bytes(environment.spec) * config.replay_capacity
    return replay / 2**20, analysis.temp_size_in_bytes / 2**20, analysis.alias_size_in_bytes / 2**20


def main(flags: list[str]) -> None:
    flags = flags or ["--num_envs", "512"]
    with tempfile.TemporaryDirectory() as cache:
        rows = [("cold", measure(flags, cache)), *(("warm", measure(flags, cache)) for _ in range(2))]
    print(f"`train.py {' '.join(flags)}` on {os.cpu_count()} cores ({platform.machine()}), jax {jax.__version__}\n")
    print("| compilation cache | first progress (s) | command to finished run directory (s) | peak memory (MiB) |")
    print("| --- | --- | --- | --- |")
    for name, row in rows:
        print(f"| {name} | {row.first_progress:.1f} | {row.total:.1f} | {row.peak_memory:.0f} |")
    config = Config(num_envs=512)
    replay, temporaries, reused = compiled_memory(config)
    size = transition_bytes(make_environment(config).spec)
    print(
        f"\nReplay at 512 environments: {size} bytes a transition, {replay:.1f} MiB; the compiled chunk updates "
        f"{reused:.1f} MiB of state in place and holds {temporaries:.1f} MiB of temporaries."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
