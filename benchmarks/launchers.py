"""Measure what many tiny runs cost under each launcher: `python benchmarks/launchers.py [--runs 256]`.

Every launcher trains a sweep of runs of 320 environment steps, with `ulimit -n 256`. Time, memory and open files of the
command's own process are read from Linux's /proc when a quarter, half and all of the runs have ended: they must not
grow with the number of runs.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import finish, look, make_options, make_parser, number, pin, table

LAUNCHERS = {"local": [], "ray": ["--launcher", "ray"]}
_DESCRIPTORS = 256
_WAIT = 0.3  # seconds between two looks
_TINY = (
    "--num_envs 8 --total_steps 320 --max_steps_per_ep 20 --min_buffer_size 100 --batch_size 8 --hidden_sizes 16 "
    "--mixing_size 8 --hypernet_size 8 --eval_interval 160 --eval_episodes 4 --buffer_capacity 400 --report false"
).split()


def measure_launcher(launcher: str, runs: int) -> dict[str, Any]:
    """Train tiny runs with one launcher."""
    command = [sys.executable, "-m", "qmix_jax.sweep", *_TINY, "--num_seeds", str(runs), *LAUNCHERS[launcher]]
    with tempfile.TemporaryDirectory() as folder:
        results, looks, cpu = Path(folder), {}, {}
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--quiet", "true", "--results_dir", folder],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS)),
        )
        while process.poll() is None:
            ended = len(list(results.glob("*/seed_*/diagnostics_plots.png")))
            cpu |= cpu_seconds(process.pid)
            for mark in (runs // 4, runs // 2, runs):
                if ended >= mark and mark not in looks:
                    looks[mark] = look(process.pid)
            time.sleep(_WAIT)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"{launcher}: ended with status {process.returncode}")
        files = [path for path in results.rglob("*") if path.is_file()]
        logs = sum(path.stat().st_size for path in files if path.suffix == ".csv")
        size = sum(path.stat().st_size for path in files)
    return {
        "launcher": launcher,
        "runs": runs,
        "seconds": seconds / runs,
        "cpu_seconds": sum(cpu.values()) / runs,
        "memory": [found.memory for found in looks.values()],
        "descriptors": [found.descriptors for found in looks.values()],
        "log_kib": logs / runs / 2**10,
        "all_kib": size / runs / 2**10,
    }


def cpu_seconds(pid: int) -> dict[int, float]:
    """Return the CPU seconds of a process and of its descendants until now, by process number."""
    ticks, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {pid}
    while found := {child for child, parent in parents.items() if parent in family} - family:
        family |= found
    return {number: ticks[number] / 100 for number in family if number in ticks}


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    header = ["launcher", "runs", "s a run", "CPU s a run", "MiB of the command", "its open files", "KiB a run, logs"]
    body = [
        [
            row["launcher"],
            row["runs"],
            number(row["seconds"]),
            number(row["cpu_seconds"]),
            ", ".join(map(number, row["memory"])),
            ", ".join(map(str, row["descriptors"])),
            f"{number(row['all_kib'])}, {number(row['log_kib'])}",
        ]
        for row in figures["rows"]
    ]
    return f"## Tiny runs under each launcher\n\n{figures['cores']} core(s).\n\n" + table(header, body)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=256)
    parser.add_argument("--launchers", nargs="+", choices=LAUNCHERS, default=list(LAUNCHERS))
    arguments = parser.parse_args()
    options, cores = make_options(arguments, rounds=1, seconds=0.0), pin(None)
    runs = 4 if options.quick else arguments.runs
    figures = {"cores": cores, "rows": [measure_launcher(launcher, runs) for launcher in arguments.launchers]}
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
