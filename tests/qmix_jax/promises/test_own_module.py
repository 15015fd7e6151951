"""A run on an environment of the user's own: no module is imported because a file names it, in any command."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from helpers import quick_compilation
from own_module import LEFT, NAME, TINY, write_module

from qmix_jax import compare, evaluate, export, report, sweep
from qmix_jax import train as cli
from qmix_jax.cli.command import run_command
from qmix_jax.errors import StoppedError
from qmix_jax.experiments.comparison_spec import COMPARISON
from qmix_jax.experiments.experiment import experiment_from_flags, write_experiment
from qmix_jax.experiments.sweep_spec import SWEEP
from qmix_jax.training import environments

ENV = f"{NAME}:Agree"
AGAIN = f"--env {ENV}: must be given again: a module is imported only if the command itself names it"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a module and a finished run on its environment."""
    path = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(environments, "_registered", {})
        patch.setattr(sys, "path", [*sys.path])
        write_module(path)
        with quick_compilation():
            assert cli.main(["--env", ENV, "--env_args", "actions=4", "--algorithm", "vdn", "--report", *TINY]) == 0
        shutil.copytree("results/run_1", "as_trained")  # other tests continue the run
    return path


@pytest.fixture(autouse=True)
def _elsewhere(folder, monkeypatch):
    """Each test begins without the module, and without a trace of its import."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(environments, "_registered", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop(NAME, None)
    (folder / "imported").unlink(missing_ok=True)
    yield
    sys.modules.pop(NAME, None)


def refusal(capsys, command, words):
    capsys.readouterr()
    assert command.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.partition("error: ")[2]


READERS = {
    "evaluate": (evaluate, ["results/run_1", "--episodes", "2"]),
    "export": (export, ["results/run_1", "--output", "model.safetensors"]),
    "report": (report, ["results/run_1", "--episodes", "2", "--output", "page.html"]),
    "resume": (cli, ["--resume", "results/run_1", "--total_steps", "160"]),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_does_not_import_a_module(folder, capsys, name):
    command, words = READERS[name]
    before = {path.name for path in folder.iterdir()}
    assert refusal(capsys, command, words).startswith(AGAIN)
    for other in ("other:Agree", f"{NAME}:larger", "gridworld25"):
        message = refusal(capsys, command, [*words, "--env", other])
        assert message.startswith(f"--env {other}: must ")
        assert ENV in message
    assert NAME not in sys.modules
    assert not Path("imported").exists()
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", READERS)
def test_the_same_name_again_does(folder, capsys, name):
    command, words = READERS[name]
    with quick_compilation():
        assert command.main([*words, "--env", ENV]) == 0
    assert Path("imported").exists()
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "has changed" not in out + err


@pytest.mark.parametrize(
    ("words", "again"), [(["--env", ENV], f" --env {ENV}"), (["--env", "gridworld25"], ""), ([], "")]
)
def test_a_stopped_run_says_how_to_continue(capsys, words, again):
    def act(arguments):
        arguments.clear()  # as far as it likes
        raise StoppedError(Path("results/run_2"), 2, "3 of 5 steps")

    assert run_command(cli.make_parser("qmix-jax train"), words, act) == 130
    assert capsys.readouterr().err.endswith(f"qmix-jax train --resume results/run_2{again}\n")


def test_hparams_hold_names_and_arguments(folder):
    hparams = json.loads(Path("results/run_1/configs/hparams.json").read_text())
    assert (hparams["env"], hparams["env_args"]) == (ENV, ["actions=4"])
    assert hparams["derived"]["environment"] == "Agree"
    assert hparams["derived"]["environment_spec"]["num_actions"] == 4
    assert Path("results/run_1/report.html").exists()


@pytest.fixture
def change(folder, monkeypatch):
    """Return a function that changes the module's source until the end of the test."""
    source = Path(f"{NAME}.py").read_text()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def change(old, new):
        assert old in source
        sys.modules.pop(NAME, None)
        Path(f"{NAME}.py").write_text(source.replace(old, new))

    yield change
    Path(f"{NAME}.py").write_text(source)


@pytest.mark.parametrize("name", READERS)
def test_an_environment_that_no_longer_fits(folder, capsys, name, change):
    command, words = READERS[name]
    change("2, actions, 1, 1,", "2, actions + 1, 1, 1,")
    message = refusal(capsys, command, [*words, "--env", ENV])
    assert message == "environment Agree: num_actions is 5, must be 4, as the run was trained\n"
    change(
        "actions: int = 3, reward: float = 0.5, steps=1):",
        "choices=3, steps=1):\n        actions, reward = choices, 0.5",
    )
    message = refusal(capsys, command, [*words, "--env", ENV])
    assert message == "--env_args actions=4: the environment's arguments are choices, steps\n"


NOTICE = "notice: environment Agree has changed since the run was trained: its functions compute something else\n"


def test_a_sweeps_runs_are_asked_before_it_goes_on(folder, capsys, change):
    flags = dict(zip([word.lstrip("-") for word in TINY[::2]], TINY[1::2], strict=True))
    own = {"hidden_sizes": ["4"], "env": ENV, "env_args": ["actions=4"], "algorithm": "vdn"}
    path = folder / "sweep_8"
    shutil.copytree(folder / "as_trained", path / "seed_0")
    shutil.rmtree(path / "seed_0" / "models" / "final_model")
    write_experiment(path, experiment_from_flags(SWEEP, {**flags, **own, "workers": "1"}))
    change("return jnp.zeros(()), self.show", "return jnp.zeros(2), self.show")
    assert sweep.main(["--resume", str(path), "--env", ENV]) == 2
    assert capsys.readouterr().err.endswith(": state is float32[2], must be float32[], as the run was trained\n")


def test_other_words_are_not(folder, capsys, change):
    change('"""One step:', '"""Another comment.\n\n    One step:')
    capsys.readouterr()
    assert export.main([*READERS["export"][1], "--env", ENV]) == 0
    assert capsys.readouterr().err == ""


def test_another_state_is_refused_where_checkpoints_hold_it(folder, capsys, change):
    change("return jnp.zeros(()), self.show", "return jnp.zeros(2), self.show")
    message = refusal(capsys, cli, ["--resume", "results/run_1", "--env", ENV])
    assert message == "environment Agree: state is float32[2], must be float32[], as the run was trained\n"
    assert export.main([*READERS["export"][1], "--env", ENV]) == 0
    assert capsys.readouterr().err == NOTICE


def test_other_rewards_are_noticed(folder, capsys, change):
    """Training may go on from where the policy stands, and a policy may be tried in them."""
    change("self.reward, 0.0", "self.reward, -0.25")
    capsys.readouterr()
    assert export.main([*READERS["export"][1], "--env", ENV]) == 0
    assert capsys.readouterr().err == NOTICE
    with quick_compilation():
        assert cli.main(["--resume", "results/run_1", "--total_steps", "240", "--env", ENV]) == 0
    assert NOTICE in capsys.readouterr().out


@pytest.mark.parametrize(
    "value", ["evil:Agree", "os:system", f"{NAME}:Agree.__init__", "given:Agree", 7, ["evil:Agree"]]
)
def test_a_forged_name(folder, capsys, value):
    """Whatever stands there: evaluation is refused, with or without a flag that agrees."""
    Path("evil.py").write_text("open('imported', 'w')")
    hparams = Path("results/run_1/configs/hparams.json")
    genuine = hparams.read_text()
    try:
        hparams.write_text(json.dumps({**json.loads(genuine), "env": value}))
        for command, words in READERS.values():
            refusal(capsys, command, words)
            refusal(capsys, command, [*words, "--env", ENV])
    finally:
        hparams.write_text(genuine)
        Path("evil.py").unlink()
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    "words", [["actions=x"], ["actions"], "actions=4", [4], ["__class__=1"], ["actions=4", "actions=4"]]
)
def test_forged_arguments(folder, capsys, words):
    hparams = Path("results/run_1/configs/hparams.json")
    genuine = hparams.read_text()
    try:
        hparams.write_text(json.dumps({**json.loads(genuine), "env_args": words}))
        assert "--env_args" in refusal(capsys, evaluate, ["results/run_1", "--env", ENV])
    finally:
        hparams.write_text(genuine)


def test_sweeps_and_comparisons_of_files(folder, capsys):
    """Their own processes get the name only from the command line of the one that starts them."""
    flags = dict(zip([word.lstrip("-") for word in TINY[::2]], TINY[1::2], strict=True))
    flags = {**flags, "hidden_sizes": ["4"], "env": ENV}
    for command, write, folder_name in (
        (
            sweep,
            lambda path: write_experiment(path, experiment_from_flags(SWEEP, {**flags, "workers": "1"})),
            "sweep_7",
        ),
        (
            compare,
            lambda path: write_experiment(path, experiment_from_flags(COMPARISON, {**flags, "num_seeds": "1"})),
            "compare_7",
        ),
    ):
        path = folder / folder_name
        path.mkdir()
        write(path)
        before = {file.relative_to(path) for file in path.rglob("*")}
        assert refusal(capsys, command, ["--resume", str(path)]).startswith(AGAIN)
        message = refusal(capsys, command, ["--resume", str(path), "--env", "other:Agree"])
        assert message == f"--env other:Agree: must be {ENV}, as the run was trained\n"
        assert {file.relative_to(path) for file in path.rglob("*")} == before
    assert not Path("imported").exists()


def test_a_grid_names_no_module(folder, capsys):
    message = refusal(capsys, sweep, ["--grid", f"env=gridworld25,{ENV}", *TINY])
    assert message == (f"--grid env=gridworld25,{ENV}: {ENV}: an environment of your own must be given by --env\n")
    assert not Path("imported").exists()


def test_a_sweep_and_a_comparison_are_refused_before_anything_is_written(folder, capsys):
    before = {path.name for path in folder.iterdir()} | LEFT
    for command in (sweep, compare):
        for env, words, expected in (
            ("other:Agree", [], "--env other:Agree: there is no module other"),
            (f"{NAME}:nothing", [], f"--env {NAME}:nothing: environment NoneType: spec"),
            (ENV, ["--env_args", "actions=many"], "--env_args actions=many: must be a whole number"),
        ):
            message = refusal(capsys, command, ["--env", env, *words, *TINY, "--results_dir", "new"])
            assert message.startswith(expected)
    message = refusal(capsys, sweep, ["--env", ENV, "--grid", "env_args.actions=3,x", *TINY, "--results_dir", "new"])
    assert message == "--env_args actions=x: must be a whole number\n"
    message = refusal(capsys, sweep, ["--env", f"{NAME}:not_a_number", *TINY, "--results_dir", "new"])
    assert message.startswith("environment Agree: rewards: nan")
    assert {path.name for path in folder.iterdir()} <= before
