"""A trainer's programs, compiled before the first step and kept on disk for the next run."""

import os
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmix_jax.storage.machine_memory import available_memory
from qmix_jax.training.trainer import Trainer
from qmix_jax.types import Array, LearnerState, Progression

_MOST_FAULTS = 4  # arrays that an error names


class Programs(NamedTuple):
    """A trainer's compiled functions."""

    init: Any  # key -> TrainState
    train_chunk: Any  # TrainState (donated) -> (TrainState, EpisodeLog)
    evaluate: Any  # (Params, key) -> Evaluation
    snapshot: Any  # LearnerState -> Progression
    shardings: Any  # TrainState of where each array lies


def compile_programs(trainer: Trainer, key: Array) -> Programs:
    """Compile all of a trainer's functions, one after another.

    XLA already spreads one compilation over the cores; several at once save no time and need half as much memory again.
    """
    init = jax.jit(trainer.init).lower(key).compile()
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(trainer.init, key),
        init.output_shardings,
    )
    options = chunk_options(num_devices=len(jax.tree.leaves(init.output_shardings)[0].device_set))
    chunk = jax.jit(trainer.train_chunk, donate_argnums=donated(0)).lower(state).compile(options)
    evaluate = jax.jit(trainer.evaluate).lower(state.learner.params, key).compile()
    return Programs(
        init=naming_faults(init),
        train_chunk=naming_faults(chunk),
        evaluate=naming_faults(evaluate),
        snapshot=jax.jit(snapshot).lower(state.learner).compile(),
        shardings=init.output_shardings,
    )


def chunk_options(num_devices: int) -> dict[str, Any]:
    """XLA's options for the training chunk of a run over `num_devices` devices.

    Where a CPU's cores act as devices, each core has its own device to work for, and kernels that split themselves over
    the cores only wait for each other. Without them, and without XLA's newer code generator, whose kernels do not scale
    to two devices, such a run makes 1.3 to 1.7 times as many updates a second.
    """
    if num_devices == 1 or jax.default_backend() != "cpu":
        return {}
    return {"xla_cpu_multi_thread_eigen": False, "xla_cpu_use_fusion_emitters": False}


def is_debugged() -> bool:
    """Whether JAX checks every result for NaN or infinity."""
    return any(getattr(jax.config, name) for name in ("jax_debug_nans", "jax_debug_infs"))


def donated(argument: int) -> tuple[int, ...]:
    """The argument, whose memory a program may take; none where a faulty result is to be looked at once more."""
    return () if is_debugged() else (argument,)


def naming_faults(program: Any) -> Any:
    """A compiled program whose error under JAX_DEBUG_NANS and JAX_DEBUG_INFS names the arrays: JAX's own does not."""
    if not is_debugged():
        return program

    def call(*arguments: Any) -> Any:
        try:
            return program(*arguments)
        except Exception as error:
            if type(error).__name__ != "InternalFloatingPointError":  # which no public name stands for
                raise
        with jax.debug_nans(False), jax.debug_infs(False):
            results = program(*arguments)
        found = ", ".join(_faults(results)[:_MOST_FAULTS])
        raise FloatingPointError(f"a compiled program's result holds {found}")

    return call


def _faults(results: Any) -> list[str]:
    """Paths of arrays that are not finite, with what they hold."""
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
    """What the host wants to know of a learner, as copies."""
    return jax.tree.map(jnp.copy, Progression(learner.params, learner.updates, learner.faults))


def device_memory() -> int:
    """Bytes that the first device has; of a CPU, whose devices share them, what this process may have."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics["bytes_limit"] if "bytes_limit" in statistics else available_memory()


def sharing_devices() -> int:
    """How many of this process's devices share what `device_memory` says."""
    return jax.local_device_count() if jax.default_backend() == "cpu" else 1


def provide_cpu_devices(count: int) -> None:
    """Let a CPU's cores act as `count` devices. Accelerators are not touched.

    It changes JAX's global configuration, before JAX first looks for devices, so it is for programs to call.
    """
    if count > 1:
        jax.config.update("jax_num_cpu_devices", count)


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says.

    It changes JAX's global configuration, so it is for programs to call, not for libraries.
    """
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # Programs that compile faster than this are not worth a file.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    wanted = jax.config.values["jax_compilation_cache_dir"]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = wanted or os.path.join(caches, "qmix-jax")
    try:
        if "://" not in folder:  # JAX also takes a bucket's address
            os.makedirs(folder, exist_ok=True)
            os.close(os.open(os.path.join(folder, ".writable"), os.O_CREAT | os.O_WRONLY))
    except OSError as error:  # which only costs time
        if wanted is not None:
            print(f"warning: JAX_COMPILATION_CACHE_DIR={wanted}: {error.strerror}; nothing is kept", file=sys.stderr)
        folder = None
    jax.config.update("jax_compilation_cache_dir", folder)
