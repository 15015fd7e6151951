"""Which settings a sweep tries, and which runs it plans."""

import math

import pytest
from helpers import small_config

from qmix_jax.config import TRACEABLE
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.experiment import experiment_from_flags
from qmix_jax.experiments.plan import group_members, member_values, plan_members, share_groups, split_group
from qmix_jax.experiments.points import grid_points, random_points
from qmix_jax.experiments.sweep_spec import SWEEP, SweepSettings


def test_a_grid_is_every_combination():
    assert grid_points(["lr=1e-3,5e-4", "hidden_sizes=64x64,32"]) == [
        {"lr": 1e-3, "hidden_sizes": (64, 64)},
        {"lr": 1e-3, "hidden_sizes": (32,)},
        {"lr": 5e-4, "hidden_sizes": (64, 64)},
        {"lr": 5e-4, "hidden_sizes": (32,)},
    ]
    assert grid_points([]) == [{}]


def test_arguments_of_the_environment_are_tried_as_text():
    sweep = experiment_from_flags(
        SWEEP,
        {
            "env": "jaxmarl:HeuristicEnemySMAX",
            "env_args": ["see_enemy_actions=false"],
            "grid": ["env_args.scenario=3m,2s3z", "lr=1e-3,5e-4"],
        },
    )
    assert sweep.points[1] == {"env_args.scenario": "3m", "lr": 5e-4}
    configs = [member.config for member in sweep.members]
    assert [config.env_args[1] for config in configs] == ["scenario=3m"] * 2 + ["scenario=2s3z"] * 2
    assert {config.env_args[0] for config in configs} == {"see_enemy_actions=false"}
    assert [len(group.members) for group in group_members(sweep.members)] == [2, 2]  # a program for each scenario


def test_random_points_lie_in_their_ranges_and_repeat_with_their_seed():
    words = ["lr=1e-5:1e-2:log", "gamma=0.9:0.99", "target_update_interval=10:1000:log"]
    points = random_points(words, 400, seed=3)
    assert points == random_points(words, 400, seed=3)
    assert points != random_points(words, 400, seed=4)
    assert all(1e-5 <= p["lr"] <= 1e-2 and 0.9 <= p["gamma"] <= 0.99 for p in points)
    assert all(isinstance(p["target_update_interval"], int) for p in points)
    # The middle of three decades is the geometric one, of a linear range the arithmetic one.
    below = sum(p["lr"] < math.sqrt(1e-5 * 1e-2) for p in points)
    assert 160 < below < 240
    assert 160 < sum(p["gamma"] < 0.945 for p in points) < 240


NUMBERS = ",".join(map(str, range(1, 102)))
BAD = [
    ({"grid": ["lr"]}, "--grid lr:"),
    ({"grid": ["lr="]}, "--grid lr=:"),
    ({"grid": ["lrr=1"]}, "--grid lrr=1:"),
    ({"grid": ["learning_rate=1"]}, "did you mean lr?"),
    ({"grid": ["seed=1,2"]}, "--grid seed=1,2:"),
    ({"grid": ["lr=1e-3,1e-3"]}, "--grid lr=1e-3,1e-3:"),
    ({"grid": ["lr=1", "lr=2"]}, "--grid lr=2:"),
    ({"grid": ["lr=-1,1e-3"]}, "--grid lr=-1,1e-3:"),
    ({"grid": ["lr=1e-3,x"]}, "--grid lr=1e-3,x:"),
    ({"grid": [f"target_update_interval={NUMBERS}", f"n_step={NUMBERS}"]}, "combinations; must be at most 10000"),
    ({"grid": ["env_args=3m,2s3z"]}, "env_args is not a setting that can be swept"),
    ({"grid": ["env_args.=3m"]}, "env_args. is not a setting that can be swept"),
    ({"grid": ["env_args.a.b=3m"]}, "env_args.a.b is not a setting that can be swept"),
    ({"grid": ["env_args.size=3,4"]}, "--env_args size=3: gridworld25 has none"),
    ({"grid": ["env_args.size=3,3"]}, "must name every value once"),
    ({"grid": ["env_args.size=3"], "env": "a:B", "env_args": ["size=4"]}, "--env_args.size: cannot be given beside"),
    ({"grid": ["env=a:B,gridworld25"]}, "a:B: an environment of your own must be given by --env"),
    ({"random": "3", "ranges": ["env_args.size=3:4"]}, "must name a setting that is a number; use --grid for env_args"),
    ({"random": "3", "ranges": ["lr=1e-3"]}, "--ranges lr=1e-3:"),
    ({"random": "3", "ranges": ["lr=1e-3:1e-4"]}, "--ranges lr=1e-3:1e-4:"),
    ({"random": "3", "ranges": ["weight_decay=0:1:log"]}, "must have LOW below HIGH, and LOW above 0"),
    ({"random": "3", "ranges": ["lr=1e-4:1e-3:lin"]}, "--ranges lr=1e-4:1e-3:lin:"),
    ({"random": "3", "ranges": ["algorithm=a:b"]}, "must name a setting that is a number; use --grid for algorithm"),
    ({"random": "0", "ranges": ["lr=1e-4:1e-3"]}, "--random 0:"),
    ({"random": "3"}, "--random:"),
    ({"ranges": ["lr=1e-4:1e-3"]}, "--ranges:"),
    ({"grid": ["lr=1e-3"], "random": "3", "ranges": ["lr=1e-4:1e-3"]}, "give only one of them"),
    ({"random": "3", "optuna": "4", "ranges": ["lr=1e-4:1e-3"]}, "--random 3 and --optuna 4: give only one of them"),
    ({"grid": ["lr=1e-3"], "optuna": "4"}, "--grid lr=1e-3 and --optuna 4: give only one of them"),
    ({"optuna": "4"}, "--optuna: must come with --ranges"),
    ({"optuna": "0", "ranges": ["lr=1e-4:1e-3"]}, "--optuna 0: must be a whole number, at least 1"),
    ({"optuna": "4", "ranges": ["lr=1e-3"]}, "--ranges lr=1e-3:"),
    (
        {"optuna": "4", "ranges": ["epsilon_end=0.5:2"]},
        "--ranges epsilon_end=0.5:2: epsilon_end 2: must be a number",
    ),
    ({"optuna": "4", "ranges": ["lr=1e-4:1e-3"], "lr": "0.1"}, "--lr: cannot be given beside"),
    ({"batch": "4"}, "--batch 4: must come with --optuna"),
    ({"prune": "false", "random": "3", "ranges": ["lr=1e-4:1e-3"]}, "--prune false: must come with --optuna"),
    ({"num_seeds": "0"}, "--num_seeds 0:"),
    ({"memory_limit": "0"}, "--memory_limit 0:"),
    ({"grid": ["lr=1e-3,1e-4"], "lr": "1e-3"}, "--lr:"),
    *(
        ({"optuna": "4", "ranges": ["lr=1e-4:1e-3"], **alone}, "--optuna 4: must come with --num_devices 1, --keep")
        for alone in ({"num_devices": "2"}, {"keep_resumable": "1"}, {"checkpoint_replay": "false"})
    ),
    ({"grid": ["num_envs=7", "buffer_capacity=10"]}, "--buffer_capacity 10:"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as refused:
        experiment_from_flags(SWEEP, arguments)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_members_are_grouped_by_what_shapes_their_program():
    points = grid_points(["lr=1e-3,5e-4", "n_step=1,3", "gamma=0.9,0.95"])
    members = plan_members(small_config(seed=10), points, num_seeds=2)
    assert [member.config.seed for member in members[:4]] == [10, 11, 10, 11]
    assert members[3].folder == "lr=0.001,n_step=1,gamma=0.95/seed_1"
    groups = group_members(members)
    assert [len(group.members) for group in groups] == [8, 8]
    assert [{member.config.n_step for member in group.members} for group in groups] == [{1}, {3}]
    assert all(set(group.names) == {"lr", "gamma"} for group in groups)
    assert member_values(groups[0])["gamma"] == [0.9, 0.9, 0.95, 0.95] * 2


def test_seeds_alone_are_one_group_without_points_folders():
    (group,) = group_members(plan_members(small_config(), [{}], num_seeds=3))
    assert group.names == ()
    assert [member.folder for member in group.members] == ["seed_0", "seed_1", "seed_2"]


@pytest.mark.parametrize(("fitting", "sizes"), [(8, [7]), (7, [7]), (4, [4, 3]), (3, [3, 2, 2]), (1, [1] * 7)])
def test_a_group_that_does_not_fit_is_split_into_the_fewest_parts(fitting, sizes):
    (group,) = group_members(plan_members(small_config(), [{}], num_seeds=7))
    parts = split_group(group, fitting)
    assert [len(part.members) for part in parts] == sizes
    assert [member for part in parts for member in part.members] == list(group.members)


def test_a_decay_of_the_whole_run_is_not_traced():
    """Not set, it has no number that could be traced: such members have a program of their own."""
    members = plan_members(small_config(), [{"epsilon_decay_steps": None}, {"epsilon_decay_steps": 10}], 1)
    assert len(group_members(members)) == 2
    assert "epsilon_decay_steps" in TRACEABLE


def test_the_defaults_are_a_single_seed():
    assert SweepSettings().num_seeds == 1
    assert len(experiment_from_flags(SWEEP, {}).members) == 1


def test_processes_share_every_group():
    """Two widths, three seeds: of each group one process has a member more, and both have three in all."""
    points = [{"hidden_sizes": (8,)}, {"hidden_sizes": (4,), "lr": 0.1}, {"hidden_sizes": (4,), "lr": 0.2}]
    shares = share_groups(group_members(plan_members(small_config(), points, num_seeds=3)), 2)
    assert [[[(member.point, member.seed) for member in group.members] for group in share] for share in shares] == [
        [[(0, 0), (0, 2)], [(1, 1), (2, 0), (2, 2)]],
        [[(0, 1)], [(1, 0), (1, 2), (2, 1)]],
    ]


def test_a_member_by_itself_is_computed_as_many_are():
    """Its learning rate stays an array of the program, whatever its process's other members are."""
    groups = group_members(plan_members(small_config(), [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}], num_seeds=1))
    assert [[(group.names, len(group.members)) for group in share] for share in share_groups(groups, 3)] == [
        [(("lr",), 1)]
    ] * 3
