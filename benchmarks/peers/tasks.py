"""The tasks: environments, budgets, JaxMARL's scripts with what we override of their settings, and our flags.

Each side's settings are its own. JaxMARL's are those of the YAML file that its authors publish for the environment,
except for what is listed here: budgets, and on SMAX and Overcooked widths of 512, since such networks and 10 million
steps take days on one core. There all networks of both sides are 64 wide.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_NONE: Mapping[str, Any] = MappingProxyType({})


class Peer(NamedTuple):
    """One of JaxMARL's scripts in baselines/QLearning."""

    script: str
    settings: str  # YAML file in config/alg
    overrides: Mapping[str, Any] = _NONE  # beside the budget, the environment and the tests
    takes_hours: bool = False  # on one core: only trained if named by --algorithms


class Task(NamedTuple):
    """A row of the table: what is trained on, for how long and how."""

    title: str
    env: str  # LIBRARY:NAME
    max_steps: int  # of an episode
    steps: int  # environment steps of training
    tests: int  # greedy evaluations during training
    test_episodes: int  # of each
    unit: str  # of the return: team, the sum over agents, or agent, which is what JaxMARL's wrappers log
    ours: Mapping[str, tuple[str, ...]]  # flags by algorithm
    jaxmarl: Mapping[str, Peer] = _NONE  # by algorithm; none for environments of other libraries
    env_args: Mapping[str, Any] = _NONE
    map_name: str | None = None  # a scenario of SMAX or a layout of Overcooked
    episodes: int = 512  # of the final evaluation
    core: bool = True  # three seeds; else one, indicative

    @property
    def map_argument(self) -> str:
        """Name of the constructor's argument that `map_name` is given by."""
        return "layout" if self.env == "jaxmarl:overcooked" else "scenario"


_RNN = {"qmix": "qmix_rnn.py", "vdn": "vdn_rnn.py", "iql": "iql_rnn.py"}


def _recurrent(settings: str, pqn_settings: str, overrides: Mapping[str, Any], pqn: Mapping[str, Any]) -> dict:
    peers = {name: Peer(script, settings, overrides) for name, script in _RNN.items()}
    return {**peers, "pqn_vdn": Peer("pqn_vdn_rnn.py", pqn_settings, pqn)}


# Widths as in PyMARL, and ten times the learning rate for a twentieth of the steps.
_NARROW = {"HIDDEN_SIZE": 64}
_SMAX = {**_NARROW, "MIXER_EMBEDDING_DIM": 32, "MIXER_HYPERNET_HIDDEN_DIM": 64, "LR": 5e-4}
_SMAX_PEERS = _recurrent(
    "ql_rnn_smax.yaml", "pqn_vdn_rnn_smax.yaml", _SMAX, {**_NARROW, "LR": 5e-4, "TEST_INTERVAL": 0.1}
)
_SMAX_ARGS = {"see_enemy_actions": True, "walls_cause_death": True, "attack_mode": "closest"}
_MPE_PEERS = _recurrent("ql_rnn_mpe.yaml", "pqn_vdn_rnn_mpe.yaml", {"LOG_AGENTS_SEPARATELY": False}, _NONE)

_SHAPED = {"REW_SHAPING_HORIZON": 500_000}  # half of the run, as published

_OUR_ALGORITHMS = ("qmix", "vdn", "iql", "qplex")


def _ours(preset: str, *flags: str, algorithms: tuple[str, ...] = _OUR_ALGORITHMS) -> dict[str, tuple[str, ...]]:
    """Return our flags: the task's preset, and beside it QMIX of the preset `general`."""
    own = {name: ("--preset", preset, "--algorithm", name, *flags) for name in algorithms}
    return own if preset == "general" else {**own, "general": ("--preset", "general", *flags)}


# Agents have to count the days to the last one, after which there is nothing: JaxMARL's have GRUs too.
_REMEMBERING = (
    *("--agent", "gru", "--sequence_length", "6", "--sequence_start", "episode", "--batch_size", "32"),
    *("--time_limit", "terminal"),
)


# Without replay: QMIX, and VDN beside JaxMARL's PQN-VDN. Fewer environments than the preset's make more updates.
_PQN = ("--preset", "pqn", "--num_envs", "64", "--batch_size", "8", "--epochs", "2", "--lr", "1e-3")
_ON_POLICY = {"pqn": _PQN, "pqn_vdn": (*_PQN, "--algorithm", "vdn")}
_OUR_SMAX = {**_ours("smax"), **_ON_POLICY}
_OUR_MPE = {**_ours("mpe_spread"), **_ON_POLICY}
_OUR_OVERCOOKED = _ours("general", "--shaped_reward_steps", "1000000", algorithms=("qmix", "vdn"))


def _smax(scenario: str, steps: int, core: bool = True) -> Task:
    return Task(
        title=f"SMAX {scenario}",
        env="jaxmarl:HeuristicEnemySMAX",
        max_steps=100,
        steps=steps,
        tests=20,
        test_episodes=64,
        unit="agent",
        jaxmarl=_SMAX_PEERS,
        ours=_OUR_SMAX,
        env_args=_SMAX_ARGS,
        map_name=scenario,
        core=core,
    )


def _mpe(title: str, env: str, core: bool = True) -> Task:
    return Task(
        title=title,
        env=env,
        max_steps=25,
        steps=1_000_000,
        tests=20,
        test_episodes=512,
        unit="team",
        jaxmarl=_MPE_PEERS,
        ours=_OUR_MPE,
        core=core,
    )


def _foraging(size: int, agents: int, foods: int, cooperative: bool) -> Task:
    """Return level-based foraging with the arguments of Mava's scenarios: all is visible, agents have level 1 or 2."""
    return Task(
        title=f"LBF {size}x{size}, {agents} agents, {foods} foods" + (", cooperative" if cooperative else ""),
        env="jumanji:LevelBasedForaging-v0",
        max_steps=100,
        steps=500_000,
        tests=20,
        test_episodes=128,
        unit="team",
        ours=_ours("lbf", algorithms=("qmix", "vdn", "iql")),
        env_args={
            "grid_size": size,
            "fov": size,
            "num_agents": agents,
            "num_food": foods,
            "max_agent_level": 2,
            "force_coop": cooperative,
        },
        core=False,
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "spread": _mpe("MPE simple_spread", "jaxmarl:MPE_simple_spread_v3"),
        "smax_3m": _smax("3m", 500_000),
        "smax_2s3z": _smax("2s3z", 500_000),
        "cramped_room": Task(
            title="Overcooked cramped_room",
            env="jaxmarl:overcooked",
            max_steps=400,
            steps=1_000_000,
            tests=10,
            test_episodes=16,
            episodes=64,
            unit="agent",
            jaxmarl={
                "vdn": Peer("vdn_cnn_overcooked.py", "ql_cnn_overcooked.yaml", _SHAPED, takes_hours=True),
                "pqn_vdn": Peer(
                    "pqn_vdn_cnn_overcooked.py",
                    "pqn_vdn_cnn_overcooked.yaml",
                    {**_SHAPED, **_NARROW},
                    takes_hours=True,
                ),
            },
            ours=_OUR_OVERCOOKED,
            map_name="cramped_room",
        ),
        "reference": _mpe("MPE simple_reference", "jaxmarl:MPE_simple_reference_v3", core=False),
        "switch_riddle": Task(
            title="Switch riddle",
            env="jaxmarl:switch_riddle",
            max_steps=6,
            steps=200_000,
            tests=20,
            test_episodes=512,
            unit="agent",
            jaxmarl=_MPE_PEERS,
            ours={**_ours("general", *_REMEMBERING), "general": ("--preset", "general")},
            core=False,
        ),
        "smax_3s5z": _smax("3s5z", 500_000, core=False),
        "lbf_8x8": _foraging(8, 2, 2, cooperative=True),
        "lbf_10x10": _foraging(10, 3, 3, cooperative=False),
        "rware_tiny": Task(
            title="RobotWarehouse tiny, 4 agents",
            env="jumanji:RobotWarehouse-v0",
            max_steps=500,
            steps=1_000_000,
            tests=20,
            test_episodes=32,
            unit="team",
            ours=_ours("general", algorithms=("qmix", "vdn", "iql")),
            env_args={
                "column_height": 8,
                "shelf_rows": 1,
                "shelf_columns": 3,
                "num_agents": 4,
                "sensor_range": 1,
                "request_queue_size": 4,
            },
            episodes=128,
            core=False,
        ),
    }
)

CORE_ALGORITHMS = ("qmix", "vdn", "general", "pqn", "pqn_vdn")
CORE_SEEDS, INDICATIVE_SEEDS = (0, 1, 2), (0,)


def budget(task: Task) -> dict[str, Any]:
    """Return the settings of JaxMARL's scripts that the task fixes: environment, steps and tests."""
    arguments = dict(task.env_args)
    if task.map_name is not None and task.map_argument == "layout":
        arguments["layout"] = task.map_name
    return {
        "ENV_NAME": task.env.removeprefix("jaxmarl:"),
        "ENV_KWARGS": arguments,
        **({"MAP_NAME": task.map_name} if task.map_argument == "scenario" and task.map_name else {}),
        "TOTAL_TIMESTEPS": task.steps,
        "TEST_INTERVAL": 1 / task.tests,
        "TEST_NUM_ENVS": task.test_episodes,
    }


def flags(task: Task, algorithm: str) -> list[str]:
    """Return our flags: the algorithm's, and those that the task fixes."""
    arguments = {**task.env_args, **({task.map_argument: task.map_name} if task.map_name else {})}
    words = [f"{name}={str(value).lower()}" for name, value in arguments.items()]
    return [
        *task.ours[algorithm],
        *("--env", task.env),
        *(["--env_args", *words] if words else []),
        *("--max_steps_per_ep", str(task.max_steps), "--total_steps", str(task.steps)),
        *("--eval_interval", str(task.steps // task.tests), "--eval_episodes", str(task.test_episodes)),
        *("--save_interval", "1000000000"),  # JaxMARL's scripts only save the last parameters
    ]
