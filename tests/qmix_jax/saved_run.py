"""A run directory with three checkpoints as training leaves it, but of random numbers: nothing has to be compiled."""

import hashlib
import os
from dataclasses import replace
from functools import cache

import jax
import numpy as np

from qmix_jax.config import Config
from qmix_jax.runs.resume import saved_template
from qmix_jax.storage.arrays import named_arrays
from qmix_jax.storage.checkpoint import BEST, FINAL, Checkpoints, ResumeData, checkpoint_name
from qmix_jax.storage.directory import create_run_directory
from qmix_jax.storage.files import SUMS
from qmix_jax.storage.hparams import describe_run, write_hparams
from qmix_jax.storage.resume_point import Saved
from qmix_jax.training.environments import make_environment
from qmix_jax.training.trainer import make_trainer

CONFIG = Config(
    num_envs=4,
    total_episodes=8,
    max_steps_per_ep=5,
    buffer_capacity=40,
    min_buffer_size=16,
    batch_size=4,
    hidden_sizes=(4,),
    mixing_size=4,
    hypernet_size=4,
)
EPISODES = (0, 4, 8)
NEWEST = checkpoint_name(EPISODES[-1])
MODELS = (BEST, FINAL, *map(checkpoint_name, EPISODES))


@cache
def template():
    """Return shapes and dtypes of what resume.npz holds."""
    return saved_template(make_trainer(CONFIG, make_environment(CONFIG)))


@cache
def saved(episodes):
    """Return what resume.npz of a checkpoint holds, with the key as its numbers."""
    generator = np.random.default_rng(episodes)
    shapes = replace(template().state, key=jax.eval_shape(jax.random.key_data, template().state.key))
    state, best = jax.tree.map(
        lambda leaf: generator.integers(0, 2, leaf.shape).astype(leaf.dtype), (shapes, template().best)
    )
    return Saved(state, best)


def save_run(folder):
    """Write results/run_1 into `folder` and return it."""
    directory = create_run_directory(str(folder / "results"))
    write_hparams(directory.hparams, describe_run(CONFIG, make_environment(CONFIG)))
    for log in directory.logs:
        log.write_text("column\n" + "1\n" * len(EPISODES))
    with Checkpoints(directory.models, keep_resumable=len(EPISODES)) as checkpoints:
        for number, episodes in enumerate(EPISODES):
            notes = {
                "env_steps": 5 * episodes,
                "episodes": episodes,
                "best_score": None if number == 0 else -1.5,
                "q_bound": None if number == 0 else 2.5,
                "seconds": 1.25,
                "replay": True,
                "log_bytes": {log.name: len("column\n" + "1\n" * number) for log in directory.logs},
            }
            arrays, params = named_arrays(saved(episodes)), saved(episodes).state.learner.params
            checkpoints.save(checkpoint_name(episodes), params, ResumeData(arrays, notes))
        checkpoints.save(BEST, saved(4).state.learner.params)
        checkpoints.save(FINAL, params)
    return directory.path


def reseal(folder):
    """Write the sums anew, of whatever there is now: what anybody can do."""
    (folder / SUMS).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    (folder / SUMS).write_text("".join(sums))


def listing(folder):
    """Return everything below a folder: contents of files, targets of links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path] = os.readlink(path)
        else:
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return found
