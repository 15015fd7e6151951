"""Strictness for every test: no silent rank or dtype promotion, no key used twice, no warning ignored.

All processes of a session, pytest's workers and what tests start, share their compiled programs. A session starts
without any, so that no test passes because of a program that an earlier version of the code left behind.
"""

import atexit
import os
import shutil
import tempfile

import jax
import jaxlib.xla_client
import pytest

# Files that start processes by the dozen, kill them or measure how soon they answer: one after another, in one worker.
PROCESSES = {
    "test_compare.py",
    "test_directory.py",
    "test_distributed.py",
    "test_lock.py",
    "test_own_environment_runs.py",
    "test_resume.py",
    "test_signals.py",
    "test_stopped_processes.py",
    "test_sweep.py",
}

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker inherits its session's
    folder = tempfile.mkdtemp(prefix="qmix-jax-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    # Nearly all programs of tests run for milliseconds and compile for seconds: XLA is told to hurry.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

# A plugin of pytest may have imported JAX before it could read these.
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_disable_most_optimizations", True)

# XLA's newer code generator for CPUs takes twice the older one's time. XLA reads its flags once; processes that tests
# start have them not, and compile as users' do but for the optimisations.
with pytest.MonkeyPatch.context() as patch:
    hurry = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    patch.setenv("XLA_FLAGS", hurry, prepend=" ")
    jaxlib.xla_client.CompileOptions()

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_num_cpu_devices", 4)  # to check runs over several devices; others use the first


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run the tests of a file in one worker, which makes the file's fixtures and programs once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "processes" if os.path.basename(file) in PROCESSES else file

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Compile with all optimisations what is slow: training for minutes is worth them."""
    if item.get_closest_marker("slow") is None:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        jax.config.update("jax_disable_most_optimizations", False)
        try:
            return (yield)
        finally:
            jax.config.update("jax_disable_most_optimizations", True)
