"""Settings that a command inherits from its shell: each run leaves a whole result, or is refused in one line.

Variables that do not touch each other are set together, so that few processes cover them all.
"""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit, small_config
from probes import ForbiddenFruit

from qmix_jax import Config, ConfigError, make_train, run
from qmix_jax.errors import RunError, reporting
from qmix_jax.runs.compilation import naming_faults
from qmix_jax.runs.shell import check_settings
from qmix_jax.training.pinning import seed_key

ROOT = Path(__file__).parents[3]
FLAGS = (
    "--num_envs 2 --total_episodes 4 --max_steps_per_ep 10 --min_buffer_size 8 --batch_size 4 --hidden_sizes 8 "
    "--mixing_size 4 --hypernet_size 4 --eval_episodes 2 --eval_interval 20"
).split()
LOGS = ("training_log.csv", "evaluation_log.csv", "diagnostics_log.csv")

# Name: variables, and words for Python. Of runs in EXACT every number is that of a run without them.
EXACT = {
    "numbers": (
        {
            "JAX_ENABLE_X64": "1",
            "JAX_DEFAULT_PRNG_IMPL": "rbg",
            "JAX_THREEFRY_PARTITIONABLE": "0",
            "JAX_RANDOM_SEED_OFFSET": "7",
            "JAX_ENABLE_CUSTOM_PRNG": "1",
            "JAX_TRANSFER_GUARD": "disallow",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        },
        [],
    ),
    "debugging": (
        {
            "JAX_DEBUG_NANS": "1",
            "JAX_DEBUG_INFS": "1",
            "MPLBACKEND": "nonsense",
        },
        [],
    ),
    "strict and talkative": (
        {
            "JAX_NUMPY_RANK_PROMOTION": "raise",
            "JAX_NUMPY_DTYPE_PROMOTION": "strict",
            "JAX_DEBUG_KEY_REUSE": "1",
            "JAX_CHECK_TRACER_LEAKS": "1",
            "JAX_LEGACY_PRNG_KEY": "error",
            "JAX_THREAD_GUARD": "0",
            "PYTHONWARNINGS": "error",
            "MPLBACKEND": "TkAgg",
            "JAX_LOG_COMPILES": "1",
            "JAX_EXPLAIN_CACHE_MISSES": "1",
            "JAX_LOGGING_LEVEL": "DEBUG",
            "JAX_TRACEBACK_FILTERING": "off",
            "JAX_DISTRIBUTED_DEBUG": "1",
            "TF_CPP_MIN_LOG_LEVEL": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONIOENCODING": "ascii",
            "LC_ALL": "C",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "COLUMNS": "20",
        },
        ["-OO"],
    ),
}
# Without any folder to write to but the run's, and with XLA's options, which make other programs.
OTHER = {
    "homeless": (
        {
            "HOME": None,
            "XDG_CACHE_HOME": None,
            "MPLCONFIGDIR": "/dev/null/matplotlib",
            "JAX_COMPILATION_CACHE_DIR": "/dev/null/jax",
            "JAX_RAISE_PERSISTENT_CACHE_ERRORS": "1",
            "JAX_NUM_CPU_DEVICES": "3",
            "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
            "JAX_SOFTMAX_CUSTOM_JVP": "0",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        },
        [],
    ),
}
REFUSED = {
    ("JAX_DISABLE_JIT", "1"): "JAX_DISABLE_JIT: must not be set",
    ("JAX_ERROR_CHECKING_BEHAVIOR_NAN", "raise"): "JAX_ERROR_CHECKING_BEHAVIOR_NAN: must be ignore",
    ("JAX_ENABLE_X64", "nonsense"): "(?i)JAX_ENABLE_X64",
    ("JAX_NUM_CPU_DEVICES", "many"): "(?i)JAX_NUM_CPU_DEVICES|many",
    ("JAX_PLATFORMS", "nonsense"): "JAX_PLATFORMS=nonsense",
    ("XLA_FLAGS", "--xla_no_such_flag=1"): "XLA_FLAGS=--xla_no_such_flag=1: .*Unknown flag",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shell")


@pytest.fixture(scope="module")
def train(folder):
    """Run `train.py` with variables (None: without it)."""

    def run(variables, *flags, words=(), **options):
        changed = {**os.environ, **variables}
        environment = {name: value for name, value in changed.items() if value is not None}
        command = [sys.executable, *words, str(ROOT / "train.py"), *flags]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, timeout=600, **options)

    return run


@pytest.fixture(scope="module")
def whole(folder, train):
    """The run that no variable touches."""
    assert train({}, *FLAGS, "--results_dir", "plain").returncode == 0
    return folder / "plain" / "run_1"


def assert_whole(done, run):
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert done.returncode == 0, err
    assert "Traceback" not in err
    assert "\nfinal policy: " in out
    assert out.splitlines()[-1].startswith("run directory: ")
    for name in ("training_plots.png", "diagnostics_plots.png", "models/final_model", "models/best_model", *LOGS):
        assert (run / name).exists(), name


@pytest.mark.parametrize("name", EXACT)
def test_numbers_are_those_of_a_run_without_the_variables(name, train, whole, folder):
    variables, words = EXACT[name]
    done = train(variables, *FLAGS, "--results_dir", name, words=words, stdin=subprocess.DEVNULL)
    run = folder / name / "run_1"
    assert_whole(done, run)
    assert [(run / log).read_text() for log in LOGS] == [(whole / log).read_text() for log in LOGS]


@pytest.mark.parametrize("name", OTHER)
def test_a_run_is_whole(name, train, folder):
    variables, words = OTHER[name]
    name = "Läufe"  # which LC_ALL=C cannot write
    done = train({**variables, "LC_ALL": "C"}, *FLAGS, "--results_dir", name, words=words)
    assert_whole(done, folder / name / "run_1")
    warnings = [line for line in done.stderr.decode().splitlines() if line.startswith("warning: JAX_COMPILATION_")]
    assert len(warnings) == 1


def test_another_shell_resumes_the_run(train, whole):
    variables, _ = EXACT["numbers"]
    done = train(variables, "--resume", str(whole), "--total_episodes", "8")
    assert_whole(done, whole)
    with (whole / "training_log.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8


@pytest.mark.parametrize(("variable", "value"), REFUSED)
def test_what_cannot_work_is_refused_in_one_line(variable, value, train, folder):
    done = train({variable: value}, *FLAGS, "--results_dir", "refused")
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert line.startswith("train.py: error: ")
    assert re.search(REFUSED[variable, value], line), line
    assert not (folder / "refused").exists()


def test_a_library_refuses_it_before_it_writes(tmp_path):
    with jax.disable_jit(), pytest.raises(ConfigError, match="JAX_DISABLE_JIT: must not be set"):
        run(Config(results_dir=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["jax_no_tracing", "jax_no_execution"])
def test_nothing_is_trained_where_nothing_is_run(name):
    jax.config.update(name, True)
    try:
        with pytest.raises(ConfigError, match=f"{name.upper()}: must not be set"):
            check_settings()
    finally:
        jax.config.update(name, False)


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1])
def test_keys_are_those_of_jax_as_it_comes(seed):
    numbers = jax.random.key_data(jax.random.key(seed))
    with jax.default_prng_impl("rbg"), jax.enable_x64(True):
        np.testing.assert_array_equal(jax.random.key_data(seed_key(seed)), numbers)
        assert seed_key(seed).dtype == jax.random.key(0, impl="threefry2x32").dtype


def test_a_program_is_the_same_in_64_bits_and_without_nan():
    """The whole of `make_train`: metrics without a value are NaN, or 0 where JAX refuses NaN."""
    config = small_config(
        num_envs=2, total_steps=40, buffer_capacity=40, min_buffer_size=24, batch_size=2, eval_interval=20
    )

    def train():
        return quick_jit(make_train(config, ForbiddenFruit()))(seed_key(0))

    state, metrics = train()
    with jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.debug_nans(True), jax.debug_infs(True):
        in_doubles = train()
    assert np.isnan(metrics.updates.loss[0])  # replay was still filling
    assert np.isnan(metrics.evaluation.optimality).all()
    without_nan = jax.tree.map(np.nan_to_num, metrics)
    for found, expected in zip(jax.tree.leaves(in_doubles), jax.tree.leaves((state, without_nan)), strict=True):
        assert found.dtype == expected.dtype
        if not jax.dtypes.issubdtype(found.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(found, expected)


def test_arrays_that_are_not_finite_are_named(tmp_path, capsys):
    zeros, told = jnp.zeros(2), "JAX_DEBUG_NANS or JAX_DEBUG_INFS: a compiled program's result holds nan in rewards"
    program = jax.jit(lambda x: {"rewards": x / x, "steps": x}).lower(zeros).compile()
    with (
        jax.debug_nans(True),
        pytest.raises(RunError, match=told),
        reporting(tmp_path, "run"),
    ):
        naming_faults(program)(zeros)
    assert naming_faults(program) is program
