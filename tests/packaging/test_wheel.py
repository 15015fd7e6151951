"""The wheel: what is in it, what building it leaves behind, and that it trains from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--num_envs=4", "--total_episodes=8", "--max_steps_per_ep=5", "--buffer_capacity=40", "--min_buffer_size=16"]
TINY += ["--batch_size=4", "--hidden_sizes=4", "--mixing_size=4", "--hypernet_size=4", "--report"]


def run(*words, folder):
    """Run a command outside the checkout, which it must not find by its environment either."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, words)), cwd=folder, env=inherited, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the checkout without what git ignores, and the folder of the distributions built from it."""
    copy, dist = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in ("env_jax", "qmix_jax"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, copy / name)
    before = listing(copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, copy, folder=dist)
    return copy, before, dist


@pytest.fixture(scope="module")
def wheel(built):
    (found,) = built[2].glob("*.whl")
    return found


def listing(folder):
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def new_environment(folder, *, sees_ours):
    """Return the Python of a new virtual environment; with `sees_ours` it finds the packages of this one."""
    venv.create(folder, with_pip=True)
    if sees_ours:
        own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        ours = [path for path in sys.path if path.endswith("-packages")]
        Path(own, "ours.pth").write_text("\n".join(ours) + "\n")
    return folder / "bin" / "python"


def test_building_leaves_nothing_beside_the_code(built):
    copy, before, dist = built
    assert listing(copy) == before
    assert {path.suffix for path in dist.iterdir()} == {".whl", ".gz"}


def test_the_distributions_pass_twines_check(built):
    folder = built[2]
    assert (
        run(sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir(), folder=folder).count("PASSED") == 2
    )


def test_the_wheel_trains_from_another_folder(wheel, tmp_path):
    python = new_environment(tmp_path / "venv", sees_ours=True)
    install(python, "--no-deps", "--no-index", "--ignore-installed", wheel)
    trains(python, tmp_path)


@pytest.mark.slow
def test_the_wheel_brings_all_that_training_needs(wheel, tmp_path):
    python = new_environment(tmp_path / "venv", sees_ours=False)
    install(python, wheel)
    trains(python, tmp_path)


def install(python, *words):
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words, folder=python.parent)


def trains(python, folder):
    """Train a tiny run with the command that the wheel installs, and write its report."""
    where = run(python, "-c", "import env_jax, qmix_jax; print(env_jax.__file__, qmix_jax.__file__)", folder=folder)
    assert where.count(str(folder / "venv")) == 2
    run(python.parent / "qmix-jax", "train", *TINY, folder=folder)
    made = folder / "results" / "run_1"
    assert (made / "models" / "final_model").is_dir()
    assert "<title>QMIX on GridWorld25v0</title>" in (made / "report.html").read_text(encoding="utf-8")
