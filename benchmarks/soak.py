"""Train for an hour and watch the process from outside: `python benchmarks/soak.py [--minutes 60] [-- train.py flags]`.

Starts `train.py` with a budget it cannot reach, samples its resident memory and open files, and stops it (SIGTERM) when
the time is over. Then checks everything it wrote: rows, checkpoints, and that the run can be resumed.
Exit status 1 if memory or open files grew after the first fifth of the time, or if any check failed.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measuring import ROOT, has_rows, look

from qmix_jax.storage.checkpoint import RESUME_ARRAYS, RESUME_NOTES, checkpoints
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import check_sums
from qmix_jax.storage.logs import read_log

FLAGS = ["--num_envs", "512", "--total_steps", "2000000000", "--epsilon_decay_steps", "1000000"]
# Seconds without a new program in JAX's cache, from the first chunk on: then all are compiled. At most what is watched.
_WARM_UP = 30.0
_MOST_GROWTH = 0.03  # of resident memory, from the second to the last fifth of the time: the allocator's own noise


class Sample(NamedTuple):
    """A process at one point in time."""

    seconds: float
    memory: float  # MiB resident
    files: int  # open
    cache_files: int  # in JAX's compilation cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("flags", nargs="*", help="flags of train.py, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, status = watch([*FLAGS, *options.flags], Path(folder), 60 * options.minutes)
        if not samples:
            sys.exit(f"the run ended with status {status} before it could be watched")
        problems = judge_samples(samples) + judge_run(Path(folder) / "results" / "run_1", status)
        problems += resume(Path(folder))
    for problem in problems:
        print(f"PROBLEM: {problem}")
    sys.exit(bool(problems))


def watch(flags: list[str], folder: Path, seconds: float) -> tuple[list[Sample], int]:
    """Sample a run for `seconds` once its programs are compiled; return samples and the exit status after SIGTERM."""
    cache = folder / "cache"
    process = start(folder, [*flags, "--results_dir", str(folder / "results")])
    timing = RunDirectory(folder / "results" / "run_1").timing
    while process.poll() is None and not has_rows(timing):
        time.sleep(0.1)
    programs, since = 0, time.monotonic()
    while process.poll() is None and time.monotonic() - since < min(_WARM_UP, seconds):
        if len(os.listdir(cache)) != programs:
            programs, since = len(os.listdir(cache)), time.monotonic()
        time.sleep(0.1)
    began, samples = time.monotonic(), []
    while process.poll() is None and time.monotonic() - began < seconds:
        taken = look(process.pid)
        samples.append(Sample(time.monotonic() - began, taken.memory, taken.descriptors, len(os.listdir(cache))))
        time.sleep(min(1.0, seconds / 50))
    process.send_signal(signal.SIGTERM)
    return samples, process.wait()


def start(folder: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    environ = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


def judge_samples(samples: list[Sample]) -> list[str]:
    """Return what grew, and print what was measured."""
    problems = []
    for name in ("memory", "files", "cache_files"):
        values = np.array([getattr(sample, name) for sample in samples])
        fifths = np.array_split(values, 5)
        medians = [float(np.median(part)) for part in fifths]
        print(f"{name}: {', '.join(f'{x:.1f}' for x in medians)} (medians of fifths), at most {values.max():.1f}")
        # A checkpoint that is being written has files open: what is left open shows in the moments without one.
        last, most = (medians[-1], 1 + _MOST_GROWTH) if name == "memory" else (float(fifths[-1].min()), 1.0)
        if last > medians[1] * most:
            problems.append(f"{name} grew from {medians[1]:.1f} to {last:.1f}")
    return problems


def judge_run(run: Path, status: int) -> list[str]:
    """Return what is wrong with the files of the stopped run, and print what there is."""
    problems = [] if status == 128 + signal.SIGTERM else [f"exit status {status}"]
    directory = RunDirectory(run)
    episodes, timing = read_log(directory.training_log), read_log(directory.timing)
    if not np.array_equal(episodes["episode"], np.arange(len(episodes["episode"]))):
        problems.append("episodes are not numbered in a row")
    if timing["episodes"][-1] != len(episodes["episode"]):
        problems.append(f"{len(episodes['episode'])} rows of {timing['episodes'][-1]:.0f} episodes")
    found = checkpoints(directory.models)
    for path in found:
        check_sums(path, optional=(RESUME_ARRAYS, RESUME_NOTES))
    steps, updates, seconds = (timing[name][-1] for name in ("env_steps", "updates", "seconds"))
    print(
        f"{steps:.0f} environment steps, {updates:.0f} updates, {len(episodes['episode'])} episodes, "
        f"{len(found)} checkpoints with right sums, {seconds:.0f} s"
    )
    return problems


def resume(folder: Path) -> list[str]:
    """Return what keeps the run from being resumed."""
    run = folder / "results" / "run_1"
    before = (run / "timing.csv").stat().st_size
    process = start(folder, ["--resume", str(run)])
    while process.poll() is None and (run / "timing.csv").stat().st_size <= before:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    status = process.wait()
    return [] if status == 128 + signal.SIGTERM else [f"exit status {status} when it was resumed"]


if __name__ == "__main__":
    main()
