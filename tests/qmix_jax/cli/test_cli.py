"""The command line: what it accepts, and how a run ends. What it refuses is in test_bad_input.py."""

from pathlib import Path

import pytest

from qmix_jax import train as cli
from qmix_jax.config import Config
from qmix_jax.errors import CannotWriteError, DivergedError, StoppedError
from qmix_jax.presets import preset_config


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The configurations that `main` would have trained."""
    configs = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qmix_jax.reports.training.run", lambda config, *_, **__: configs.append(config))
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    return configs


def test_no_flag_means_the_defaults(trained):
    assert cli.main([]) == 0
    assert trained == [Config()]


def test_every_flag_is_read(trained):
    given = {
        "total_episodes": 7,
        "max_steps_per_ep": 9,
        "num_envs": 3,
        "lr": 1e-4,
        "gamma": 1.0,
        "env_mode": "random",
        "hidden_sizes": (32, 16, 8),
        "weight_decay": 0.0,
        "results_dir": "a b",
    }
    arguments = []
    for name, value in given.items():
        arguments += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    assert cli.main(arguments) == 0
    assert trained == [Config(**given)]


def test_a_preset_and_flags_over_it(trained):
    assert cli.main("--preset random --num_envs 128 --total_episodes 1280".split()) == 0
    assert trained == [preset_config("random", num_envs=128, total_episodes=1280)]


def test_hyphens_and_underscores_and_equals_signs_are_alike(trained):
    for arguments in (
        "--num_envs 8 --results_dir a-b",
        "--num-envs 8 --results-dir a-b",
        "--num-envs=8 --results_dir=a-b",
    ):
        assert cli.main(arguments.split()) == 0
    assert trained == 3 * [Config(num_envs=8, results_dir="a-b")]


@pytest.mark.parametrize(
    ("words", "value"),
    [("--state_clock " + word, True) for word in ("true", "True", "YES", "1")]
    + [("--state_clock " + word, False) for word in ("false", "no", "0")]
    + [("--state_clock", True)],
)
def test_booleans_are_values(trained, words, value):
    assert cli.main(words.split()) == 0
    assert trained[0].state_clock is value


def test_the_last_of_two_equal_flags_counts(trained):
    assert cli.main("--seed 1 --seed 2".split()) == 0
    assert trained[0].seed == 2


def test_where_to_write_is_passed_on(trained, monkeypatch):
    told = []
    monkeypatch.setattr(
        "qmix_jax.reports.training.run", lambda config, stop_signal, directory, **_: told.append(directory)
    )
    assert cli.main("--run_directory results/sweep_1/seed_3".split()) == 0
    assert cli.main([]) == 0
    assert told == ["results/sweep_1/seed_3", None]


def test_all_devices_are_counted_when_the_other_flags_are_accepted(trained, monkeypatch, capsys):
    monkeypatch.setattr("qmix_jax.runs.compilation.provide_cpu_devices", lambda count: None)  # conftest.py has made 4
    assert cli.main(["--num_devices", "all", "--lr", "2"]) == 2
    assert cli.main(["--num_devices", "all", "--num_envs", "6"]) == 2
    assert "--num_envs 6: must be a multiple of --num_devices 4" in capsys.readouterr().err
    assert cli.main(["--num_devices", "all"]) == 0
    assert trained == [Config(num_devices=4)]


@pytest.mark.parametrize("text", ["6400", "6.4e3", "64e2", "6400.0"])
def test_whole_numbers_may_have_an_exponent(trained, text):
    assert cli.main(["--total_steps", text]) == 0
    assert trained == [Config(total_steps=6400)]
    assert type(trained[0].total_steps) is int


@pytest.mark.parametrize("words", ["32 16 8", "32,16,8", "32, 16, 8", "32,16 8", "3.2e1,16,8,"])
def test_lists_have_spaces_or_commas(trained, words):
    assert cli.main(["--hidden_sizes", *words.split()]) == 0
    assert trained == [Config(hidden_sizes=(32, 16, 8))]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            StoppedError(Path("results/run 1"), 2, "8 of 10 environment steps"),
            130,
            "stopped at 8 of 10 environment steps; to continue: ",
        ),
        (StoppedError(Path("results/run 1"), 15, "9"), 143, " --resume 'results/run 1'\n"),
        (DivergedError("the loss was not finite"), 3, ": error: the loss was not finite\n"),
        (CannotWriteError("cannot write a\nb"), 4, ": error: cannot write a b\n"),
    ],
)
def test_what_ends_a_run_early_gets_one_line_and_a_status_of_its_own(trained, capsys, monkeypatch, error, status, line):
    def fail(config, *_, **__):
        raise error

    monkeypatch.setattr("qmix_jax.reports.training.run", fail)
    assert cli.main([]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1
