"""Every setting of a run: a frozen, hashable dataclass that knows its own limits.

A field's declaration is the single place for its default, its help line and the values it accepts; the command
line, the validation and `hparams.json` are made from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from qmix_jax.settings import ConfigError, check_setting, setting

__all__ = ["Config", "ConfigError"]

BUDGETS = ("total_episodes", "total_steps")  # of these settings, one is given
_LONGEST_CHUNK = 20_000  # environment steps; progress, checkpoints and Ctrl-C wait for the end of a chunk


@dataclass(frozen=True)
class Config:
    """Settings of one training run, in the order `--help` shows them. 'Environment steps' count all environments."""

    total_episodes: int = setting(
        1000,
        "budget in full-length episodes over all environments; short episodes leave room for more",
        at_least=1,
        group="The run",
    )
    total_steps: int | None = setting(None, "budget in environment steps, instead of --total_episodes", at_least=1)
    max_steps_per_ep: int = setting(200, "time limit of an episode, in steps", at_least=1, at_most=65_535)
    num_envs: int = setting(64, "environments stepped at once", at_least=1, at_most=65_536)
    seed: int = setting(0, "seed of everything random in the run", at_least=0, at_most=2**32 - 1)
    env: str = setting("gridworld25", "environment; also jaxmarl:NAME and jumanji:NAME, by extras of those names")
    env_mode: str = setting(
        "fixed", "starts: one layout restored at every reset, or a new one", choices=("fixed", "random")
    )
    layout_seed: int = setting(1, "NumPy seed of the fixed layout", at_least=0, at_most=2**32 - 1)

    algorithm: str = setting(
        "qmix",
        "monotonic mixer (cw_, ow_: weighted), duplex dueling (qplex), sum, or each agent alone by the team's (iql) or "
        "its own (madqn) reward",
        choices=("qmix", "vdn", "iql", "madqn", "cw_qmix", "ow_qmix", "qplex"),
        group="The algorithm",
    )
    target: str = setting(
        "n_step",
        "n_step: --n_step rewards and a greedy value; q_lambda: Peng's Q(lambda); td_lambda: of the actions taken",
        choices=("n_step", "q_lambda", "td_lambda"),
    )
    n_step: int = setting(3, "steps of reward before the bootstrap", at_least=1, at_most=1_000)
    td_lambda: float = setting(
        0.6,
        "weight of longer targets in q_lambda and td_lambda; 0: one step, 1: the whole sequence",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    alpha: float = setting(
        0.5,
        "cw_qmix, ow_qmix: weight of joint actions that seem no better than the greedy one",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    time_limit: str = setting(
        "auto",
        "what follows an episode that its time limit cuts: nothing (terminal), its value (bootstrap), or as the "
        "environment says (auto)",
        choices=("auto", "terminal", "bootstrap"),
    )
    double_q: bool = setting(True, "choose the bootstrap's actions by the online network (double Q-learning)")

    buffer_capacity: int = setting(100_000, "replay size, in transitions", at_least=1, group="Replay")
    batch_size: int = setting(64, "sequences drawn per update", at_least=1)
    sequence_length: int = setting(1, "steps of a sequence that are learnt from", at_least=1, at_most=1_000)
    burn_in: int = setting(
        0, "steps before those that only fill the agents' memory (--agent gru)", at_least=0, at_most=1_000
    )
    min_buffer_size: int = setting(10_000, "transitions in replay before updates are counted", at_least=0)
    replay: str = setting("uniform", "sequences drawn alike, or by their TD errors", choices=("uniform", "prioritised"))
    priority_exponent: float = setting(
        0.6, "prioritised: 0 draws alike, 1 in proportion to TD errors", at_least=0.0, at_most=1.0, traceable=True
    )
    importance_exponent: float = setting(
        0.4,
        "prioritised: how far weights undo the draw's bias at first; 1 at the run's end",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    train_frequency: int = setting(4, "environment steps per update", at_least=1)

    lr: float = setting(
        1e-3, "learning rate at the first update", above=0.0, at_most=1.0, group="Learning", traceable=True
    )
    lr_schedule: str = setting(
        "linear",
        "shape of the learning rate's decay over the run",
        choices=("constant", "linear", "quadratic", "cosine", "exponential"),
    )
    lr_end_fraction: float = setting(
        0.02, "learning rate at the end of the run, as a fraction of --lr", at_least=0.0, at_most=1.0, traceable=True
    )
    gamma: float = setting(0.95, "discount per step", at_least=0.0, at_most=1.0, traceable=True)
    target_update_interval: int = setting(200, "updates between copies to the target network", at_least=1)
    target_tau: float = setting(
        1.0,
        "share of the online network in such a copy; 1: all of it, small with interval 1: a moving average",
        above=0.0,
        at_most=1.0,
        traceable=True,
    )
    optimizer: str = setting(
        "adam",
        "of the gradient steps; only adamw decays weights apart from the gradient",
        choices=("adam", "adamw", "radam", "rmsprop"),
    )
    max_grad_norm: float = setting(10.0, "gradients are scaled down to this global norm", above=0.0, traceable=True)
    optimizer_epsilon: float = setting(
        2e-3,
        "the optimiser's denominator offset; large shrinks steps as gradients shrink, which steadies the policy",
        at_least=1e-30,
        traceable=True,
    )
    max_bad_updates: int = setting(
        100, "updates in a row that are not finite, and so not made, before the run stops", at_least=1, changeable=True
    )
    weight_decay: float = setting(
        1e-5, "L2 coefficient, added to the gradient (adamw: to the step)", at_least=0.0, at_most=1.0, traceable=True
    )
    reward_scale: float = setting(
        1.0, "what rewards are multiplied by before they are learnt", above=0.0, traceable=True
    )
    standardise_rewards: bool = setting(
        False,
        "learn rewards less their running mean, over their running standard deviation (q_bound then says nothing)",
    )
    central_value: bool = setting(
        False, "train a value network of all observations beside the agents, who never read it: central_loss in the log"
    )

    epsilon_start: float = setting(
        1.0, "share of random actions at the start", at_least=0.0, at_most=1.0, group="Exploration", traceable=True
    )
    epsilon_end: float = setting(
        0.05, "share of random actions after the decay", at_least=0.0, at_most=1.0, traceable=True
    )
    epsilon_decay_steps: int | None = setting(
        None, "environment steps of the linear decay, the whole run where it is not set", at_least=1, traceable=True
    )
    epsilon_spread: float = setting(
        0.8,
        "agents' decays differ in length, evenly from 1 - X of it to all of it, by agent and environment; 0: all alike",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    greedy_envs: float = setting(
        0.25,
        "share of the environments that end at epsilon 0: replay then has what the greedy policy meets",
        at_least=0.0,
        at_most=1.0,
    )
    explore_repeat: int = setting(
        12,
        "most steps that a random action is repeated; n steps have probability proportional to n^-2; 1: single steps",
        at_least=1,
        at_most=10_000,
    )

    agent: str = setting(
        "mlp", "gru: the last hidden layer is a memory of the episode", choices=("mlp", "gru"), group="Networks"
    )
    hidden_sizes: tuple[int, ...] = setting((64, 64), "widths of the agents' hidden layers", at_least=1, at_most=65_536)
    mixing_size: int = setting(32, "width of the mixing network", at_least=1, at_most=65_536)
    hypernet_size: int = setting(64, "width of the hypernetworks' hidden layers", at_least=1, at_most=65_536)
    num_heads: int = setting(4, "qplex: heads of the advantages' weights", at_least=1, at_most=1_024)
    central_sizes: tuple[int, ...] = setting(
        (256, 256, 128), "widths of the central network (cw_qmix, ow_qmix, --central_value)", at_least=1, at_most=65_536
    )
    share_parameters: bool = setting(False, "one network for all agents, told apart by a one-hot id")
    encoding: str = setting(
        "env", "network inputs: the environment's feature map, or raw observations", choices=("env", "raw")
    )
    last_action: bool = setting(False, "agents and mixer also read every agent's last action, and whether it moved")
    state_clock: bool = setting(
        True, "append the elapsed fraction of the episode to the mixer's state, where its limit is terminal"
    )
    hypernet_init_scale: float = setting(
        0.01, "orthogonal gain of the hypernetworks' outputs; small starts q_tot near 0", above=0.0, traceable=True
    )
    head_init_scale: float = setting(0.01, "orthogonal gain of the agents' output heads", above=0.0, traceable=True)

    num_devices: int = setting(
        1,
        "devices that share environments and batches, or all; on a CPU this many cores act as devices",
        at_least=1,
        at_most=1024,
        group="Devices",
    )

    eval_interval: int = setting(
        10_000,
        "environment steps between greedy evaluations",
        at_least=1,
        group="Evaluation and output",
        changeable=True,
    )
    eval_episodes: int = setting(32, "episodes of one evaluation", at_least=1, at_most=1_000_000, changeable=True)
    save_interval: int = setting(100, "finished episodes between checkpoints", at_least=1, changeable=True)
    keep_resumable: int = setting(
        3, "newest checkpoints to resume from; older ones keep parameters", at_least=1, changeable=True
    )
    checkpoint_replay: bool = setting(
        True, "checkpoints hold the replay; without it a resume is not exact", changeable=True
    )
    tensorboard: bool = setting(False, "also write TensorBoard's event files (extra: tensorboard)", changeable=True)
    wandb: bool = setting(False, "also log to Weights & Biases (extra: wandb)", changeable=True)
    report: bool = setting(False, "write report.html at the end, see python -m qmix_jax.report", changeable=True)
    results_dir: str = setting("results", "folder that gets run_<i>/")

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: naming the first flag that is out of its limits, or the flags that contradict each other.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        _check_combinations(self)

    def traced(self, values: Mapping[str, Any]) -> "Config":
        """A copy in which some settings are arrays that JAX traces: one program then serves many values.

        For use inside a traced function, by what this module's settings say is traceable. Nothing checks the values.

        Args:
            values: float32[] by name.

        Raises:
            ConfigError: a setting shapes the program, so that it cannot be traced.
        """
        for name in values:
            if name not in TRACEABLE:
                raise ConfigError(f"--{name}: shapes the program; those that need not are {', '.join(TRACEABLE)}")
        copy = object.__new__(Config)
        vars(copy).update({**vars(self), **values})
        return copy

    @property
    def vector_steps(self) -> int:
        """Steps every environment makes in the run: ceil(total_episodes / num_envs) * max_steps_per_ep."""
        if self.total_steps is not None:
            return -(-self.total_steps // self.num_envs)
        return -(-self.total_episodes // self.num_envs) * self.max_steps_per_ep

    @property
    def env_steps(self) -> int:
        """Environment steps of the run, over all environments."""
        return self.vector_steps * self.num_envs

    @property
    def replay_capacity(self) -> int:
        """`buffer_capacity` rounded down to a multiple of `num_envs`."""
        return self.buffer_capacity // self.num_envs * self.num_envs

    @property
    def bootstrap_distance(self) -> int:
        """Steps from a learnt step to the state whose value its target reads first."""
        return self.n_step if self.target == "n_step" else 1

    @property
    def sample_length(self) -> int:
        """Steps of a sequence that replay gives: burn-in, those learnt from, and those their targets read."""
        return self.burn_in + self.sequence_length + self.bootstrap_distance

    @property
    def learnt_steps(self) -> slice:
        """Where in a sequence the learnt steps are."""
        return slice(self.burn_in, self.burn_in + self.sequence_length)

    @property
    def bootstrap_steps(self) -> slice:
        """Where in a sequence the states are whose values the targets read, one for each learnt step."""
        return slice(self.burn_in + self.bootstrap_distance, self.sample_length)

    @property
    def online_chooses(self) -> bool:
        """Whether the online network chooses the bootstrap's actions."""
        return self.double_q and self.target != "td_lambda"

    @property
    def first_update_step(self) -> int:
        """Environment steps before updates are counted: `min_buffer_size`, but no less than one whole sequence."""
        return max(self.min_buffer_size, self.sample_length * self.num_envs)

    @property
    def total_updates(self) -> int:
        """Gradient updates of the run."""
        return max(0, self.env_steps - self.first_update_step) // self.train_frequency

    @property
    def eval_devices(self) -> int:
        """Devices that share an evaluation's episodes: all, or if those cannot be shared out evenly, each plays all."""
        return self.num_devices if self.eval_episodes % self.num_devices == 0 else 1

    @property
    def exploration_steps(self) -> int:
        """Environment steps over which epsilon falls."""
        return self.env_steps if self.epsilon_decay_steps is None else self.epsilon_decay_steps

    @property
    def chunk_length(self) -> int:
        """Vector steps per compiled call, at most `eval_interval` environment steps; the last call may make fewer.

        Of the lengths from three quarters of that on, the one with the fullest last call.
        """
        longest = max(1, min(self.eval_interval, _LONGEST_CHUNK) // self.num_envs)
        longest = min(longest, self.vector_steps)
        return min(range(longest, (3 * longest - 1) // 4, -1), key=lambda length: -self.vector_steps % length)

    @property
    def num_chunks(self) -> int:
        """Compiled calls of the run."""
        return -(-self.vector_steps // self.chunk_length)

    def notices(self) -> list[str]:
        """What the run rounds, one line each, to be said at the start."""
        lines = []
        if self.replay_capacity != self.buffer_capacity:
            lines.append(
                f"--buffer_capacity {self.buffer_capacity}: rounded down to {self.replay_capacity}, "
                f"a multiple of --num_envs {self.num_envs}"
            )
        if self.first_update_step != self.min_buffer_size:
            lines.append(
                f"--min_buffer_size {self.min_buffer_size}: updates begin after {self.first_update_step} steps, when "
                f"every environment has the {self.sample_length} steps of a sequence and its targets"
            )
        if self.total_steps is not None and self.env_steps != self.total_steps:
            lines.append(
                f"--total_steps {self.total_steps}: rounded up to {self.env_steps}, "
                f"a multiple of --num_envs {self.num_envs}"
            )
        if not self.checkpoint_replay:
            lines.append(
                f"--checkpoint_replay false: a resumed run refills its replay for {self.first_update_step} steps "
                "without updates, and does not end as an uninterrupted one does"
            )
        if self.eval_devices != self.num_devices:
            lines.append(
                f"--eval_episodes {self.eval_episodes}: no multiple of --num_devices {self.num_devices}, so that every "
                "device plays all of them"
            )
        if self.total_updates == 0:
            lines.append(
                f"--min_buffer_size {self.min_buffer_size}: the run ends after {self.env_steps} steps, "
                "without any update"
            )
        return lines


TRACEABLE = tuple(declared.name for declared in fields(Config) if declared.metadata["traceable"])


def _check_combinations(config: Config) -> None:
    if config.total_steps is not None and config.total_episodes != Config.total_episodes:
        raise ConfigError(
            f"--total_steps {config.total_steps} and --total_episodes {config.total_episodes}: give only one of them"
        )
    for name in ("env_mode", "layout_seed"):
        default = getattr(Config, name)
        if config.env != Config.env and getattr(config, name) != default:
            raise ConfigError(f"--{name} {getattr(config, name)}: must be {default} with --env {config.env[:100]}")
    for name in ("num_envs", "batch_size"):
        if getattr(config, name) % config.num_devices:
            raise ConfigError(
                f"--{name} {getattr(config, name)}: must be a multiple of --num_devices {config.num_devices}"
            )
    if config.replay == "prioritised" and config.num_devices > 1:
        raise ConfigError(f"--replay prioritised: must be uniform with --num_devices {config.num_devices}")
    if config.burn_in and config.agent != "gru":
        raise ConfigError(f"--burn_in {config.burn_in}: must be 0 with --agent {config.agent}, which has no memory")
    if config.lr_schedule == "exponential" and config.lr_end_fraction == 0:
        raise ConfigError("--lr_end_fraction 0: must be above 0 with --lr_schedule exponential")
    if config.env_steps >= 2**31:
        raise ConfigError(
            f"--total_episodes, --total_steps: {config.env_steps} environment steps; must be below {2**31} in all"
        )
    rows = config.buffer_capacity // config.num_envs
    if rows < config.sample_length:
        raise ConfigError(
            f"--buffer_capacity {config.buffer_capacity}: must be at least {config.sample_length * config.num_envs}, "
            f"--num_envs {config.num_envs} times the {config.sample_length} steps of a sequence and its targets"
        )
    if config.min_buffer_size > config.replay_capacity:
        raise ConfigError(
            f"--min_buffer_size {config.min_buffer_size}: must be at most {config.replay_capacity}, "
            f"what --buffer_capacity {config.buffer_capacity} holds at --num_envs {config.num_envs}"
        )
    if config.batch_size > config.replay_capacity:
        raise ConfigError(
            f"--batch_size {config.batch_size}: must be at most {config.replay_capacity}, "
            f"what --buffer_capacity {config.buffer_capacity} holds at --num_envs {config.num_envs}"
        )
