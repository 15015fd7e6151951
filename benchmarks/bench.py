"""Run the benchmark's parts in turn, each in its own process: `python benchmarks/bench.py [PART ...]`, or `make bench`.

Writes `benchmarks/results/bench.md` and `bench.json`, and the plots in `docs/`. Takes about a quarter of
an hour. The figures are meaningful only on an otherwise idle machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ROOT, machine

PARTS = {
    "environment": ["environment.py", "--plot", "docs/environment_speed.png"],
    "torch_baseline": ["torch_baseline.py"],
    "learner_one_core": ["learner.py"],
    "learner_two_cores": ["learner.py", "--cores", "2"],
    "devices": ["devices.py"],
    "memory": ["memory.py"],
    "checkpoints": ["checkpoints.py"],
    "adapters": ["adapters.py"],
    "growth": ["growth.py", "--plot", "docs/growth.png"],
    "sweep": ["sweep.py", "--plot", "docs/sweep.png"],
}


def run_part(command: list[str]) -> tuple[str, dict]:
    """Run a part; return its Markdown and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        script, *flags = command
        command = [sys.executable, f"benchmarks/{script}", *flags, "--json", str(path)]
        text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures = json.loads(path.read_text())
    figures.pop("machine")  # the same for all parts
    return text, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="quick check; writes no plots, the figures mean nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", metavar="FOLDER")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"{part}: must be one of {', '.join(PARTS)}")

    about = machine()
    lines = "\n".join(f"- {name}: {value}" for name, value in about.items())
    texts, results = [f"# Benchmark\n\nMedians, with the range over repetitions in brackets.\n\n{lines}\n"], {}
    for name in arguments.parts or PARTS:
        command = PARTS[name]
        started = time.perf_counter()
        text, results[name] = run_part([command[0], "--quick"] if arguments.quick else command)
        texts.append(text)
        print(f"{text}\n({name}: {time.perf_counter() - started:.0f} s)\n", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "bench.md").write_text("\n".join(texts))
    (arguments.output / "bench.json").write_text(json.dumps({"machine": about, **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
