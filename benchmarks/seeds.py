"""Train several seeds and print their final scores: `python benchmarks/seeds.py 0 1 2 3 4 [-- train.py flags]`.

Prints a Markdown table of each run's last evaluation; the run directories stay in `results/`.
"""

import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def train(seed: int, flags: list[str]) -> dict[str, str]:
    """Train one run; return the last row of its `evaluation_log.csv`, as text by column."""
    command = [sys.executable, "train.py", "--seed", str(seed), *flags]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    directory = Path(output.splitlines()[-1].removeprefix("run directory: "))
    with (ROOT / directory / "evaluation_log.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def main(arguments: list[str]) -> None:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    seeds, flags = [int(seed) for seed in arguments[:cut]], arguments[cut + 1 :]
    print(f"`python train.py {' '.join(flags)} --seed <seed>`\n")
    print("| seed | optimality | foods collected | success rate | mean length (steps) | episodes |")
    print("| --- | --- | --- | --- | --- | --- |")
    for seed in seeds:
        last = train(seed, flags)
        print(
            f"| {seed} | {float(last['optimality']):.3f} | {float(last['foods_collected']):.2f} "
            f"| {float(last['solved']):.0%} | {float(last['mean_length']):.1f} | {last['episode']} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
