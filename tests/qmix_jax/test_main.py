"""All commands under one name: `qmix-jax COMMAND`."""

import pytest

from qmix_jax.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_its_own_flags(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: qmix-jax {command} " in capsys.readouterr().out


def test_what_there_is(capsys):
    assert main([]) == main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert max(map(len, out.split("\n"))) <= 80


@pytest.mark.parametrize(
    ("word", "hint"),
    [("Evalute", "did you mean evaluate? "), ("1", "must be one of train, evaluate, report, export, ")],
)
def test_another_word_is_one_line(word, hint, capsys):
    assert main([word]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"qmix-jax: error: '{word}': unknown command; {hint}")
    assert err.count("\n") == 1


def test_a_commands_status_is_its_own(capsys):
    assert main(["train", "--lr", "2"]) == 2
    assert capsys.readouterr().err.startswith("qmix-jax train: error: --lr 2: must be ")
