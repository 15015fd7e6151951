"""Notebooks, README and documentation use public names only: other modules may move."""

import ast
import json
import re
from pathlib import Path

import pytest

import env_jax.gridworld
import qmix_jax

ROOT = Path(__file__).parents[2]
PUBLIC = {"qmix_jax": qmix_jax, "env_jax": env_jax, "env_jax.gridworld": env_jax.gridworld}
ADAPTERS = {f"env_jax.adapters.{path.stem}" for path in (ROOT / "env_jax" / "adapters").glob("[a-z]*.py")}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]


def code_of(page):
    """Return the Python code of a notebook's cells, or of a page's blocks."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return [re.sub(r"^( *)[%!].*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE) for cell in cells]


def private_names(code):
    """Return what the code takes from our packages that is not public."""
    used = []  # (module, name), the name None where the module itself is imported
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            used += [(name.name, None) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            used += [(node.module, name.name) for name in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in PUBLIC:
            used.append((node.value.id, node.attr))
    return [(module, name) for module, name in used if module.split(".")[0] in PUBLIC and not is_public(module, name)]


def is_public(module, name):
    if module in ADAPTERS:
        return name is None or not name.startswith("_")
    return module in PUBLIC and (name is None or name in PUBLIC[module].__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_it_uses_public_names_only(page):
    assert not [name for code in code_of(page) for name in private_names(code)]


def test_other_names_would_be_found():
    lines = [
        "import qmix_jax.types",
        "from qmix_jax.config import TRACEABLE",
        "from env_jax.gridworld import cells",
        "from env_jax.adapters.pettingzoo import _private",
        "import qmix_jax; qmix_jax.config",
    ]
    assert all(private_names(line) for line in lines)
    public = "import jax, env_jax.adapters.jaxmarl; from qmix_jax import run; from env_jax.gridworld import STAY"
    assert not private_names(public)
