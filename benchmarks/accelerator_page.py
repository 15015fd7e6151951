"""The page and the plot of `accelerator.py`'s figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from curves import Panel, draw
from measuring import Spread, number, table


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    device = figures["device"]
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in device.items() if name != "kind" and value)
    parts = [
        f"## Accelerator: {device['kind']}\n\n{' '.join(about.split())}. Commit {figures['commit']}, measured in "
        f"{figures['seconds']:.0f} s{', in CPU time' if figures['cpu_time'] else ''}. Medians, with the range over "
        "repetitions in brackets.",
        _ceilings_table(figures["ceilings"]),
        "Training; rates are summed over seeds, and an update is one of all seeds at once. 'Acting' is a vector step "
        "without updates. 'Kernels' are those of an update with its share of its block (`kernels.py`). 'Unknown loops' "
        "are those whose iterations XLA does not know: a GPU's host waits for each.",
        _table(
            figures["training"],
            {
                "steps/s": lambda row: row["steps_per_second"],
                "updates/s": lambda row: row["updates_per_second"],
                "update (us)": lambda row: _scaled(row["update_seconds"], 1e6),
                "kernels": lambda row: number(row["kernels"]),
                "us per kernel": lambda row: number(1e6 * row["update_seconds"].median / row["kernels"]),
                "acting (us)": lambda row: _scaled(row["acting_seconds"], 1e6),
                "compilation (s)": lambda row: number(row["compile_seconds"]),
                "peak memory (MiB)": lambda row: number(row["peak_memory_mib"]),
                "state updated in place (MiB)": lambda row: number(row["state_mib"]),
                "temporaries (MiB)": lambda row: number(row["temporaries_mib"]),
                "unknown loops": lambda row: row["unknown_loops"],
            },
        ),
        "One update, counted from a program of its own, and its shares of the rates above, by the time of an update in "
        "training. Operations are XLA's count before optimisation, of which the products are counted from the shapes; "
        "bytes are what the compiled kernels read and write; more than the bandwidth means that they stay in a cache.",
        _table(
            figures["update"],
            {
                "million operations": lambda row: number(row["operations"] / 1e6),
                "of which products": lambda row: number(row["product_operations"] / 1e6),
                "MB": lambda row: number(row["bytes"] / 1e6),
                "share of the product rate": lambda row: f"{row['share_of_products']:.2%}",
                "share of the bandwidth": lambda row: f"{row['share_of_bandwidth']:.2%}",
            },
        ),
        "The environment alone: random starts, auto-reset, observations, random actions.",
        _table(figures["environment"], {"steps/s": lambda row: row["steps_per_second"]}),
    ]
    return "\n\n".join(parts)


def _ceilings_table(ceilings: dict[str, Any]) -> str:
    if "error" in ceilings:
        return f"The device's rates: {ceilings['error']}"
    body = [
        [
            f"float32 product, {precision} precision, side {found['side']} (GFLOP/s)",
            _scaled(found["per_second"], 1e-9),
        ]
        for precision in ("default", "highest")
        for found in [ceilings[f"product_{precision}"]]
    ]
    copy = ceilings["copy"]
    body.append([f"copy of {copy['mib']:.3g} MiB, read and written (GB/s)", _scaled(copy["per_second"], 1e-9)])
    for name in ("known", "unknown"):
        label = f"iteration of a loop around a 64 x 64 product, {name} trip count (us)"
        body.append([label, _scaled(ceilings[f"loop_{name}"], 1e6)])
    return table(["the device alone", "median (range)"], body)


def _table(rows: dict[str, Any], columns: dict[str, Callable[[dict[str, Any]], Any]]) -> str:
    """Format rows by name. A row that failed has its error in place of the first column, a missing figure a dash."""
    body = []
    for name, row in rows.items():
        label = f"{int(name):,} environments" if name.isdigit() else name
        if "error" in row:
            body.append([label, row["error"].replace("|", "/"), *[""] * (len(columns) - 1)])
            continue
        cells = []
        for column in columns.values():
            try:
                cells.append(column(row))
            except KeyError:  # a share of something that was not measured
                cells.append("-")
        body.append([label, *cells])
    return table(["", *columns], body)


def _scaled(figure: Spread, factor: float) -> Spread:
    return Spread(*(factor * value for value in figure))


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Plot the environment's steps/s over environments, and updates/s over seeds of one program."""
    environments = {int(name): row for name, row in figures["environment"].items() if "error" not in row}
    by_seeds = {
        row["seeds"]: row
        for name, row in figures["training"].items()
        if "error" not in row and name.startswith(next(iter(figures["training"])))
    }
    panels = []
    for title, x_label, y_label, rows, figure in (
        ("Environment alone", "environments", "environment steps/s", environments, "steps_per_second"),
        ("Training, default", "seeds in one program", "updates/s, all seeds", by_seeds, "updates_per_second"),
    ):
        if rows:
            rates = [row[figure] for row in rows.values()]
            medians = [rate.median for rate in rates]
            grows = max(medians) > 10 * min(medians)
            panels.append(Panel(title, x_label, y_label, list(rows), rates, log=grows))
    if panels:
        draw(path, figures["device"]["kind"], [panels])
