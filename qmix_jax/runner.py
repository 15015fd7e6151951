"""One run, from a configuration to a complete run directory: the host's loop around the compiled trainer."""

import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax

from env_jax.types import Environment, EnvSpec
from qmix_jax.compilation import Programs, compile_programs
from qmix_jax.config import Config, ConfigError
from qmix_jax.environments import make_environment
from qmix_jax.evaluation import evaluate_baseline, evaluation_key, extra_names
from qmix_jax.hparams import describe_run, start_lines
from qmix_jax.recorder import Chunk, Recorder
from qmix_jax.replay import transition_bytes
from qmix_jax.run_directory import RunDirectory, create_run_directory
from qmix_jax.sharding import check_devices
from qmix_jax.trainer import make_trainer
from qmix_jax.types import Evaluation, Params


class RunResult(NamedTuple):
    """What a run leaves in memory."""

    directory: Path
    evaluation: Evaluation  # of the final policy
    params: Params


def run(config: Config) -> RunResult:
    """Train as `config` says and leave a complete run directory, which the last line printed names.

    Raises:
        ConfigError: the run directory cannot be made, the replay does not fit in memory, or devices are missing.
    """
    environment = make_environment(config)
    check_devices(config.num_devices)
    _check_memory(config, environment.spec)
    directory = create_run_directory(config.results_dir)
    hparams = describe_run(config, environment.spec)
    directory.hparams.write_text(json.dumps(hparams, indent=2, allow_nan=False) + "\n")
    print(*start_lines(hparams), sep="\n", flush=True)
    try:
        result = _train(config, environment, directory)
        print(_summary(result.evaluation))
        return result
    finally:
        print(f"run directory: {directory.path}", flush=True)


def train_chunks(config: Config, programs: Programs) -> Iterator[Chunk]:
    """The run's chunks, each handed over when the next one already runs: host and device work side by side."""
    state = programs.init(jax.random.key(config.seed))
    pending = None
    for end in chunk_ends(config):
        state, log = programs.train_chunk(state)
        params, updates = programs.snapshot(state.learner)
        due = evaluation_due(config, end)
        evaluation = programs.evaluate(params, evaluation_key(jax.random.key(config.seed))) if due else None
        if pending is not None:
            yield pending
        pending = Chunk(end, log, params, updates, evaluation)
    assert pending is not None  # vector_steps is at least 1
    yield pending


def chunk_ends(config: Config) -> list[int]:
    """Environment steps by the end of each chunk."""
    ends = [index * config.chunk_length for index in range(1, config.num_chunks)] + [config.vector_steps]
    return [end * config.num_envs for end in ends]


def evaluation_due(config: Config, env_steps: int) -> bool:
    """Whether the chunk that ends at `env_steps` is the one nearest to a multiple of `eval_interval`, or the last."""
    chunk, interval = config.chunk_length * config.num_envs, config.eval_interval
    # A multiple within half a chunk: one in (env_steps - chunk / 2, env_steps + chunk / 2].
    nearest = (2 * env_steps + chunk) // (2 * interval) > (2 * env_steps - chunk) // (2 * interval)
    return nearest or env_steps == config.env_steps


def _train(config: Config, environment: Environment, directory: RunDirectory) -> RunResult:
    title = f"QMIX on {environment.spec.name} ({config.env_mode}), {config.num_envs} environments, seed {config.seed}"
    trainer = make_trainer(config, environment)
    with Recorder(config, directory, extra_names(environment)) as recorder, ThreadPoolExecutor(1) as background:
        programs = compile_programs(trainer, jax.random.key(config.seed))
        recorder.start()
        try:
            for index, chunk in enumerate(train_chunks(config, programs)):
                recorder.record(chunk)
                if index == 0:  # after the first progress, which it would delay
                    baseline = background.submit(_evaluate_baseline, config, environment)
        except KeyboardInterrupt:
            recorder.plot(title, None)
            raise
        recorder.finish(chunk.params)
        recorder.plot(title, baseline.result())
        assert recorder.evaluation is not None  # the last chunk is always evaluated
        return RunResult(directory.path, recorder.evaluation, jax.device_get(chunk.params))


def _summary(evaluation: Evaluation) -> str:
    optimality = "" if math.isnan(evaluation.optimality) else f" ({evaluation.optimality:z.1%} of the best possible)"
    return f"final policy: return {evaluation.mean_return:z.3f}{optimality}, solved {evaluation.solved:.0%}"


def _evaluate_baseline(config: Config, environment: Environment) -> Evaluation | None:
    if environment.spec.baseline_policy is None:
        return None
    evaluate = jax.jit(evaluate_baseline, static_argnums=(0, 2))
    return jax.device_get(evaluate(environment, evaluation_key(jax.random.key(config.seed)), config.eval_episodes))


def _check_memory(config: Config, spec: EnvSpec) -> None:
    """Refuse a replay that the device cannot hold."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = statistics.get("bytes_limit", physical)
    needed = transition_bytes(spec) * config.replay_capacity
    if needed > available:
        raise ConfigError(
            f"--buffer_capacity {config.buffer_capacity}: needs {needed / 2**30:.1f} GiB, "
            f"but there are only {available / 2**30:.1f} GiB of memory"
        )
