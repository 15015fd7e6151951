"""--env package.module:Name: what is imported, and what is refused in one line before anything is written."""

import random
import sys

import pytest
from own_module import LEFT, NAME, SOURCE, TINY, write_module

from qmix_jax import Config, ConfigError, load_policy
from qmix_jax import train as cli
from qmix_jax.config import names_module
from qmix_jax.runs.user_module import import_environment, import_repeated
from qmix_jax.training import environments
from qmix_jax.training.environments import make_environment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a module; whatever is imported and registered is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "_registered", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = {*sys.modules}
    write_module(tmp_path)
    yield tmp_path
    for name in {*sys.modules} - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("a:B", True),
        ("a.b.c:D", True),
        ("gridworld25", False),
        ("jaxmarl:switch_riddle", False),
        ("jumanji:Maze", False),
        ("given:Agree", False),
        ("a:", False),
        (":B", False),
        ("a/b.py:C", False),
        ("a:B:C", False),
        ("a..b:C", False),
        ("a:B()", False),
        ("a.b", False),
    ],
)
def test_names_of_modules(env, expected):
    assert names_module(env) is expected


def test_nothing_is_imported_until_the_command_names_it(folder):
    config = Config(env=f"{NAME}:Agree")
    with pytest.raises(ConfigError, match=rf"^--env {NAME}:Agree: must be given again: a module is imported only if"):
        make_environment(config)
    assert NAME not in sys.modules
    import_repeated(None, config.env)
    with pytest.raises(ConfigError, match=rf"^--env other:Agree: must be {NAME}:Agree, as the run was trained$"):
        import_repeated("other:Agree", config.env)
    assert not (folder / "imported").exists()
    import_repeated(config.env, config.env)
    assert make_environment(config).spec.num_actions == 3
    assert make_environment(config) is make_environment(config)


def test_arguments_reach_classes_and_functions(folder):
    for name in ("Agree", "larger"):
        import_environment(f"{NAME}:{name}")
    assert make_environment(Config(env=f"{NAME}:Agree", env_args=("actions=5",))).spec.num_actions == 5
    assert make_environment(Config(env=f"{NAME}:larger")).spec.num_actions == 4
    with pytest.raises(ConfigError, match=r"^--env_args size=5: the environment's arguments are actions$"):
        make_environment(Config(env=f"{NAME}:larger", env_args=("size=5",)))


def test_the_current_folder_hides_nothing(folder, monkeypatch):
    (folder / "random.py").write_text("raise SystemExit(5)")
    monkeypatch.delitem(sys.modules, "random")
    with pytest.raises(ConfigError, match=r"^--env random:Agree: .*random\.py has no Agree$") as refusal:
        import_environment("random:Agree")
    assert str(folder) not in str(refusal.value)
    assert sys.path[-1] == str(folder)
    assert sys.modules["random"].__file__ == random.__file__


BROKEN = {
    "raises": ("raise ValueError('no\\nway')", "importing raises failed: ValueError: no"),
    "leaves": ("import sys\nsys.exit(7)", "importing leaves failed: SystemExit: 7"),
    "syntax": ("def f(:", "importing syntax failed: SyntaxError: "),
    "needs": ("import there_is_no_such_thing", "importing needs failed: ModuleNotFoundError: No module named 'there"),
    "binary": ("x = '\0'", "importing binary failed: "),
}
REFUSED = [
    *((f"{name}:Agree", expected) for name, (_, expected) in BROKEN.items()),
    ("own_agre:Agree", "there is no module own_agre in the current folder or among those installed"),
    (f"{NAME}.py:Agree", f"did you mean {NAME}:Agree? there is no module {NAME}.py in"),
    ("own.agree:Agree", "there is no module own in the current folder or"),
    (f"{NAME}.inner:Agree", f"there is no module {NAME}.inner in the"),
    ("jaxmrl:MPE_simple_v3", "did you mean jaxmarl:MPE_simple_v3? there is no module jaxmrl in"),
    (f"{NAME}:agree", "did you mean Agree? "),
    (f"{NAME}:given", "must be a class or a function; in "),
    (f"{NAME}:number", "must be a class or a function; in "),
    (f"{NAME}:nothing", "environment NoneType: spec: NoneType, must be an EnvSpec"),
    (f"{NAME}:raising", "cannot be made: KeyError: 'no\\nmap'"),
    (f"{NAME}:Spelled", "cannot be made: AttributeError: "),
    (f"{NAME}:jnp", "must be a class or a function; in "),
    (f"{NAME}:EnvSpec", "cannot be made: TypeError: EnvSpec.__init__() missing 7 required"),
]


@pytest.mark.parametrize(("env", "expected"), REFUSED, ids=[env for env, _ in REFUSED])
def test_one_line_and_no_file(folder, capsys, env, expected):
    for name, (source, _) in BROKEN.items():
        (folder / f"{name}.py").write_text(source)
    before = {path.name for path in folder.iterdir()}
    assert cli.main(["--env", env, *TINY]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"error: --env {env}: {expected}" in err
    assert {path.name for path in folder.iterdir()} <= before | LEFT


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--env_args", "actions=many"], "--env_args actions=many: must be a whole number"),
        (["--env_args", "shape=3"], "--env_args shape=3: the environment's arguments are actions, reward, steps"),
        (["--env_args", "actions=0"], f"--env {NAME}:Agree: environment Agree: spec.num_actions: 0, must be"),
        (["--env_mode", "random"], f"--env_mode random: must be fixed with --env {NAME}:Agree"),
    ],
)
def test_arguments_and_flags_that_do_not_fit(folder, capsys, words, expected):
    assert cli.main(["--env", f"{NAME}:Agree", *words, *TINY]) == 2
    assert f"error: {expected}" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} <= LEFT


MISTAKES = {
    "in_import": ("import no_such_module_at_all  # HERE", "importing in_import failed: ModuleNotFoundError"),
    "in_init": ("class Own:\n    def __init__(self):\n        {}['no']  # HERE", "cannot be made: KeyError: 'no'"),
    "in_reset": (
        f"{SOURCE}\nclass Own(Agree):\n    def reset(self, key):\n        return self.lost  # HERE",
        "reset: cannot be traced: AttributeError",
    ),
    "in_jax": (
        f"{SOURCE}\nclass Own(Agree):\n    def reset(self, key):\n        jnp.ones(2) + jnp.ones(3)  # HERE",
        "reset: cannot be traced: TypeError",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_an_error_in_ones_own_code_has_its_line(folder, capsys, name):
    source, expected = MISTAKES[name]
    (folder / f"{name}.py").write_text(source)
    assert cli.main(["--env", f"{name}:Own", *TINY]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.endswith(f" ({folder / f'{name}.py'}, line {1 + source[: source.index('HERE')].count(chr(10))})\n")


def test_values_are_checked_too(folder, capsys):
    assert cli.main(["--env", f"{NAME}:not_a_number", *TINY]) == 2
    assert "error: environment Agree: rewards: nan" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} <= LEFT


def test_a_package(folder):
    (folder / "own_package").mkdir()
    (folder / "own_package" / "__init__.py").write_text("")
    (folder / "own_package" / "worlds.py").write_text(SOURCE)
    import_environment("own_package.worlds:Agree")
    assert make_environment(Config(env="own_package.worlds:Agree")).spec.name == "Agree"


def test_python_may_give_the_object_instead(folder, capsys):
    """A run that was trained from the command line, loaded in a notebook."""
    assert cli.main(["--env", f"{NAME}:Agree", "--env_args", "actions=4", *TINY, "--algorithm", "vdn"]) == 0
    run, agree = folder / "results" / "run_1", sys.modules[NAME].Agree
    assert capsys.readouterr().err == ""
    environments._registered.clear()
    assert load_policy(run, environment=agree(actions=4)).environment.spec.num_actions == 4
    with pytest.raises(ConfigError, match=r"^environment Agree: num_actions is 3, must be 4, as the run was trained$"):
        load_policy(run, environment=agree())
    with pytest.raises(ConfigError, match="must be given again"):
        load_policy(run)
