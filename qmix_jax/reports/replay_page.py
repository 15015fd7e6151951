"""The replay page: one HTML file that needs nothing else, made of a template, its style, its script and the data."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any


def write_page(path: Path, data: dict[str, Any]) -> None:
    """Write the page that shows `data` (see `replay_data.page_data`)."""
    path.write_text(make_page(data), encoding="utf-8")


def make_page(data: dict[str, Any]) -> str:
    """The page's HTML."""
    # Names in the data may hold anything: without < no script can end early, and text never becomes a tag.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _part("replay_page.html")
    for mark, part in {"style": _part("replay_page.css"), "script": _part("replay_page.js"), "data": text}.items():
        before, _, after = page.partition(f"{{{{{mark}}}}}")
        page = before + part + after
    return page


def _part(name: str) -> str:
    return files("qmix_jax.reports").joinpath(name).read_text(encoding="utf-8")
