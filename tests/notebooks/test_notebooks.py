"""The notebooks as they ship: badge, install cell, one parameters cell, outputs, size, no trace of the machine.

That they run is `make notebooks`.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from set_repository import main, set_repository

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells_of(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def source_of(cell):
    return "".join(cell["source"])


def test_there_are_five():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_with_a_badge_and_the_same_install_cell(notebook):
    badge, install = cells_of(notebook)[:2]
    assert source_of(badge).startswith("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](")
    assert source_of(install) == source_of(cells_of(NOTEBOOKS[0])[1])
    assert '"qmix_jax") is None' in source_of(install)
    assert not re.search(r"jax\w*[=<>]=\s*\d", source_of(install))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_cell_has_the_parameters(notebook):
    tagged = [cell for cell in cells_of(notebook) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert "QMIX_NOTEBOOK_SMALL" in source_of(tagged[0])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_ships_with_its_outputs(notebook):
    code = [cell for cell in cells_of(notebook) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output["output_type"] != "error" and "Warning" not in json.dumps(output) for output in outputs)
    assert notebook.stat().st_size < 1_000_000


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_says_nothing_of_the_machine(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|home|root|work|usr|content)/|site-packages|pypi|index-url", text)


def test_a_published_repository_is_named_everywhere(tmp_path):
    notebook = tmp_path / NOTEBOOKS[0].name
    shutil.copy(NOTEBOOKS[0], notebook)
    before = cells_of(notebook)
    for _ in range(2):  # once more changes nothing
        set_repository(notebook, "https://github.com/some-one/a.name")
        badge, install, *others = cells_of(notebook)
        colab = "https://colab.research.google.com/github/some-one/a.name/blob/main/notebooks/01_quickstart.ipynb"
        assert f"({colab})" in source_of(badge)
        assert 'SOURCE = "git+https://github.com/some-one/a.name"' in source_of(install)
        assert others == before[2:]


def test_an_address_that_is_none_is_refused(capsys):
    before = [path.read_bytes() for path in NOTEBOOKS]
    assert main(["github.com/a/b"]) == 2
    assert "must be https://github.com/OWNER/NAME" in capsys.readouterr().err
    assert [path.read_bytes() for path in NOTEBOOKS] == before
