"""Ahead-of-time compilation of a trainer's programs, cached on disk for the next run."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmix_jax.storage.machine_memory import available_memory
from qmix_jax.training.population import Population
from qmix_jax.training.trainer import Trainer
from qmix_jax.types import Array, Evaluation, LearnerState, Params, Progression

_MOST_FAULTS = 4  # arrays listed in an error


class Programs(NamedTuple):
    """Compiled functions of a run, or of a population, bound to their keys and settings."""

    init: Any  # () -> TrainState
    train_chunk: Any  # TrainState (donated) -> (TrainState, EpisodeLog)
    evaluate: Any  # Params -> Evaluation
    snapshot: Any  # LearnerState -> Progression
    shardings: Any  # TrainState of shardings


def compile_programs(trainer: Trainer | Population, key: Array, evaluation_key: Array, *settings: Any) -> Programs:
    """Compile all functions of a trainer or a population, and bind their arguments.

    One after another: XLA already uses all cores for one compilation, so compiling in parallel saves no time and takes
    50% more memory. The evaluation, which is needed last, is compiled while training begins.

    Args:
        trainer: what to compile.
        key: key[] that `init` gets, key[M] for a population.
        evaluation_key: as `key`, for every evaluation.
        settings: what a population's functions get first. Populations of equal shape share the compiled code.
    """
    init = jax.jit(trainer.init).lower(*settings, key).compile(run_once_options())
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(trainer.init, *settings, key),
        init.output_shardings,
    )
    options = repeated_options(num_devices=len(jax.tree.leaves(init.output_shardings)[0].device_set))
    donate = donated(len(settings))
    chunk = jax.jit(trainer.train_chunk, donate_argnums=donate).lower(*settings, state).compile(options)
    chunk_settings = settings
    if settings:
        *sharded, _ = chunk.input_shardings[0]
        chunk_settings = jax.device_put(settings, tuple(sharded))
    lowered = jax.jit(trainer.evaluate).lower(*settings, state.learner.params, evaluation_key)
    background = ThreadPoolExecutor(1)
    evaluation = background.submit(_compile_evaluation, lowered, settings, evaluation_key)
    background.shutdown(wait=False)
    shardings = init.output_shardings
    init, chunk = map(naming_faults, (init, chunk))
    return Programs(
        init=lambda: init(*settings, jax.random.clone(key)),
        train_chunk=lambda state: chunk(*chunk_settings, state),
        evaluate=lambda params: evaluation.result()(params),
        snapshot=jax.jit(snapshot).lower(state.learner).compile(),
        shardings=shardings,
    )


def _compile_evaluation(lowered: Any, settings: tuple[Any, ...], key: Array) -> Callable[[Params], Evaluation]:
    """Compile the evaluation, and bind its settings and key."""
    compiled = lowered.compile(repeated_options())
    if settings:
        *sharded, _, sharded_key = compiled.input_shardings[0]
        settings, key = jax.device_put((settings, key), (tuple(sharded), sharded_key))
    evaluate = naming_faults(compiled)
    return lambda params: evaluate(*settings, params, jax.random.clone(key))


def repeated_options(num_devices: int = 1) -> dict[str, Any]:
    """Return XLA's compiler options for programs of a run over `num_devices` devices that are executed repeatedly.

    On a CPU, LLVM's higher levels of optimisation take up to a half longer and gain nothing. If CPU cores act as
    devices, multi-threaded kernels only wait for each other, and those of XLA's newer code generator do not scale to
    two devices; without both, such a run makes 1.3 to 1.7 times as many updates per second.
    """
    if jax.default_backend() != "cpu":
        return {}
    level = 0 if jax.config.values["jax_disable_most_optimizations"] else 1
    alone = {"xla_cpu_multi_thread_eigen": False, "xla_cpu_use_fusion_emitters": False}
    return {"xla_backend_optimization_level": level, **(alone if num_devices > 1 else {})}


def run_once_options() -> dict[str, Any]:
    """Return XLA's compiler options for programs whose compilation takes longer than their only execution.

    On a CPU, they compile in less than half of the time.
    """
    if jax.default_backend() != "cpu":
        return {}
    return {"xla_backend_optimization_level": 0}


def is_debugged() -> bool:
    """Whether JAX checks all results for NaN or infinity."""
    return any(getattr(jax.config, name) for name in ("jax_debug_nans", "jax_debug_infs"))


def donated(argument: int) -> tuple[int, ...]:
    """Return the argument to donate; none under NaN checks, which rerun the program on the same arguments."""
    return () if is_debugged() else (argument,)


def naming_faults(program: Any) -> Any:
    """Wrap a program so that errors under JAX_DEBUG_NANS and JAX_DEBUG_INFS name the arrays; JAX's do not."""
    if not is_debugged():
        return program

    def call(*arguments: Any) -> Any:
        try:
            return program(*arguments)
        except Exception as error:
            if type(error).__name__ != "InternalFloatingPointError":  # it has no public name
                raise
        with jax.debug_nans(False), jax.debug_infs(False):
            results = program(*arguments)
        found = ", ".join(_faults(results)[:_MOST_FAULTS])
        raise FloatingPointError(f"a compiled program's result holds {found}")

    return call


def _faults(results: Any) -> list[str]:
    """List the paths of non-finite arrays, with their non-finite values."""
    faults = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(results):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            array = np.asarray(leaf)
            bad = np.unique(array[~np.isfinite(array)])
            if len(bad):
                name = jax.tree_util.keystr(path, simple=True, separator="/").lstrip("0123456789/")
                faults.append(f"{' and '.join(map(str, bad))} in {name}")
    return faults


def snapshot(learner: LearnerState) -> Progression:
    """Copy what the host reads of a learner."""
    return jax.tree.map(jnp.copy, Progression(learner.params, learner.updates, learner.faults))


def device_memory() -> int:
    """Return the first device's memory in bytes; for CPU devices, which share it, this process's memory."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics["bytes_limit"] if "bytes_limit" in statistics else available_memory()


def sharing_devices() -> int:
    """Return the number of this process's devices that share `device_memory`."""
    return jax.local_device_count() if jax.default_backend() == "cpu" else 1


def provide_cpu_devices(count: int) -> None:
    """Split the CPU into `count` devices. Accelerators are not affected.

    For programs, not libraries: it changes JAX's global configuration, and must run before JAX's backend starts.
    """
    if count > 1:
        jax.config.update("jax_num_cpu_devices", count)


def enable_compilation_cache() -> None:
    """Cache compiled programs in the user's cache folder, or in JAX_COMPILATION_CACHE_DIR.

    For programs, not libraries: it changes JAX's global configuration.
    """
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # Faster compilations are not worth a file.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    wanted = jax.config.values["jax_compilation_cache_dir"]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = wanted or os.path.join(caches, "qmix-jax")
    try:
        if "://" not in folder:  # JAX also takes a bucket's address
            os.makedirs(folder, exist_ok=True)
            os.close(os.open(os.path.join(folder, ".writable"), os.O_CREAT | os.O_WRONLY))
    except OSError as error:  # only costs time
        if wanted is not None:
            print(f"warning: JAX_COMPILATION_CACHE_DIR={wanted}: {error.strerror}; nothing is cached", file=sys.stderr)
        folder = None
    jax.config.update("jax_compilation_cache_dir", folder)
