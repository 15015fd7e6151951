"""A trainer's programs, compiled before the first step and kept on disk for the next run."""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmix_jax.machine_memory import available_memory
from qmix_jax.trainer import Trainer
from qmix_jax.types import Array, LearnerState, Progression


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
    return Programs(
        init=init,
        train_chunk=jax.jit(trainer.train_chunk, donate_argnums=0).lower(state).compile(options),
        evaluate=jax.jit(trainer.evaluate).lower(state.learner.params, key).compile(),
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
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(caches, "qmix-jax")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return  # a read-only home only costs time
    jax.config.update("jax_compilation_cache_dir", folder)
