"""What is suggested for flags and values that do not exist."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from qmix_jax.__main__ import COMMANDS
from qmix_jax.cli.synonyms import _SYNONYMS

ROOT = Path(__file__).parents[3]
SUGGESTED = [
    ("train", "--learning_rate", "--lr"),
    ("train", "--learning-rate", "--lr"),
    ("train", "--LR", "--lr"),
    ("train", "--Num-Envs", "--num_envs"),
    ("train", "--batch", "--batch_size"),
    ("train", "--n_envs", "--num_envs"),
    ("train", "--num_environments", "--num_envs"),
    ("train", "--steps", "--total_steps"),
    ("train", "--total_timesteps", "--total_steps"),
    ("train", "--episodes", "--total_episodes"),
    ("train", "--eps_start", "--epsilon_start"),
    ("train", "--epsilon", "--epsilon_start"),
    ("train", "--hidden_dims", "--hidden_sizes"),
    ("train", "--hidden-size", "--hidden_sizes"),
    ("train", "--env_name", "--env"),
    ("train", "--env-id", "--env"),
    ("train", "--map_name", "--env_args"),
    ("train", "--env_kwargs", "--env_args"),
    ("train", "--algo", "--algorithm"),
    ("train", "--alg", "--algorithm"),
    ("train", "--buffer_size", "--buffer_capacity"),
    ("train", "--discount", "--gamma"),
    ("train", "--tau", "--target_tau"),
    ("train", "--grad_norm_clip", "--max_grad_norm"),
    ("train", "--seeds", "--seed"),
    ("train", "--versions", "--version"),
    ("sweep", "--seeds", "--num_seeds"),
    ("compare", "--seeds", "--num_seeds"),
    ("compare", "--algos", "--algorithms"),
    ("compare", "--learning_rate", "--lr"),
    ("evaluate", "--num_episodes", "--episodes"),
    ("evaluate", "--model", "--checkpoint"),
    ("export", "--out", "--output"),
    ("report", "--num_episodes", "--episodes"),
]


@pytest.fixture
def refusal(capsys, tmp_path, monkeypatch):
    """Call a command with arguments that it has to refuse, and return what it says after its name."""
    monkeypatch.chdir(tmp_path)

    def refuse(command, *words):
        assert import_module(f"qmix_jax.{command}").main(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
        return err.removeprefix(f"qmix-jax {command}: error: ").removesuffix("\n")

    return refuse


@pytest.mark.parametrize(("command", "given", "suggested"), SUGGESTED)
def test_a_flag_of_another_library(refusal, command, given, suggested):
    message = refusal(command, given, "1")
    assert message.startswith(f"{given.replace('-', '_').replace('__', '--', 1)}: unknown flag; ")
    assert f"did you mean {suggested}?" in message


@pytest.mark.parametrize(
    ("flag", "command"),
    [("--seeds", "sweep"), ("--num_seeds", "sweep"), ("--grid", "sweep"), ("--algorithms", "compare")],
)
def test_train_names_the_command_that_has_the_flag(refusal, flag, command):
    assert f"`qmix-jax {command}" in refusal("train", flag, "1")


@pytest.mark.parametrize(
    ("command", "words", "suggested"),
    [
        ("train", "--algorithm QMIX", "qmix"),
        ("train", "--algorithm qmixx", "qmix"),
        ("train", "--preset Random", "random"),
        ("train", "--preset RANDOM", "random"),
        ("train", "--env GridWorld25", "gridworld25"),
        ("train", "--env gridworld", "gridworld25"),
        ("train", "--env JaxMARL:MPE_Simple_Spread_v3", "jaxmarl:MPE_simple_spread_v3"),
        ("train", "--optimizer AdamW", "adamw"),
        ("sweep", "--algorithm VDN", "vdn"),
        ("sweep", "--grid algorithm=QMIX,vdn", "qmix"),
        ("compare", "--algorithms QMIX vdn", "qmix"),
        ("compare", "--algorithms qmix,VDN", "vdn"),
    ],
)
def test_a_value_in_another_case_comes_before_the_list(refusal, command, words, suggested):
    message = refusal(command, *words.split())
    assert message.startswith(words.split()[0])
    assert f": did you mean {suggested}? must be one of " in message


def test_a_name_without_resemblance_has_no_suggestion(refusal):
    assert "did you mean" not in refusal("train", "--zzzz")
    assert "did you mean" not in refusal("train", "--algorithm", "zzzz")


@pytest.mark.parametrize("words", ["--env GridWorld25", "--lr 2", "--seeds 3", "--help-all", "--version"])
def test_an_answer_does_not_wait_for_jax(words):
    code = (
        "import sys; from qmix_jax.train import main; main(sys.argv[1:]); "
        "sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *words.split()]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_every_synonym_helps_some_command():
    flags = {command: {flag.name for flag in parser(command).flags} for command in COMMANDS}
    for ours, theirs in _SYNONYMS.items():
        having = [names for names in flags.values() if ours in names]
        assert having
        for name in theirs.split():
            assert any(name not in names for names in having)


def parser(command):
    return import_module(f"qmix_jax.{command}").make_parser(command)
