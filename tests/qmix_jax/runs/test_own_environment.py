"""Environments that are given as objects: whole runs, what reads them again, and what is refused beforehand."""

import csv
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_compilation
from probes import Corridor, TwoSteps

from env_jax import GridWorld25, LastAction
from qmix_jax import Config, ConfigError, evaluate, export, load_policy, make_train, make_trainer, report, run
from qmix_jax import resume_run as go_on
from qmix_jax import train as cli
from qmix_jax.runs.policy import TrainedPolicy
from qmix_jax.storage.hparams import read_config

CONFIG = Config(
    algorithm="vdn",
    num_envs=4,
    total_steps=240,
    buffer_capacity=400,
    min_buffer_size=40,
    batch_size=4,
    hidden_sizes=(4,),
    eval_interval=80,
    eval_episodes=2,
    save_interval=10,
    report=True,
    last_action=True,
)
GIVEN = Corridor(max_steps=3)


class TeamReward(Corridor):
    def rewards_of(self, rewards):
        return jnp.sum(rewards)

    def step(self, key, state, actions):
        state, time_step = super().step(key, state, actions)
        return state, time_step.replace(rewards=self.rewards_of(time_step.rewards))


class IntegerRewards(TeamReward):
    def rewards_of(self, rewards):
        return rewards.astype(jnp.int32)


class LateNan(TeamReward):
    def rewards_of(self, rewards):
        return jnp.where(rewards == 2.0, jnp.nan, rewards)


class Pruned(OSError):
    """What a search may raise to end a run."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that its own caller ended at the second evaluation, and went on with. (directory, evaluations told)"""
    told = []

    def tell(env_steps, evaluation):
        told.append((env_steps, evaluation))
        if len(told) == 2:
            raise Pruned

    config = replace(CONFIG, results_dir=str(tmp_path_factory.mktemp("own") / "results"))
    with quick_compilation():
        with pytest.raises(Pruned) as pruned:
            run(config, environment=GIVEN, on_evaluation=tell)
        assert pruned.value.__context__ is None
        assert "run, which can be resumed" in pruned.value.__notes__[0]
        directory = tmp_path_factory.getbasetemp() / config.results_dir / "run_1"
        assert (directory / "training_plots.png").exists()
        assert not (directory / "models" / "final_model").exists()
        go_on(directory, environment=Corridor(max_steps=3), on_evaluation=tell)
    return directory, told


def test_a_run_is_ended_and_resumed(runs):
    directory, told = runs
    with (directory / "evaluation_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [steps for steps, _ in told] == [80, 160, 240]
    assert [int(row["env_steps"]) for row in rows] == [80, 160, 240]
    assert all(type(steps) is int for steps, _ in told)
    assert all(isinstance(leaf, np.ndarray) for _, evaluation in told for leaf in evaluation[:-1])
    assert float(rows[-1]["mean_return"]) == pytest.approx(float(told[-1][1].mean_return), rel=1e-6)
    assert (directory / "report.html").exists()


def test_its_settings_say_what_it_was_trained_on(runs):
    hparams = json.loads((runs[0] / "configs" / "hparams.json").read_text())
    assert hparams["env"] == "given:Corridor"
    assert hparams["derived"]["environment"] == "Corridor"
    assert hparams["derived"]["environment_spec"] == {
        "num_agents": 2,
        "num_actions": 3,
        "observation_size": 3,  # --last_action
        "state_size": 3,
        "max_steps": 3,
        "observation_dtype": "float32",
        "observation_features": 5,  # the last action as a one-hot vector
        "state_features": 7,
    }
    assert "--max_steps_per_ep 200: episodes end after 3 steps" in hparams["notices"]
    assert read_config(runs[0] / "configs" / "hparams.json").env == "given:Corridor"


@pytest.mark.parametrize("command", [evaluate, export, report])
def test_commands_do_not_take_another_environment_for_it(runs, capsys, command):
    assert command.main([str(runs[0])]) == 2
    assert capsys.readouterr().err.partition("error: ")[2].startswith("--env given:Corridor: was given as an object")


def test_nor_do_flags(runs, capsys):
    for flags in (["--resume", str(runs[0])], ["--env", "given:Corridor", "--results_dir", str(runs[0])]):
        assert cli.main(flags) == 2
        assert "error: --env given:Corridor: was given as an object" in capsys.readouterr().err


def test_its_policy_checks_the_shapes_it_is_given(runs):
    policy = load_policy(runs[0], environment=GIVEN)
    assert policy.environment == LastAction(GIVEN)
    key, seen = jax.random.key(0), np.zeros((5, 2, 3), np.float32)
    assert policy(key, seen).shape == (5, 2)
    memory = policy.init_memory(5)
    refused = [
        (
            lambda: policy(key, seen[..., :2]),
            r"observations \[5, 2, 2\]: must be \[5, 2, 3\], by the sizes of Corridor",
        ),
        (lambda: policy(key, np.zeros((5, 2, 4))), r"observations \[5, 2, 4\]: must be \[5, 2, 3\]"),
        (lambda: policy(key, seen[:, :1]), r"observations \[5, 1, 3\]: must be \[5, 2, 3\]"),
        (lambda: policy(key, seen[0, 0]), r"observations \[3\]: must be \[2, 3\]"),
        (lambda: jax.eval_shape(policy, key, seen[..., :2]), r"observations \[5, 2, 2\]"),
        (lambda: policy(key, seen, np.ones((2, 3), bool)), r"action_mask \[2, 3\]: must be \[5, 2, 3\]"),
        (lambda: policy(key, seen, np.ones((5, 2, 4), bool)), r"action_mask \[5, 2, 4\]: must be \[5, 2, 3\]"),
        (lambda: policy.step(key, seen, memory[:4]), r"memory \[4, 2, 0\]: must be \[5, 2, 0\]"),
        (lambda: policy.step(key, seen, np.zeros((5, 2, 8))), r"memory \[5, 2, 8\]: must be \[5, 2, 0\]"),
    ]
    for call, expected in refused:
        with pytest.raises(ValueError, match=expected):
            call()
    assert isinstance(policy, TrainedPolicy)


def test_another_environment_is_refused(runs):
    for environment, expected in (
        (None, r"--env given:Corridor: was given as an object"),
        (TwoSteps(), r"environment=TwoSteps: must be Corridor"),
    ):
        for use in (load_policy, go_on):
            with pytest.raises(ConfigError, match=expected):
                use(runs[0], environment=environment)


def test_another_time_limit_is_refused_only_where_training_goes_on(runs, capsys):
    longer = Corridor(max_steps=4)
    with pytest.raises(ConfigError, match=r"^environment Corridor: max_steps is 4, must be 3, as the run was trained$"):
        go_on(runs[0], environment=longer)
    assert load_policy(runs[0], environment=longer).environment.spec.max_steps == 4
    told = "notice: environment Corridor has changed since the run was trained: max_steps is 4, not 3; its functions"
    assert capsys.readouterr().err.startswith(told)


REFUSED = [
    (
        TeamReward(),
        {},
        r"environment TeamReward: rewards: step gives float32\[\], must be float32\[2\], each agent's own",
    ),
    (LateNan(), {}, r"environment LateNan: rewards: nan after 3 steps, must be finite"),
    (Corridor(max_steps=65_536), {}, r"environment Corridor: spec\.max_steps: 65536, must be a whole number from 1 to"),
    (
        Corridor(),
        {"env_mode": "random"},
        r"--env_mode random: must be fixed with environment=Corridor, which has its",
    ),
    (Corridor(), {"layout_seed": 2}, r"--layout_seed 2: must be 1 with environment=Corridor"),
    (
        Corridor(),
        {"env": "jaxmarl:MPE_simple_v3"},
        r"--env jaxmarl:MPE_simple_v3: must not be given with environment=C",
    ),
]


@pytest.mark.parametrize(
    ("environment", "settings", "expected"), REFUSED, ids=[expected[:40] for *_, expected in REFUSED]
)
def test_what_will_not_do_is_refused_before_anything_is_written(tmp_path, environment, settings, expected):
    config = replace(CONFIG, results_dir=str(tmp_path / "results"), **settings)
    for use in (run, make_train):
        with pytest.raises(ConfigError, match=f"^{expected}") as refused:
            use(config, environment=environment)
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_shapes_are_checked_by_the_trainer_too():
    with pytest.raises(ConfigError, match="environment TeamReward: rewards: step gives"):
        make_trainer(CONFIG, TeamReward())


def test_values_need_not_be_checked():
    for environment in (LateNan(), IntegerRewards()):
        train = make_train(replace(CONFIG, last_action=False), environment, check=False)
        state, _ = jax.eval_shape(train, jax.random.key(0))
        assert state.replay.experience.rewards.dtype == jnp.float32


def test_a_column_of_the_log_is_no_name_for_a_metric(tmp_path):
    class Named(Corridor):
        @property
        def spec(self):
            return replace(super().spec, episode_metrics=lambda state: {"solved": state.cue})

    with pytest.raises(ConfigError, match=r"environment Named: spec\.episode_metrics: solved: must not be the name of"):
        run(replace(CONFIG, results_dir=str(tmp_path / "results")), environment=Named())
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_its_own_flags_needs_no_environment(tmp_path):
    (tmp_path / "configs").mkdir()
    hparams = json.loads(json.dumps({"format": 3, **vars(Config())}, default=list))
    (tmp_path / "configs" / "hparams.json").write_text(json.dumps(hparams))
    with pytest.raises(
        ConfigError, match="environment=GridWorld25v0: must not be given: the run has --env gridworld25"
    ):
        load_policy(tmp_path, environment=GridWorld25())
