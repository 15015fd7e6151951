"""Shared by all parts of the benchmark: cores, clocks, spreads, tables and one command line."""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")

Work = Callable[[], float]  # does some work, waits for it and returns how much it was


class Spread(NamedTuple):
    """A figure measured several times in one run."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)}..{number(self.high)})"


class Options(NamedTuple):
    """Options of a measurement."""

    quick: bool  # quick check that everything works; figures mean nothing
    rounds: int  # repetitions of every figure
    seconds: float  # least duration of one repetition
    clock: Callable[[], float]

    def rate(self, work: Work) -> float:
        """Measure work per second over one repetition."""
        done, started = 0.0, self.clock()
        while True:
            done += work()
            elapsed = self.clock() - started
            if elapsed >= self.seconds:
                return done / elapsed

    def interleave(self, works: dict[str, Work]) -> dict[str, list[float]]:
        """Measure the rate of every piece of work, in turn, so that disturbances affect all of them alike."""
        rates: dict[str, list[float]] = {name: [] for name in works}
        for work in works.values():
            work()  # compiles, fills caches
        for _ in range(self.rounds):
            for name, work in works.items():
                rates[name].append(self.rate(work))
        return rates


def spread(values: Iterable[float]) -> Spread:
    """Return the median and range."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def ratio(values: Sequence[float], others: Sequence[float]) -> Spread:
    """Return the ratios of figures that were measured one after the other."""
    return spread(value / other for value, other in zip(values, others, strict=True))


def pin(cores: int | None) -> int:
    """Keep this process on `cores` cores (None: all it may use) and return how many it has.

    To be called before JAX or torch start their threads. Systems that cannot pin keep all their cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    allowed = sorted(os.sched_getaffinity(0))
    if cores is not None:
        allowed = allowed[-cores:]
        os.sched_setaffinity(0, allowed)
    return len(allowed)


def peak_memory() -> float:
    """Return the peak memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike getrusage's, this peak is not inherited from the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def has_rows(log: Path) -> bool:
    """Return whether a run's CSV file has more than its header."""
    return log.exists() and log.read_text().count("\n") > 1


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that the figures depend on."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **packages,
    }


def commit() -> str:
    """Return the commit that is measured, with `-dirty` if files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def number(value: float) -> str:
    """Format with three digits, or all before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def replace_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end of name -->` in a Markdown page."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = page.read_text(encoding="utf-8").split(start)
    _, after = rest.split(end)
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the command-line parser that all parts share."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="quick check in seconds; the figures mean nothing")
    parser.add_argument(
        "--cpu_time",
        action="store_true",
        help="divide by the process's CPU seconds: rough figures of one core on a machine that is busy with other work",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    return parser


def make_options(arguments: argparse.Namespace, rounds: int, seconds: float) -> Options:
    """Return options with `rounds` repetitions of `seconds`, or fewer and shorter ones with `--quick`."""
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    if arguments.quick:
        return Options(True, 1, 0.0, clock)
    return Options(False, rounds, seconds, clock)


def finish(arguments: argparse.Namespace, figures: dict[str, Any], text: str) -> None:
    """Print a part's tables and write its figures to the file of `--json`."""
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), **figures}, indent=2, default=str) + "\n")


class Look(NamedTuple):
    """What a process takes at one moment."""

    memory: float  # MiB, resident
    descriptors: int


def look(pid: int) -> Look:
    """Read what a running process takes."""
    folder = Path("/proc", str(pid))
    pages = int((folder / "statm").read_text().split()[1])
    return Look(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list((folder / "fd").iterdir())))
