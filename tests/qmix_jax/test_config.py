"""Defaults that users rely on, values derived from flags, and refusals in one clear line."""

from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.learning.algorithms import ALGORITHMS
from qmix_jax.presets import PRESETS, preset_config


def test_defaults_of_the_ten_flags():
    expected = {
        "total_episodes": 1000,
        "max_steps_per_ep": 200,
        "buffer_capacity": 100_000,
        "batch_size": 64,
        "lr": 1e-3,
        "gamma": 0.95,
        "target_update_interval": 200,
        "train_frequency": 4,
        "min_buffer_size": 10_000,
        "save_interval": 100,
    }
    assert {name: getattr(Config(), name) for name in expected} == expected
    assert (Config().num_envs, Config().env_mode, Config().results_dir) == (512, "fixed", "results")


def test_whole_numbers_will_do_for_a_float():
    assert Config(gamma=1, epsilon_end=0).gamma == 1


def test_frozen_and_hashable():
    assert hash(Config()) == hash(Config(lr=1e-3))
    assert Config() != Config(lr=2e-3)
    with pytest.raises(FrozenInstanceError):
        Config().lr = 1.0


@pytest.mark.parametrize(
    ("settings", "vector_steps", "env_steps"),
    [
        ({"num_envs": 512}, 400, 204_800),  # two waves of 512 episodes
        ({"num_envs": 64}, 3200, 204_800),  # sixteen waves, the last one not full
        ({"num_envs": 1}, 200_000, 200_000),
        ({"num_envs": 1000}, 200, 200_000),
        ({"num_envs": 1001}, 200, 200_200),
        ({"num_envs": 512, "max_steps_per_ep": 50}, 100, 51_200),
        ({"num_envs": 512, "total_steps": 204_800}, 400, 204_800),
        ({"num_envs": 512, "total_steps": 204_801}, 401, 205_312),
        ({"num_envs": 512, "total_steps": 1}, 1, 512),
    ],
)
def test_the_runs_length(settings, vector_steps, env_steps):
    config = Config(**settings)
    assert (config.vector_steps, config.env_steps) == (vector_steps, env_steps)


def test_derived_numbers_of_the_main_command():
    config = Config(num_envs=512, n_step=3)
    assert config.replay_capacity == 195 * 512 == 99_840
    assert config.sample_length == 4
    assert config.first_update_step == 10_000
    assert config.total_updates == (204_800 - 10_000) // 4
    assert (config.chunk_length, config.num_chunks) == (16, 25)  # 8,192 environment steps each


def test_updates_wait_for_one_whole_sequence():
    assert Config(min_buffer_size=0, num_envs=64, n_step=3).first_update_step == 4 * 64
    assert Config(min_buffer_size=256, num_envs=64, n_step=3).first_update_step == 256
    assert Config(min_buffer_size=257, num_envs=64, n_step=3).first_update_step == 257


def test_sequences_hold_what_is_learnt_and_what_its_targets_read():
    config = Config(n_step=3, sequence_length=5)
    assert (config.sample_length, config.learned_steps, config.bootstrap_steps) == (8, slice(0, 5), slice(3, 8))
    config = Config(n_step=3, sequence_length=5, target="q_lambda")  # reads one state after each step
    assert (config.sample_length, config.learned_steps, config.bootstrap_steps) == (6, slice(0, 5), slice(1, 6))


def test_epsilon_falls_over_the_run_unless_told():
    assert Config(num_envs=512).exploration_steps == 204_800
    assert Config(num_envs=512, epsilon_decay_steps=7).exploration_steps == 7
    assert Config(num_envs=1, total_steps=1, buffer_capacity=9, min_buffer_size=0, batch_size=1).exploration_steps == 1


def test_a_run_shorter_than_the_first_update_has_none():
    assert Config(num_envs=64, total_steps=6400).total_updates == 0


@given(st.integers(1, 4096), st.integers(1, 3000), st.integers(1, 10**6))
def test_chunks_cover_the_run_and_keep_to_the_interval(num_envs, vector_steps, eval_interval):
    capacity = 100 * num_envs
    config = Config(
        num_envs=num_envs,
        total_steps=vector_steps * num_envs,
        eval_interval=eval_interval,
        buffer_capacity=capacity,
        min_buffer_size=0,
        batch_size=1,
    )
    assert config.vector_steps == vector_steps
    assert (config.num_chunks - 1) * config.chunk_length < vector_steps <= config.num_chunks * config.chunk_length
    assert 1 <= config.chunk_length * num_envs <= max(eval_interval, num_envs)
    longest = min(vector_steps, max(1, min(eval_interval, 20_000) // num_envs))
    assert 4 * config.chunk_length >= 3 * longest


def test_the_last_chunk_is_as_full_as_can_be():
    def chunks(vector_steps, longest):
        config = Config(num_envs=10, total_steps=10 * vector_steps, eval_interval=10 * longest)
        return config.chunk_length, config.num_chunks

    assert chunks(400, 19) == (16, 25)
    assert chunks(401, 19) == (15, 27)  # 401 is prime: 26 times 15, and 11
    assert chunks(30, 9) == (8, 4)  # 8, 8, 8, 6
    assert chunks(7, 10) == (7, 1)
    assert chunks(7, 1) == (1, 7)


def test_what_is_rounded_is_said():
    def notice(**settings):
        return "\n".join(Config(**settings).notices())

    assert notice() == "--buffer_capacity 100000: rounded down to 99840, a multiple of --num_envs 512"
    assert notice(num_envs=100) == ""
    assert "--total_episodes 10: rounded up to 100, one for each of --num_envs" in notice(
        num_envs=100, total_episodes=10
    )
    assert "--min_buffer_size 0: updates begin after 400 steps" in notice(num_envs=100, min_buffer_size=0, n_step=3)
    assert "--total_steps 999: rounded up to 1000" in notice(num_envs=100, total_steps=999)
    assert "--eval_episodes 30: not a multiple of --num_devices 4" in notice(num_devices=4, eval_episodes=30)


REFUSED = [
    ({"num_envs": 0}, "--num_envs 0:"),
    ({"num_envs": -5}, "--num_envs -5"),
    ({"gamma": 1.5}, "--gamma 1.5:"),
    ({"gamma": -0.1}, "--gamma -0.1"),
    ({"gamma": float("nan")}, "--gamma nan"),
    ({"lr": 0.0}, "--lr 0.0:"),
    ({"lr": float("inf")}, "--lr inf"),
    ({"max_grad_norm": 0.0}, "--max_grad_norm 0.0:"),
    ({"max_grad_norm": float("inf")}, "--max_grad_norm inf"),
    ({"epsilon_start": 1.01}, "--epsilon_start 1.01"),
    ({"epsilon_spread": 1.1}, "--epsilon_spread 1.1:"),
    ({"lr_schedule": "exponential", "lr_end_fraction": 0.0}, "--lr_end_fraction 0:"),
    ({"lr_schedule": "steps"}, "--lr_schedule steps:"),
    ({"algorithm": "coma"}, "--algorithm coma:"),
    ({"target": "retrace"}, "--target retrace:"),
    ({"td_lambda": 1.5}, "--td_lambda 1.5"),
    ({"sequence_length": 0}, "--sequence_length 0"),
    ({"target_tau": 0.0}, "--target_tau 0.0:"),
    ({"optimizer": "sgd"}, "--optimizer sgd:"),
    ({"reward_scale": 0.0}, "--reward_scale 0.0:"),
    ({"buffer_capacity": 600, "num_envs": 64, "sequence_length": 8}, "--buffer_capacity 600:"),
    ({"epsilon_decay_steps": 0}, "--epsilon_decay_steps 0:"),
    ({"n_step": 0}, "--n_step 0"),
    ({"hidden_sizes": ()}, "--hidden_sizes"),
    ({"hidden_sizes": (64, 0)}, "--hidden_sizes 0"),
    ({"env_mode": "mode_1"}, "--env_mode mode_1:"),
    ({"encoding": "ENV"}, "--encoding ENV:"),
    ({"total_episodes": 500, "total_steps": 1000}, "--total_steps 1000 and --total_episodes 500"),
    ({"total_steps": 0}, "--total_steps 0"),
    ({"total_episodes": 20_000_000}, "--total_episodes, --total_steps"),  # 4e9 steps overflow int32
    ({"buffer_capacity": 100, "num_envs": 64, "n_step": 3}, "--buffer_capacity 100:"),
    ({"buffer_capacity": 63, "num_envs": 64, "min_buffer_size": 0}, "--buffer_capacity 63"),
    ({"min_buffer_size": 100_000, "num_envs": 64}, "--min_buffer_size 100000:"),
    ({"batch_size": 100_000, "num_envs": 64}, "--batch_size 100000:"),
    ({"target_update_interval": 2**31}, "--target_update_interval 2147483648"),
    ({"train_frequency": 2**40}, "--train_frequency"),
    ({"epsilon_decay_steps": 10**12}, "--epsilon_decay_steps"),
    ({"seed": -1}, "--seed -1"),
    ({"num_envs": 2.5}, "--num_envs 2.5:"),
    ({"num_envs": 2.0}, "--num_envs 2.0:"),
    ({"num_envs": True}, "--num_envs True:"),
    ({"total_steps": 1e6}, "--total_steps 1000000.0:"),
    ({"total_episodes": None}, "--total_episodes None:"),
    ({"gamma": "0.9"}, "--gamma 0.9:"),
    ({"double_q": 1}, "--double_q 1:"),
    ({"hidden_sizes": [64, 64]}, "--hidden_sizes [64, 64]:"),
    ({"hidden_sizes": 64}, "--hidden_sizes 64:"),
    ({"hidden_sizes": (64.0,)}, "--hidden_sizes 64.0:"),
    ({"encoding": 1}, "--encoding 1:"),
    ({"results_dir": 3}, "--results_dir 3:"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_work_is_refused_in_one_line(settings, message):
    with pytest.raises(ConfigError) as refused:
        Config(**settings)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("num_envs", [1, 2, 3, 64, 512, 1000, 4096])
def test_the_default_flags_work_from_1_to_4096_environments(num_envs):
    config = Config(num_envs=num_envs)
    assert config.replay_capacity > 95_000
    assert config.total_updates > 0
    assert 1 <= config.chunk_length <= config.vector_steps


def test_the_smallest_buffer_holds_one_sequence_of_every_environment():
    config = Config(buffer_capacity=256, num_envs=64, n_step=3, min_buffer_size=256, batch_size=256)
    assert config.replay_capacity == config.first_update_step == 256


def test_a_run_too_short_to_learn_says_so():
    assert Config(num_envs=64, total_steps=6400).notices()[1:] == [
        "--total_steps 6400: too small for these settings: there is no update before --min_buffer_size 10000 steps"
    ]


def test_a_budget_too_small_for_the_recipe_says_so_in_one_notice():
    def notice(**settings):
        return "\n".join(line for line in Config(num_envs=100, **settings).notices() if "too small" in line)

    assert notice() == ""
    assert notice(total_steps=13_900) == (
        "--total_steps 13900: too small for these settings: only 975 updates, in which the target network follows the "
        "online one fewer than 5 times"
    )
    assert notice(total_steps=14_000) == ""  # 1,000 updates
    assert notice(total_steps=14_000, target_update_interval=1, target_tau=0.005) == ""
    assert "975 updates" in notice(total_steps=13_900, target_update_interval=1, target_tau=0.005)
    assert notice(total_steps=100_000, epsilon_decay_steps=1_000_000) == (
        "--total_steps 100000: too small for these settings: epsilon falls for only 10% of "
        "--epsilon_decay_steps 1000000"
    )
    both = notice(total_episodes=20, max_steps_per_ep=100, epsilon_decay_steps=20_000)
    assert both.startswith("--total_episodes 20: too small for these settings: there is no update before ")
    assert both.endswith("; epsilon falls for only 50% of --epsilon_decay_steps 20000")
    for preset in PRESETS:
        assert not any("too small" in line for line in preset_config(preset).notices())


def test_every_algorithm_can_be_named():
    (declared,) = [declared for declared in fields(Config) if declared.name == "algorithm"]
    assert declared.metadata["choices"] == tuple(ALGORITHMS)
