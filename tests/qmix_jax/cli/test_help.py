"""`--help`, `--help-all`, `--help-presets` and `--version`: what they list, and that it fits the terminal."""

import itertools
import os
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import qmix_jax
from qmix_jax import __main__, train
from qmix_jax.__main__ import COMMANDS
from qmix_jax.config import Config
from qmix_jax.presets import PRESETS
from qmix_jax.settings import as_text

ROOT = Path(__file__).parents[3]
WIDTHS = (60, 80, 120)
DEFAULTS = {
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
def shown(capsys, monkeypatch):
    """Call a command for its help in a terminal of some columns, and return what it prints."""

    def show(command, *words, columns=10_000):
        monkeypatch.setenv("COLUMNS", str(columns))
        main = import_module(f"qmix_jax.{command}").main if command else __main__.main
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return show


def entries(text):
    """The text of every flag, by name."""
    blocks = text.split("\n  --")[1:]
    return {block.split()[0]: block.partition("\n\n")[0] for block in blocks}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *itertools.product([*COMMANDS, None], ["-h", "--help", "--version"]),
        *itertools.product(COMMANDS, ["--help-all"]),
        *itertools.product(["train", "sweep", "compare"], ["--help-presets"]),
    ],
)
def test_lines_fit_and_words_stay_whole(shown, command, flag, columns):
    text = shown(command, flag, columns=columns)
    assert max(map(len, text.split("\n"))) <= columns
    assert text.split() == shown(command, flag).split()


def test_a_pipe_has_80_columns():
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    words = [sys.executable, "train.py", "--help-all"]
    text = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert 70 < max(map(len, text.split("\n"))) <= 80


def test_help_lists_the_common_flags(shown):
    text = shown("train", "--help")
    assert 10 <= len(entries(text)) <= 16
    assert {"num_envs", "total_episodes", "seed", "algorithm", "lr", "preset", "resume", "help-all"} < set(
        entries(text)
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_all_explains_every_flag(shown, command):
    explained = entries(shown(command, "--help-all"))
    for flag in import_module(f"qmix_jax.{command}").make_parser("").flags:
        assert flag.help in explained[flag.name]
        assert flag.default is None or f"default: {flag.default})" in explained[flag.name]
        assert all(choice in explained[flag.name] for choice in flag.choices)


def test_every_setting_is_a_flag(shown):
    names = {declared.name for declared in fields(Config)}
    assert names | {"resume", "run_directory", "coordinator", "num_processes"} < set(
        entries(shown("train", "--help-all"))
    )


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_flags_that_users_know_have_their_defaults(shown, name, default):
    assert entries(shown("train", "--help-all"))[name].endswith(f"(default: {default})")


def test_help_all_has_sections(shown):
    lines = shown("train", "--help-all").split("\n")
    sections = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    groups = ["The run", "The algorithm", "Replay", "Learning", "Exploration", "Networks", "Devices"]
    assert sections == [*groups, "Evaluation and output", "More"]


@pytest.mark.parametrize("command", ["sweep", "compare"])
def test_settings_of_the_runs_are_listed_on_request(shown, command):
    assert "--num_seeds N" in shown(command, "--help")
    assert "--batch_size" not in shown(command, "--help")
    assert "--batch_size" in shown(command, "--help-all")


@pytest.mark.parametrize("command", ["evaluate", "report", "export"])
def test_a_few_flags_are_listed_at_once(shown, command):
    assert shown(command, "--help") == shown(command, "--help-all")
    assert "--help-all" not in shown(command, "--help")


def test_presets_have_their_flags(shown):
    text = shown("train", "--help-presets")
    for name, preset in PRESETS.items():
        (block,) = [block for block in text.split("\n\n") if block.startswith(f"  {name} ")]
        assert preset.summary in block
        assert all(f"--{setting} {as_text(value)}" in block for setting, value in preset.settings.items())


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_versions(shown, command):
    assert shown(command, "--version") == f"qmix-jax {qmix_jax.__version__}\n"


def test_the_version_is_the_packages():
    assert qmix_jax.__version__ == version("qmix-jax")


def test_help_does_not_hide_a_mistake(capsys):
    assert train.main(["--help", "--zzzz"]) == 2
    assert capsys.readouterr().out == ""
