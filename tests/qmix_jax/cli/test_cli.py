"""The command line: what it accepts, and how a run ends. What it refuses is in test_bad_input.py."""

from dataclasses import fields
from pathlib import Path

import pytest

from qmix_jax import train as cli
from qmix_jax.config import Config
from qmix_jax.errors import CannotWriteError, DivergedError, StoppedError
from qmix_jax.presets import PRESETS, preset_config

SPEC_DEFAULTS = {
    "total_episodes": "1000",
    "max_steps_per_ep": "200",
    "buffer_capacity": "100000",
    "batch_size": "64",
    "lr": "0.001",
    "gamma": "0.95",
    "target_update_interval": "200",
    "train_frequency": "4",
    "min_buffer_size": "10000",
    "save_interval": "100",
}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The configurations that `main` would have trained."""
    configs = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qmix_jax.reports.training.run", lambda config, stop_signal, directory: configs.append(config))
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
    monkeypatch.setattr("qmix_jax.reports.training.run", lambda config, stop_signal, directory: told.append(directory))
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


def test_total_steps_alone_is_accepted(trained):
    assert cli.main("--total_steps 6400".split()) == 0
    assert trained[0].total_steps == 6400


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            StoppedError(Path("results/run 1"), 2, "8 of 10 environment steps"),
            130,
            "stopped at 8 of 10 environment steps; to go on: ",
        ),
        (StoppedError(Path("results/run 1"), 15, "9"), 143, " --resume 'results/run 1'\n"),
        (DivergedError("the loss was not finite"), 3, ": error: the loss was not finite\n"),
        (CannotWriteError("cannot write a\nb"), 4, ": error: cannot write a b\n"),
    ],
)
def test_what_ends_a_run_early_gets_one_line_and_a_status_of_its_own(trained, capsys, monkeypatch, error, status, line):
    def fail(config, stop_signal, directory):
        raise error

    monkeypatch.setattr("qmix_jax.reports.training.run", fail)
    assert cli.main([]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


def help_lines(capsys):
    assert cli.main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_help_explains_every_flag_in_one_line(capsys):
    lines = help_lines(capsys)
    for declared in fields(Config):
        (line,) = [line for line in lines if line.startswith(f"  --{declared.name} ")]
        assert declared.metadata["help"] in line
        assert "(default: " in line
        assert all(choice in line for choice in declared.metadata["choices"] or ())


@pytest.mark.parametrize(("name", "default"), SPEC_DEFAULTS.items())
def test_help_has_the_flags_that_users_know(capsys, name, default):
    (line,) = [line for line in help_lines(capsys) if line.startswith(f"  --{name} ")]
    assert line.endswith(f"(default: {default})")


def test_help_has_sections(capsys):
    lines = help_lines(capsys)
    sections = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    groups = ["The run", "The algorithm", "Replay", "Learning", "Exploration", "Networks", "Devices"]
    assert sections == ["options", *groups, "Evaluation and output", "presets (flags override them)"]


def test_help_lists_the_presets_with_their_flags(capsys):
    lines = help_lines(capsys)
    for name, preset in PRESETS.items():
        at = lines.index(f"  {name}: {preset.summary}")
        for setting in preset.settings:
            assert f" --{setting} " in lines[at + 1]
