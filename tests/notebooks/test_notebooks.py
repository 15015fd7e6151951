"""The notebooks as they ship: badge, install cell, one parameters cell, outputs, size, no trace of the machine.

That they run is `make notebooks`.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from set_source import main, set_source

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

WHEEL = "https://files.org/a/qmix_jax-0.1.0-py3-none-any.whl"


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


def outputs_of(notebook):
    return [output for cell in cells_of(notebook) for output in cell.get("outputs", [])]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_says_nothing_of_the_machine(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|home|root|work|usr|content)/|site-packages|pypi|index-url", text)


@pytest.mark.parametrize(
    ("address", "source", "link"),
    [
        (
            "https://github.com/some-one/a.name",
            "git+https://github.com/some-one/a.name",
            "github/some-one/a.name/blob/main/notebooks/01_quickstart.ipynb",
        ),
        (
            "https://files.org/a/qmix_jax-0.1.0-py3-none-any.whl",
            "https://files.org/a/qmix_jax-0.1.0-py3-none-any.whl",
            "",
        ),
    ],
)
def test_an_address_is_set_in_the_badge_and_in_the_install_cell(tmp_path, address, source, link):
    notebook = tmp_path / NOTEBOOKS[0].name
    shutil.copy(NOTEBOOKS[0], notebook)
    before = cells_of(notebook)
    for _ in range(2):  # once more changes nothing
        set_source(notebook, address)
        badge, install, *others = cells_of(notebook)
        assert f"](https://colab.research.google.com/{link})" in source_of(badge)
        assert f'SOURCE = "{source}"' in source_of(install)
        assert others == before[2:]


def test_an_address_that_is_none_is_refused(capsys):
    before = [path.read_bytes() for path in NOTEBOOKS]
    for address in ("github.com/a/b", "https://files.org/other-0.1.0-py3-none-any.whl"):
        assert main([address]) == 2
        assert f"{address}: must be https://github.com/OWNER/NAME, or the https address" in capsys.readouterr().err
    assert [path.read_bytes() for path in NOTEBOOKS] == before


def install(folder, monkeypatch, source=""):
    """Run the install cell in `folder`, as if qmix-jax were missing. Return what it would install."""
    code = source_of(cells_of(NOTEBOOKS[0])[1]).replace('SOURCE = ""', f'SOURCE = "{source}"')
    installed = []
    code = re.sub(r"%pip install --quiet \{source\}.*", "installed.append(source)", code)
    monkeypatch.chdir(folder)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        exec(code, {"installed": installed})
    return installed


def test_it_installs_what_lies_nearby(tmp_path, monkeypatch):
    assert install(FOLDER, monkeypatch) == [".."]
    assert install(tmp_path, monkeypatch, "git+https://github.com/a/b") == ["git+https://github.com/a/b"]
    with pytest.raises(SystemExit, match="put its wheel beside this notebook, or its address into SOURCE"):
        install(tmp_path, monkeypatch)
    for version in ("0.1.0", "0.2.0"):
        (tmp_path / f"qmix_jax-{version}-py3-none-any.whl").touch()
    assert install(tmp_path, monkeypatch) == ["qmix_jax-0.2.0-py3-none-any.whl"]


def test_pictures_and_the_animation_outlive_nbconvert():
    """Its HTML knows PNG and HTML, but not GIF; and what went to standard error is red there."""
    for notebook in NOTEBOOKS:
        for output in outputs_of(notebook):
            assert "image/gif" not in output.get("data", {})
            assert output.get("name") != "stderr"
    html = ["".join(output["data"].get("text/html", "")) for output in outputs_of(NOTEBOOKS[0]) if "data" in output]
    assert sum('src="data:image/gif;base64,' in text for text in html) == 1
