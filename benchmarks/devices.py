"""Measure the speedup of a second core: `python benchmarks/devices.py`.

Runs the trainer at 512 environments in turn with `--num_devices 1` pinned to one core, and with one device per core on
all cores, each time in a fresh process. The throughput preset likewise.
"""

import os
import tempfile
from dataclasses import replace
from typing import Any

from growth import BASE, Point, measure_point
from measuring import Options, finish, make_options, make_parser, pin, ratio, spread, table
from processes import run_alone

from qmix_jax.config import Config
from qmix_jax.presets import preset_config

_CASES = {
    "default": BASE,
    "default, 128-128": replace(BASE, hidden_sizes=(128, 128)),
    "throughput": preset_config("throughput", total_steps=2**30, min_buffer_size=0, eval_interval=20_000),
}
_QUICK_CASES = {"default": replace(BASE, num_envs=8, buffer_capacity=800, hidden_sizes=(8,))}


def measure_devices(config: Config, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure a trainer on its own `config.num_devices` cores, each a device. To be called in a fresh process."""
    from qmix_jax.runs.compilation import provide_cpu_devices

    pin(config.num_devices)
    provide_cpu_devices(config.num_devices)
    return measure_point(Point(config, 1), rounds, seconds)


def measure(options: Options, cores: int) -> dict[str, Any]:
    """Measure steps/s on one core and on all, round by round."""
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, config in (_QUICK_CASES if options.quick else _CASES).items():
            rates: dict[int, list[float]] = {1: [], cores: []}
            for _ in range(options.rounds):
                for devices in rates:
                    split = replace(config, num_devices=devices)
                    figures = run_alone(measure_devices, split, 1, options.seconds, cache=cache)
                    rates[devices].append(figures["steps_per_second"].median)
            cases[name] = {
                "one": spread(rates[1]),
                "all": spread(rates[cores]),
                "ratio": ratio(rates[cores], rates[1]),
            }
    return {"cores": cores, "cases": cases}


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    cores = figures["cores"]
    header = ["run", "steps/s, one core", f"steps/s, --num_devices {cores}", "ratio (target: 1.5)"]
    rows = [[name, case["one"], case["all"], case["ratio"]] for name, case in figures["cases"].items()]
    return f"## One core and {cores}\n\n" + table(header, rows)


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    options = make_options(arguments, rounds=3, seconds=4.0)
    figures = measure(options, os.cpu_count() or 1)
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
