"""The staircase of folders: environments know nothing of learning, traced code nothing of files, plots, progress."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import qmix_jax

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qmix_jax"
# What a module may import of this package: its own floor's and those below. Whatever is named nowhere is on top.
FLOORS = (
    {"output", "errors", "settings", "config", "presets", "upgrades", "types", "cli"},
    {"networks"},
    {"learning"},
    {"training"},
    {"storage"},
    {"runs"},
    {"analysis", "interchange"},
    {"reports"},
    {"experiments"},
)
TRACED_FOLDERS = ("networks", "learning", "training")
FACTORY = PACKAGE / "training" / "environments.py"  # names environments, so that nothing else has to
DOORS = ("__main__", "train", "evaluate", "report", "export", "sweep", "compare")
HOST_LIBRARIES = {"json", "matplotlib", "orbax", "os", "pathlib", "tqdm"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
TRACED = [path for path in MODULES if path.parent.name in TRACED_FOLDERS]
EXCUSED = {}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def floor_of(name):
    """The floor of a module by its full name."""
    top = name.split(".")[1]
    return next((number for number, names in enumerate(FLOORS) if top in names), len(FLOORS))


def imports(path):
    """Full names of all that a module imports, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_imports(path):
    """Modules of this package that a module imports, late ones too."""
    known = {name_of(module) for module in MODULES}
    return imports(path) & known


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_upwards(path):
    above = {name for name in own_imports(path) if floor_of(name) > floor_of(name_of(path))}
    assert not {name for name in above if (path, name) not in EXCUSED}


def test_no_module_imports_itself_by_way_of_others():
    graph = {name_of(path): own_imports(path) for path in MODULES}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", sorted((ROOT / "env_jax").rglob("*.py")), ids=lambda path: path.stem)
def test_environments_do_not_know_their_learners(path):
    assert not {name for name in imports(path) if name.split(".")[0] == "qmix_jax"}


@pytest.mark.parametrize("path", TRACED, ids=name_of)
def test_traced_code_imports_no_host_library(path):
    assert not {name.split(".")[0] for name in imports(path)} & HOST_LIBRARIES


@pytest.mark.parametrize("path", [path for path in TRACED if path != FACTORY], ids=name_of)
def test_traced_code_names_no_environment(path):
    assert {name for name in imports(path) if name.startswith("env_jax.")} <= {
        f"env_jax.types{name}" for name in ("", ".Environment", ".EnvSpec", ".TimeStep")
    }


def test_refusing_a_flag_does_not_wait_for_jax():
    modules = ", ".join(f"qmix_jax.{door}" for door in DOORS)
    code = f"import {modules}, sys; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_public_name_exists():
    assert all(getattr(qmix_jax, name) is not None for name in qmix_jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        qmix_jax.nothing  # noqa: B018
