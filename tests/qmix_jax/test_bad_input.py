"""Bad input gets one line that names it and says what is accepted, exit status 2, and leaves every file as it was."""

import contextlib
import io
import json
import os
import shutil
from dataclasses import asdict, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_run import CONFIG, EPISODES, listing, reseal, save_run

from qmix_jax import cli
from qmix_jax.checkpoint import checkpoint_name
from qmix_jax.config import Config, ConfigError
from qmix_jax.hparams import read_config

FLAGS = [
    ("--lr 0", "--lr 0: must be a number, above 0 and at most 1"),
    ("--lr -1e-3", "--lr -1e-3: must be a number, above 0"),
    ("--lr abc", "--lr abc: must be a number, above 0"),
    ("--lr nan", "--lr nan: must be a number, above 0"),
    ("--lr=inf", "--lr inf: must be a number, above 0"),
    ("--max_grad_norm inf", "--max_grad_norm inf: must be a number, above 0"),
    ("--lr", "--lr: expected one argument"),
    ("--gamma 1.01", "--gamma 1.01: must be a number, at least 0 and at most 1"),
    ("--num_envs 1.5", "--num_envs 1.5: must be a whole number"),
    ("--num-envs 0", "--num_envs 0: must be a whole number, at least 1"),
    ("--num_envs -3", "--num_envs -3: must be a whole number, at least 1"),
    ("--num_envs 8 9", "9: unexpected value"),
    (f"--total_steps {'9' * 400}", "must be a whole number, at least 1 and at most 2147483647"),
    (
        "--train_frequency 10000000000",
        "--train_frequency 10000000000: must be a whole number, at least 1 and at most 2147483647",
    ),
    ("--hidden_sizes", "--hidden_sizes: expected at least one argument"),
    ("--hidden_sizes 64 0", "--hidden_sizes 0: must be a whole number, at least 1"),
    ("--hidden_sizes 64 -3", "--hidden_sizes -3: must be a whole number, at least 1"),
    ("--state_clock maybe", "--state_clock maybe: must be true or false"),
    ("--env_mode grid", "--env_mode grid: must be one of fixed, random"),
    ("--nun_envs 3", "--nun_envs: unknown flag; did you mean --num_envs?"),
    ("--learning-rate 1", "--learning_rate: unknown flag"),
    ("--num_env 8", "--num_env: unknown flag; did you mean --num_envs?"),
    ("--zzzz", "--zzzz: unknown flag; see --help"),
    ("-n 3", "-n: unknown flag"),
    ("512", "512: unexpected value"),
    ("--total_steps 200 --total_episodes 1000", "--total_steps 200 and --total_episodes 1000: give only one of them"),
    ("--buffer_capacity 100 --num_envs 64", "--buffer_capacity 100: must be at least 256, --num_envs 64 times"),
    (
        "--batch_size 200 --buffer_capacity 100 --num_envs 1 --min_buffer_size 9",
        "--batch_size 200: must be at most 100",
    ),
    ("--min_buffer_size 200000", "--min_buffer_size 200000: must be at most 99968"),
    ("--preset fast", "--preset fast: must be one of default, random, throughput, pymarl2"),
    ("--preset", "--preset: expected one argument"),
    ("--presett random", "--presett: unknown flag; did you mean --preset?"),
    ("--results_dir taken", "--results_dir taken: must be a folder, but"),
    ("--results_dir taken/below", "--results_dir taken/below: must be a folder, but"),
    (f"--results_dir {'a' * 300}", "File name too long"),
]


