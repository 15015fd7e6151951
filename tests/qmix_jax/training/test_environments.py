"""--env: names, refusals, and whole runs in other libraries' environments, stopped and resumed."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from env_jax import GridWorld25, LastAction
from env_jax.foreign.jaxmarl import FromJaxMARL
from qmix_jax import resume_run, run
from qmix_jax import train as cli
from qmix_jax.config import ENV_LIBRARIES, KNOWN_ENVS, Config
from qmix_jax.errors import ConfigError, StoppedError
from qmix_jax.presets import preset_config
from qmix_jax.storage.hparams import describe_run, read_config, run_notices
from qmix_jax.training.environments import make_environment

TINY = {
    "algorithm": "vdn",
    "num_envs": 4,
    "buffer_capacity": 400,
    "min_buffer_size": 40,
    "batch_size": 4,
    "hidden_sizes": (4,),
    "mixing_size": 4,
    "hypernet_size": 4,
    "eval_interval": 100,
    "eval_episodes": 2,
}
SPREAD, FORAGING = "jaxmarl:MPE_simple_spread_v3", "jumanji:LevelBasedForaging-v0"
SMAX = "jaxmarl:HeuristicEnemySMAX"
REFUSED = [
    ("gridworld", "did you mean gridworld25? must be one of gridworld25, jaxmarl:"),
    ("GridWorld25", "did you mean gridworld25? "),
    ("MPE_simple_spread_v3", f"did you mean {SPREAD}? "),
    ("jaxmarl:simple_spread_v3", f"did you mean {SPREAD}? "),
    ("jaxmarl:mpe_simple_spread_V3", f"did you mean {SPREAD}? "),
    ("jumanji:LevelBasedForagin", f"did you mean {FORAGING}? "),
    ("jumanji:", "another environment of these libraries, or package.module:NAME of your own"),
    ("jumanji:Lbf", "jumanji:Lbf: must be one of "),  # near to no name of Jumanji's, though it begins like all of them
    ("./my/file.py:Name", "did you mean my.file:Name? must be one of "),
    ("my.file.Name", "did you mean my.file:Name? "),
    ("my_file.py", "did you mean my_file:NAME? "),
    ("my_file:", "did you mean my_file:NAME? "),
    ("jaxmarl:smax", "its agents play against each other, ally and enemy; must cooperate, as in " + SMAX),
    ("jaxmarl:simple_tag", "its agents play against each other, adversary and agent; must cooperate"),
    ("jumanji:snake", "it has one action of 4, for a single agent; must"),
    ("jaxmarl:MPE_simple_tag_v3", "its agents play against each other, adversary and agent; must cooperate"),
    ("jumanji:Snake-v1", "it has one action of 4, for a single agent; must"),
]


def last_row(path):
    with path.open() as file:
        return list(csv.DictReader(file))[-1]


def refusal(capsys, tmp_path, *arguments):
    """What `main` says in its one line, having written nothing."""
    assert cli.main([*arguments, "--results_dir", str(tmp_path / "results")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    return err.split(": error: ", 1)[1]


@pytest.fixture(autouse=True)
def _no_compilation_cache(monkeypatch):
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)


@pytest.mark.parametrize(("name", "expected"), REFUSED, ids=[name for name, _ in REFUSED])
def test_a_name_that_will_not_do(capsys, tmp_path, name, expected):
    message = refusal(capsys, tmp_path, "--env", name)
    assert message.startswith(f"--env {name}: ")
    assert expected in message
    assert expected.startswith(("it ", "its ")) or all(known in message for known in KNOWN_ENVS)


@pytest.mark.parametrize("library", ENV_LIBRARIES)
def test_a_library_that_is_not_installed(capsys, tmp_path, monkeypatch, library):
    adapter = f"env_jax.foreign.{library}"
    for name in [name for name in sys.modules if name.split(".")[0] == library or name == adapter]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    message = refusal(capsys, tmp_path, "--env", f"{library}:any")
    needs = f"needs {library}: install the extra '{library}', in a checkout with pip install -e '.[{library}]'"
    assert message == f"--env {library}:any: {needs}\n"


ARGUMENTS = [
    (SMAX, "scenario=4m", "must be one of 3m, 2s3z, "),
    (SMAX, "scenario=3M", "did you mean 3m? must be one of 3m, "),
    (SMAX, "scenari=3m", "did you mean scenario? the environment's arguments are action_type, "),
    (SMAX, "see_enemy_actions=maybe", "must be true or false"),
    (SMAX, "attack_mode=foo", "must be one of closest, random"),
    (SMAX, "unit_type_names=a", "the environment's arguments are action_type, attack_mode, "),
    ("jaxmarl:overcooked", "layout=kitchen", "must be one of cramped_room, asymm_advantages, "),
    ("jaxmarl:overcooked_v2", "layout=kitchen", "must be one of cramped_room, asymm_advantages, "),
    (SPREAD, "num_agents=three", "must be a whole number"),
    (SPREAD, "local_ratio=nan", "must be a number"),
    (FORAGING, "speed=2", "the environment's arguments are force_coop, fov, grid_observation, grid_size, "),
    (FORAGING, "grid_size=2.5", "must be a whole number"),
]


@pytest.mark.parametrize(("env", "word", "expected"), ARGUMENTS, ids=[f"{env} {word}" for env, word, _ in ARGUMENTS])
def test_an_argument_that_will_not_do(capsys, tmp_path, env, word, expected):
    message = refusal(capsys, tmp_path, "--env", env, "--env_args", word)
    assert message.startswith(f"--env_args {word}: {expected}")


@pytest.mark.parametrize(
    ("env", "word", "expected"),
    [
        (FORAGING, "num_food=1000", "Jumanji cannot make it: "),
        (FORAGING, "num_agents=0", ""),
        (SPREAD, "num_agents=0", "it has no agents; must have at least one"),
        (SMAX, "num_allies=-1", ""),
        ("jaxmarl:hanabi", "num_ranks=0", ""),
    ],
)
def test_an_argument_that_makes_no_environment(capsys, tmp_path, env, word, expected):
    """Whatever the library makes of it, and wherever it then fails."""
    message = refusal(capsys, tmp_path, "--env", env, "--env_args", word)
    assert message.startswith(f"--env {env}: {expected}")


def test_arguments_make_another_environment():
    plain, other = (Config(env=FORAGING, env_args=words) for words in (None, ("num_agents=3", "grid_size=10")))
    assert make_environment(plain).spec.num_agents == 2
    assert make_environment(other).spec.num_agents == 3
    assert make_environment(other) is make_environment(replace(other, lr=0.5))
    assert make_environment(other).environment._generator.num_food == 2  # as registered


def test_shaped_rewards_are_refused_where_there_are_none(capsys, tmp_path):
    for env in ("gridworld25", FORAGING):
        message = refusal(capsys, tmp_path, "--env", env, "--shaped_reward_steps", "100")
        assert message.startswith("--shaped_reward_steps 100: ")
        assert message.endswith(" has no shaped rewards\n")


@pytest.mark.parametrize("flag", ["--layout_seed 2", "--env_mode random"])
def test_what_belongs_to_the_grid(capsys, tmp_path, flag):
    message = refusal(capsys, tmp_path, "--env", SPREAD, *flag.split())
    assert message.startswith(f"{flag}: must be ")
    assert message.endswith(f" with --env {SPREAD}\n")


def test_the_grid_is_the_default():
    assert make_environment(Config(layout_seed=3)) == GridWorld25(layout_seed=3)


def test_the_last_action_wraps_any_world():
    environment = make_environment(Config(env=SPREAD, last_action=True))
    assert isinstance(environment, LastAction)
    assert environment.spec.observation_size == 19
    assert environment.spec.max_steps == 25


def test_arguments_that_the_library_cannot_use_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^--env_args dim_p=3: environment .*: step: cannot be traced: TypeError: "):
        make_environment(Config(env=SPREAD, env_args=("dim_p=3",)))
    with pytest.raises(ConfigError, match=r"^--env_args dim_c=1: the environment's arguments are action_type, dim_p, "):
        make_environment(Config(env=SPREAD, env_args=("dim_c=1",)))


def test_rewards_of_their_own_are_told():
    for shared in (False, True):
        config = Config(env="jaxmarl:coin_game", env_args=(f"shared_rewards={shared}",))
        notices = run_notices(config, make_environment(config))
        assert (
            any("trained on the sum of the 2, whether they cooperate or compete" in line for line in notices) != shared
        )
    assert not any("rewards of their own" in line for line in run_notices(Config(), make_environment(Config())))


def test_the_shorter_limit_counts_and_is_told():
    for limit, expected in ((200, 25), (25, 25), (10, 10)):
        config = Config(env=SPREAD, max_steps_per_ep=limit)
        environment = make_environment(config)
        assert isinstance(environment, FromJaxMARL)
        assert environment.spec.max_steps == expected
        told = [line for line in describe_run(config, environment)["notices"] if "max_steps_per_ep" in line]
        assert len(told) == (limit > 25)
    told = "--max_steps_per_ep 200: episodes end after 25 steps, while --total_episodes counts the flag's"
    assert told in describe_run(Config(env=SPREAD), make_environment(Config(env=SPREAD)))["notices"]


def test_a_run_in_spread_stops_and_goes_on(tmp_path, capsys):
    config = Config(env=SPREAD, total_steps=400, results_dir=str(tmp_path), **TINY)
    with pytest.raises(StoppedError) as stopped:
        run(config, lambda: 15)
    directory = stopped.value.directory
    assert read_config(directory / "configs" / "hparams.json") == config
    assert json.loads((directory / "configs" / "hparams.json").read_text())["derived"]["environment"] == SPREAD
    result = resume_run(directory)
    row = last_row(directory / "evaluation_log.csv")
    assert (row["env_steps"], row["optimality"], row["solved"], row["mean_length"]) == ("400", "", "", "25")
    assert float(row["undiscounted_return"]) < float(row["mean_return"]) < 0
    assert np.isnan(result.evaluation.optimality)
    assert f"final policy: return {result.evaluation.mean_return:.3f}\n" in capsys.readouterr().out
    assert (directory / "training_plots.png").exists()
    assert (directory / "models" / "best_model").exists()


def test_a_run_in_foraging(tmp_path):
    config = Config(env=FORAGING, max_steps_per_ep=20, total_steps=200, results_dir=str(tmp_path), **TINY)
    directory = run(config).directory
    row = last_row(directory / "evaluation_log.csv")
    assert (row["env_steps"], row["optimality"]) == ("200", "")
    assert 0 <= float(row["solved"]) <= 1
    assert 0 <= float(row["undiscounted_return"]) <= 1
    assert {int(length) <= 20 for length in _column(directory / "training_log.csv", "episode_length")} == {True}


def _column(path, name):
    with path.open() as file:
        return [row[name] for row in csv.DictReader(file)]


def test_a_preset_of_the_grids_modes_is_refused_elsewhere():
    with pytest.raises(ConfigError, match=f"--env_mode random: must be fixed with --env {SPREAD}"):
        preset_config("random", env=SPREAD)
