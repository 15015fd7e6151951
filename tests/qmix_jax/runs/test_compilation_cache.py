"""Where programs keep what they compiled, and what the user's own environment variables say about it."""

import jax
import pytest

from qmix_jax.runs.compilation import enable_compilation_cache

FOLDER, LEAST = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture(autouse=True)
def _restored():
    before = {name: jax.config.values[name] for name in (FOLDER, LEAST)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_users_cache_folder_is_made_and_only_slow_programs_go_there(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(LEAST.upper(), raising=False)
    jax.config.update(FOLDER, None)
    enable_compilation_cache()
    assert jax.config.values[FOLDER] == str(tmp_path / "qmix-jax")
    assert (tmp_path / "qmix-jax").is_dir()
    assert jax.config.values[LEAST] == 0.5


def test_variables_of_the_users_own_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(LEAST.upper(), "0.25")
    jax.config.update(FOLDER, str(tmp_path / "own"))
    jax.config.update(LEAST, 0.25)  # as JAX reads it when it is imported
    enable_compilation_cache()
    assert jax.config.values[FOLDER] == str(tmp_path / "own")
    assert jax.config.values[LEAST] == 0.25
    assert not (tmp_path / "qmix-jax").exists()
