"""The replay page: one self-contained HTML file of a template, its style, its script and the data."""

import json
from pathlib import Path
from typing import Any

from qmix_jax.reports.page import fill_template, package_text


def write_page(path: Path, data: dict[str, Any]) -> None:
    """Write the page that shows `data` (see `replay_data.page_data`)."""
    path.write_text(make_page(data), encoding="utf-8")


def make_page(data: dict[str, Any]) -> str:
    """Return the page's HTML."""
    # Names in the data may hold anything: without < they cannot end the script element or become tags.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    script = package_text("replay_page.js") + package_text(f"replay_{data['board']['kind']}.js")
    style = package_text("page.css") + package_text("replay_page.css")
    return fill_template("replay_page.html", {"style": style, "data": text, "script": script})
