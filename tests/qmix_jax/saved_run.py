"""A run directory with three checkpoints, as training leaves it, without the minute of compiling that training takes.

The numbers are random: who reads them back only needs to know that they are the same.
"""

import hashlib
from dataclasses import replace
from functools import cache

import jax
import numpy as np

from qmix_jax.checkpoint import FINAL, Checkpoints, ResumeData, checkpoint_name
from qmix_jax.config import Config
from qmix_jax.environments import make_environment
from qmix_jax.hparams import describe_run, write_hparams
from qmix_jax.integrity import SUMS, write_sums
from qmix_jax.resume import Saved
from qmix_jax.run_directory import create_run_directory
from qmix_jax.trainer import make_trainer

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
NEWEST = checkpoint_name(8)
ROWS = b"column\n1\n2\n3\n"


@cache
def template():
    """What resume.npz holds, as shapes."""
    state = jax.eval_shape(make_trainer(CONFIG, make_environment(CONFIG)).init, jax.random.key(0))
    return Saved(replace(state, key=jax.eval_shape(jax.random.key_data, state.key)), state.learner.params)


def numbers(tree, seed):
    """Return a tree of random numbers of the same shapes."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: generator.integers(0, 2, leaf.shape).astype(leaf.dtype), tree)
