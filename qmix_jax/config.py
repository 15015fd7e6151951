"""All settings of a run: a frozen, hashable dataclass that validates itself.

A field's declaration is the single place for its default, its help line and the values it accepts; the command
line, the validation, `hparams.json` and the flags' page in the documentation are made from it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from qmix_jax.errors import ConfigError
from qmix_jax.settings import as_text, check_setting, did_you_mean, nearest_name, setting

BUDGETS = ("total_episodes", "total_steps")  # settings of which one is given
GIVEN = "given:"  # prefix of the --env of a run on an environment that was passed as an object
ENV_LIBRARIES = ("jaxmarl", "jumanji")  # each is also the name of the extra that installs it
KNOWN_ENVS = (  # environments that have been tried; others of these libraries may fit too
    "gridworld25",
    "jaxmarl:MPE_simple_spread_v3",
    "jaxmarl:MPE_simple_v3",
    "jaxmarl:MPE_simple_reference_v3",
    "jaxmarl:MPE_simple_speaker_listener_v4",
    "jaxmarl:HeuristicEnemySMAX",
    "jaxmarl:hanabi",
    "jaxmarl:overcooked",
    "jaxmarl:overcooked_v2",
    "jaxmarl:switch_riddle",
    "jumanji:LevelBasedForaging-v0",
    "jumanji:RobotWarehouse-v0",
)
# Settings of a replay buffer, its sampling or a target network.
_OF_REPLAY = (
    "buffer_capacity",
    "min_buffer_size",
    "train_frequency",
    "sequence_start",
    "burn_in",
    "priority_exponent",
    "importance_exponent",
    "target_update_interval",
    "target_tau",
    "double_q",
    "central_value",
)
_TARGET_NETWORKS = 5  # fewer than these in a run, and values hardly travel back through targets
_LONGEST_CHUNK = 20_000  # environment steps: progress, checkpoints and Ctrl-C wait for the end of a chunk


@dataclass(frozen=True)
class Config:
    """Settings of one training run, in the order of `--help-all`. 'Environment steps' count all environments."""

    total_episodes: int = setting(
        1000,
        "budget in full-length episodes over all environments; more are played where episodes end early",
        at_least=1,
        group="The run",
    )
    total_steps: int | None = setting(None, "budget in environment steps, instead of --total_episodes", at_least=1)
    max_steps_per_ep: int = setting(200, "time limit of an episode, in steps", at_least=1, at_most=65_535)
    num_envs: int = setting(512, "parallel environments", at_least=1, at_most=65_536)
    seed: int = setting(0, "random seed of the run", at_least=0, at_most=2**32 - 1)
    init_from: str | None = setting(
        None,
        "start from the final parameters of this run (or of one of its models/...), which may have another task",
        metavar="FOLDER",
    )
    env: str = setting(
        "gridworld25",
        "gridworld25, jaxmarl:NAME or jumanji:NAME (needs that extra), or package.module:NAME, a class or function of "
        "yours that makes an environment; --env_args has its arguments",
    )
    env_args: tuple[str, ...] | None = setting(
        None,
        "arguments of its constructor (Jumanji: of its generator too), such as scenario=3m see_enemy_actions=false",
        metavar="NAME=VALUE",
    )
    env_mode: str = setting(
        "fixed", "initial states: one fixed layout, or a random one at every reset", choices=("fixed", "random")
    )
    layout_seed: int = setting(1, "NumPy seed of the fixed layout", at_least=0, at_most=2**32 - 1)

    algorithm: str = setting(
        "qmix",
        "qmix: monotonic mixer; cw_qmix, ow_qmix: weighted QMIX; qplex: duplex dueling mixer; qplex_gap: "
        "qplex with a gap of the joint action; vdn: sum; iql, madqn: independent learners on the team's (iql) or their "
        "own (madqn) reward",
        choices=("qmix", "vdn", "iql", "madqn", "cw_qmix", "ow_qmix", "qplex", "qplex_gap"),
        group="The algorithm",
    )
    target: str = setting(
        "n_step",
        "n_step: --n_step rewards and a greedy value; q_lambda: Peng's Q(lambda); td_lambda: of the actions taken",
        choices=("n_step", "q_lambda", "td_lambda"),
    )
    n_step: int = setting(3, "rewards before the bootstrap", at_least=1, at_most=1_000)
    td_lambda: float = setting(
        0.6,
        "lambda of q_lambda and td_lambda; 0: one step, 1: the whole sequence",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    alpha: float = setting(
        0.5,
        "cw_qmix, ow_qmix: weight of joint actions whose estimated value is not above the greedy one's",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    time_limit: str = setting(
        "auto",
        "targets of an episode's last step at its time limit: terminal (reward only), bootstrap, or auto: as the "
        "environment declares",
        choices=("auto", "terminal", "bootstrap"),
    )
    double_q: bool = setting(True, "select the bootstrap's actions with the online network (double Q-learning)")

    buffer_capacity: int = setting(100_000, "replay buffer size, in transitions", at_least=1, group="Replay")
    batch_size: int = setting(64, "sequences sampled per update", at_least=1)
    sequence_length: int = setting(1, "steps of a sequence that are trained on", at_least=1, at_most=1_000)
    burn_in: int = setting(
        0, "steps before them that only unroll the agents' hidden state (--agent gru)", at_least=0, at_most=1_000
    )
    sequence_start: str = setting(
        "any",
        "any: at any stored step; episode: at an episode's first step, where recurrent agents start from zero, and "
        "steps after its end are not trained on",
        choices=("any", "episode"),
    )
    min_buffer_size: int = setting(10_000, "transitions in the replay buffer before the first update", at_least=0)
    replay: str = setting(
        "uniform",
        "uniform sampling, or prioritised by TD errors; none: learn from each rollout of --sequence_length steps, then "
        "drop it, without a target network (PQN)",
        choices=("uniform", "prioritised", "none"),
    )
    epochs: int = setting(
        4, "--replay none: passes over each rollout, in batches of --batch_size environments", at_least=1, at_most=1_000
    )
    priority_exponent: float = setting(
        0.6, "prioritised: exponent of the TD errors; 0: uniform sampling", at_least=0.0, at_most=1.0, traceable=True
    )
    importance_exponent: float = setting(
        0.4,
        "prioritised: initial exponent of the importance weights, which ends at 1",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    train_frequency: int = setting(4, "environment steps per update", at_least=1)

    lr: float = setting(1e-3, "initial learning rate", above=0.0, at_most=1.0, group="Learning", traceable=True)
    lr_schedule: str = setting(
        "linear",
        "shape of the learning rate's decay over the run",
        choices=("constant", "linear", "quadratic", "cosine", "exponential"),
    )
    lr_end_fraction: float = setting(
        0.02, "final learning rate, as a fraction of --lr", at_least=0.0, at_most=1.0, traceable=True
    )
    gamma: float = setting(0.95, "discount factor per step", at_least=0.0, at_most=1.0, traceable=True)
    target_update_interval: int = setting(200, "gradient updates between updates of the target network", at_least=1)
    target_tau: float = setting(
        1.0,
        "weight of the online network in such an update; 1: a copy, small with interval 1: Polyak averaging",
        above=0.0,
        at_most=1.0,
        traceable=True,
    )
    optimizer: str = setting(
        "adam",
        "optimizer; only adamw decouples weight decay from the gradient",
        choices=("adam", "adamw", "radam", "rmsprop"),
    )
    max_grad_norm: float = setting(10.0, "global norm that gradients are clipped to", above=0.0, traceable=True)
    optimizer_epsilon: float = setting(
        2e-3,
        "epsilon of the optimizer; a large one shrinks steps as gradients shrink, which steadies the policy",
        at_least=1e-30,
        traceable=True,
    )
    max_bad_updates: int = setting(
        100,
        "consecutive skipped updates (not finite) after which the run stops",
        at_least=1,
        changeable=True,
    )
    weight_decay: float = setting(
        1e-5, "L2 coefficient, added to the gradient (adamw: to the step)", at_least=0.0, at_most=1.0, traceable=True
    )
    reward_scale: float = setting(1.0, "factor of the rewards in targets", above=0.0, traceable=True)
    shaped_reward_steps: int | None = setting(
        None,
        "add the environment's shaped rewards to those trained on, with a weight that falls from 1 to 0 over this many "
        "environment steps; evaluations and logged returns never count them",
        at_least=1,
        traceable=True,
    )
    standardise_rewards: bool = setting(
        False,
        "standardise the rewards in targets by their running mean and standard deviation (q_bound is then not valid, "
        "and --reward_scale changes next to nothing)",
    )
    centre_rewards: bool = setting(
        True,
        "--standardise_rewards: subtract the mean; false: only divide, by the running root mean square, which leaves "
        "the best policy as it is",
    )
    central_value: bool = setting(
        False, "also train a value network on all observations, without affecting the agents (log column central_loss)"
    )

    epsilon_start: float = setting(
        1.0, "initial probability of a random action", at_least=0.0, at_most=1.0, group="Exploration", traceable=True
    )
    epsilon_end: float = setting(
        0.05, "probability of a random action after the decay", at_least=0.0, at_most=1.0, traceable=True
    )
    epsilon_decay_steps: int | None = setting(
        None, "environment steps of the linear decay; not set: the whole run", at_least=1, traceable=True
    )
    epsilon_spread: float = setting(
        0.8,
        "decay lengths vary evenly over agents and environments, from 1 - X to 1 of the full length; 0: all equal",
        at_least=0.0,
        at_most=1.0,
        traceable=True,
    )
    greedy_envs: float = setting(
        0.25,
        "fraction of environments whose epsilon decays to 0, so that replay holds states of the greedy policy",
        at_least=0.0,
        at_most=1.0,
    )
    explore_repeat: int = setting(
        12,
        "maximum steps of a repeated random action; n steps have probability proportional to n^-2; 1: no repeats",
        at_least=1,
        at_most=10_000,
    )

    agent: str = setting(
        "mlp",
        "gru: the last hidden layer is recurrent",
        choices=("mlp", "gru"),
        group="Networks",
    )
    hidden_sizes: tuple[int, ...] = setting((64, 64), "widths of the agents' hidden layers", at_least=1, at_most=65_536)
    mixing_size: int = setting(32, "width of the mixing network", at_least=1, at_most=65_536)
    hypernet_size: int = setting(64, "width of the hypernetworks' hidden layers", at_least=1, at_most=65_536)
    hypernet_layers: int = setting(2, "layers of the hypernetworks that give weights", at_least=1, at_most=2)
    value_size: int | None = setting(
        None,
        "hidden width of the mixer's V(s), instead of --hypernet_size",
        at_least=1,
        at_most=65_536,
    )
    mixer_skip: bool = setting(
        True,
        "qmix, cw_qmix, ow_qmix: q_tot is the sum of the agents' values plus the mixing network's output, so that the "
        "mixer's weights cannot take the agents' gradients away",
    )
    mixer_norm: bool = setting(
        False,
        "qmix, cw_qmix, ow_qmix: LayerNorm before the ReLU of the hypernetworks' hidden layers; without a target "
        "network (--replay none) it keeps values from growing without bound",
    )
    num_heads: int = setting(4, "qplex: attention heads of the advantage weights", at_least=1, at_most=1_024)
    head_layers: int = setting(3, "qplex: layers of each head's networks", at_least=1, at_most=16)
    central_sizes: tuple[int, ...] = setting(
        (256, 256, 128),
        "widths of the central network's hidden layers (cw_qmix, ow_qmix, --central_value)",
        at_least=1,
        at_most=65_536,
    )
    layer_norm: bool = setting(True, "LayerNorm before the ReLU of the agents' hidden layers")
    dueling: bool = setting(True, "dueling heads of the agents, instead of one linear layer")
    share_parameters: bool = setting(False, "one network for all agents, with a one-hot agent id as input")
    encoding: str = setting(
        "env", "network inputs: the environment's feature map, or raw observations", choices=("env", "raw")
    )
    last_action: bool = setting(False, "agents and mixer also observe every agent's last action, and whether it moved")
    state_clock: bool = setting(
        True, "append the elapsed fraction of the episode to the mixer's state, if the time limit is terminal"
    )
    initializer: str = setting(
        "orthogonal",
        "orthogonal: hidden layers with gain sqrt(2); jaxmarl: all layers with the gain of their network's output; "
        "torch: PyTorch's default, uniform within 1/sqrt(inputs)",
        choices=("orthogonal", "jaxmarl", "torch"),
    )
    hypernet_init_scale: float = setting(
        0.01,
        "orthogonal gain of the hypernetworks' outputs; a small one starts q_tot near 0 (--mixer_skip: near the sum)",
        above=0.0,
        traceable=True,
    )
    head_init_scale: float = setting(0.01, "orthogonal gain of the agents' output layers", above=0.0, traceable=True)

    num_devices: int = setting(
        1,
        "devices that share environments and batches, or all; on a CPU, cores act as devices",
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
    eval_episodes: int = setting(32, "episodes per evaluation", at_least=1, at_most=1_000_000, changeable=True)
    save_interval: int = setting(100, "finished episodes between checkpoints", at_least=1, changeable=True)
    keep_resumable: int = setting(
        3,
        "newest checkpoints that can be resumed; older ones keep only parameters",
        at_least=1,
        changeable=True,
    )
    checkpoint_replay: bool = setting(
        True, "save the replay buffer in checkpoints; a resume without it is not exact", changeable=True
    )
    tensorboard: bool = setting(False, "also write TensorBoard event files (extra: tensorboard)", changeable=True)
    wandb: bool = setting(False, "also log to Weights & Biases (extra: wandb)", changeable=True)
    quiet: bool = setting(
        False,
        "print nothing on standard output, and show no progress bar; errors still go to standard error",
        changeable=True,
    )
    report: bool = setting(False, "write report.html at the end, see `qmix-jax report`", changeable=True)
    results_dir: str = setting("results", "folder in which run_<i>/ is created")

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            ConfigError: naming the first flag whose value is not accepted, or the flags that contradict each other.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        _check_combinations(self)

    def traced(self, values: Mapping[str, Any]) -> "Config":
        """Return a copy in which some settings are traced arrays, so that one program serves many values.

        For use inside a traced function. The values are not checked.

        Args:
            values: float32[] by name.

        Raises:
            ConfigError: a setting is static, see `TRACEABLE`.
        """
        for name in values:
            if name not in TRACEABLE:
                raise ConfigError(f"--{name}: cannot be traced; must be one of {', '.join(TRACEABLE)}")
        copy = object.__new__(Config)
        vars(copy).update({**vars(self), **values})
        return copy

    @property
    def env_arguments(self) -> dict[str, str]:
        """`env_args` as text by name."""
        return dict(word.split("=", 1) for word in self.env_args or ())

    @property
    def vector_steps(self) -> int:
        """Steps of each environment in the run: ceil(total_episodes / num_envs) * max_steps_per_ep."""
        if self.total_steps is not None:
            return -(-self.total_steps // self.num_envs)
        return -(-self.total_episodes // self.num_envs) * self.max_steps_per_ep

    @property
    def env_steps(self) -> int:
        """Environment steps of the run."""
        return self.vector_steps * self.num_envs

    @property
    def replay_capacity(self) -> int:
        """`buffer_capacity` rounded down to a multiple of `num_envs`; without replay, what a rollout's targets read."""
        if self.replay == "none":
            return self.sample_length * self.num_envs
        return self.buffer_capacity // self.num_envs * self.num_envs

    @property
    def capacity_flag(self) -> str:
        """The setting that decides how much memory is needed, as messages name it."""
        if self.replay == "none":
            return f"--num_envs {self.num_envs}"
        return f"--buffer_capacity {self.buffer_capacity}"

    @property
    def bootstrap_distance(self) -> int:
        """Steps from a step that is trained on to the first state that its target bootstraps from."""
        return self.n_step if self.target == "n_step" else 1

    @property
    def sample_length(self) -> int:
        """Steps of a sampled sequence: burn-in, those trained on, and those that their targets need."""
        return self.burn_in + self.sequence_length + self.bootstrap_distance

    @property
    def learned_steps(self) -> slice:
        """Positions in a sequence of the steps that are trained on."""
        return slice(self.burn_in, self.burn_in + self.sequence_length)

    @property
    def bootstrap_steps(self) -> slice:
        """Positions in a sequence of the states that targets bootstrap from, one for each step trained on."""
        return slice(self.burn_in + self.bootstrap_distance, self.sample_length)

    @property
    def online_chooses(self) -> bool:
        """Whether targets read the online network's values: for its actions, or without replay for all."""
        return self.replay == "none" or (self.double_q and self.target != "td_lambda")

    @property
    def first_update_step(self) -> int:
        """Environment steps before the first update: `min_buffer_size`, but at least one whole sequence."""
        if self.replay == "none":
            return self.replay_capacity
        return max(self.min_buffer_size, self.sample_length * self.num_envs)

    @property
    def total_updates(self) -> int:
        """Gradient updates of the run."""
        if self.replay == "none":
            return max(0, self.vector_steps - self.bootstrap_distance) // self.sequence_length * self.rollout_updates
        return max(0, self.env_steps - self.first_update_step) // self.train_frequency

    @property
    def rollout_updates(self) -> int:
        """Gradient updates after each rollout, without replay."""
        return self.epochs * (self.num_envs // self.batch_size)

    @property
    def memory_size(self) -> int:
        """Width of the agents' hidden state, 0 if they have none."""
        return self.hidden_sizes[-1] if self.agent == "gru" else 0

    @property
    def stored_memory_size(self) -> int:
        """Width of the hidden state that transitions hold: a rollout goes on from it, replay from zeros."""
        return self.memory_size if self.replay == "none" else 0

    @property
    def eval_devices(self) -> int:
        """Devices that share an evaluation's episodes; 1: they do not divide evenly, and every device plays all."""
        return self.num_devices if self.eval_episodes % self.num_devices == 0 else 1

    @property
    def exploration_steps(self) -> int:
        """Environment steps over which epsilon decays."""
        return self.env_steps if self.epsilon_decay_steps is None else self.epsilon_decay_steps

    @property
    def chunk_length(self) -> int:
        """Vector steps per compiled call, at most `eval_interval` environment steps; the last call may be shorter.

        Of the lengths from three quarters of that maximum, the one with the fullest last call.
        """
        longest = max(1, min(self.eval_interval, _LONGEST_CHUNK) // self.num_envs)
        longest = min(longest, self.vector_steps)
        return min(range(longest, (3 * longest - 1) // 4, -1), key=lambda length: -self.vector_steps % length)

    @property
    def num_chunks(self) -> int:
        """Compiled calls of the run."""
        return -(-self.vector_steps // self.chunk_length)

    def notices(self) -> list[str]:
        """Return one line for each value that the run rounds or adjusts, shown at the start."""
        lines = []
        if self.replay != "none":
            if self.replay_capacity != self.buffer_capacity:
                lines.append(
                    f"--buffer_capacity {self.buffer_capacity}: rounded down to {self.replay_capacity}, "
                    f"a multiple of --num_envs {self.num_envs}"
                )
            if self.first_update_step != self.min_buffer_size:
                lines.append(
                    f"--min_buffer_size {self.min_buffer_size}: updates begin after {self.first_update_step} steps, "
                    f"when every environment has made the {self.sample_length} steps of a sequence and its targets"
                )
        if self.total_steps is not None and self.env_steps != self.total_steps:
            lines.append(
                f"--total_steps {self.total_steps}: rounded up to {self.env_steps}, "
                f"a multiple of --num_envs {self.num_envs}"
            )
        if not self.checkpoint_replay:
            lines.append(
                f"--checkpoint_replay false: a resumed run refills its replay for {self.first_update_step} steps "
                "without updates, and differs from an uninterrupted one"
            )
        if self.eval_devices != self.num_devices:
            lines.append(
                f"--eval_episodes {self.eval_episodes}: not a multiple of --num_devices {self.num_devices}, so every "
                "device plays all of them"
            )
        if self.total_steps is None and self.total_episodes < self.num_envs:
            lines.append(
                f"--total_episodes {self.total_episodes}: rounded up to {self.num_envs}, one for each of --num_envs"
            )
        return lines + self._budget_notices()

    def _budget_notices(self) -> list[str]:
        """Return one line if the budget is too small for the other settings."""
        reasons = []
        if self.total_updates == 0:
            first = f"the end of a rollout, {self.sample_length} steps of each environment"
            start = first if self.replay == "none" else f"--min_buffer_size {self.min_buffer_size} steps"
            reasons.append(f"there is no update before {start}")
        elif self.total_updates < self._least_updates:
            reasons.append(
                f"only {self.total_updates} updates, in which the target network follows the online one fewer than "
                f"{_TARGET_NETWORKS} times"
            )
        if self.env_steps < self.exploration_steps:
            share = self.env_steps / self.exploration_steps
            reasons.append(f"epsilon falls for only {share:.0%} of --epsilon_decay_steps {self.exploration_steps}")
        if not reasons:
            return []
        budget = "total_episodes" if self.total_steps is None else "total_steps"
        return [f"--{budget} {getattr(self, budget)}: too small for these settings: {'; '.join(reasons)}"]

    @property
    def _least_updates(self) -> float:
        """Updates in which targets have followed the online network `_TARGET_NETWORKS` times."""
        if self.replay == "none":
            return 1
        return _TARGET_NETWORKS * self.target_update_interval / self.target_tau


TRACEABLE = tuple(declared.name for declared in fields(Config) if declared.metadata["traceable"])


def unknown_environment(env: str, candidates: Iterable[str]) -> ConfigError:
    """Return the error for an --env that does not exist: it suggests one of `candidates`, and lists the known ones."""
    return ConfigError(
        f"--env {env[:100]}: {did_you_mean_env(env, candidates)}must be one of {', '.join(KNOWN_ENVS)}, another "
        "environment of these libraries, or package.module:NAME of your own"
    )


def did_you_mean_env(env: str, candidates: Iterable[str]) -> str:
    """Return 'did you mean <env>? ' for an --env that does not exist, or ''.

    What is written as a file or without a colon (my/file.py:Name, package.module.Name, file.py) is taken to mean an
    environment of the user's own. A library's name is compared with names, not with the library before them.
    """
    module, colon, name = env[:100].removeprefix("./").partition(":")
    path = module.removesuffix(".py").replace("/", ".")
    if not colon and path == module:
        path, _, name = path.rpartition(".")
    meant = f"{path}:{name or 'NAME'}"
    if meant != env and names_module(meant):
        return f"did you mean {meant}? "
    library, colon, name = env.partition(":")
    inside = [other for other in candidates if other.startswith(f"{library}:")] if colon else []
    if not inside:
        return did_you_mean(env, candidates)
    nearest = nearest_name(name, (other.partition(":")[2] for other in inside))
    return f"did you mean {library}:{nearest}? " if nearest else ""


def names_module(env: str) -> bool:
    """Return whether this --env is `package.module:Name`, an environment of the user's own."""
    module, colon, name = env.partition(":")
    is_prefix = f"{module}:" == GIVEN or module.lower() in ENV_LIBRARIES  # an error in the case of letters
    return bool(colon) and not is_prefix and name.isidentifier() and all(map(str.isidentifier, module.split(".")))


def _check_combinations(config: Config) -> None:
    if config.total_steps is not None and config.total_episodes != Config.total_episodes:
        raise ConfigError(
            f"--total_steps {config.total_steps} and --total_episodes {config.total_episodes}: give only one of them"
        )
    prefixes = (GIVEN, *(f"{name}:" for name in ENV_LIBRARIES))
    if not (config.env in KNOWN_ENVS or config.env.startswith(prefixes) or names_module(config.env)):
        raise unknown_environment(config.env, KNOWN_ENVS)
    _check_arguments(config)
    for name in ("env_mode", "layout_seed"):
        default = getattr(Config, name)
        if config.env != Config.env and getattr(config, name) != default:
            raise ConfigError(f"--{name} {getattr(config, name)}: must be {default} with --env {config.env[:100]}")
    for name in ("num_envs", "batch_size"):
        if getattr(config, name) % config.num_devices:
            raise ConfigError(
                f"--{name} {getattr(config, name)}: must be a multiple of --num_devices {config.num_devices}"
            )
    if config.replay == "none":
        _check_rollouts(config)
    else:
        _check_replay(config)
    if config.burn_in and config.agent != "gru":
        raise ConfigError(
            f"--burn_in {config.burn_in}: must be 0 with --agent {config.agent}, which has no hidden state"
        )
    if config.lr_schedule == "exponential" and config.lr_end_fraction == 0:
        raise ConfigError("--lr_end_fraction 0: must be above 0 with --lr_schedule exponential")
    if config.env_steps >= 2**31:
        raise ConfigError(
            f"--total_episodes, --total_steps: {config.env_steps} environment steps; must be below {2**31} in total"
        )


def _check_rollouts(config: Config) -> None:
    """Refuse what has no meaning without replay or a target network, and batches that do not divide a rollout."""
    for name in _OF_REPLAY:
        value, default = getattr(config, name), getattr(Config, name)
        if value != default:
            raise ConfigError(
                f"--{name} {as_text(value)}: must not be given with --replay none, which keeps nothing but a rollout "
                "and has no target network"
            )
    if config.algorithm in ("cw_qmix", "ow_qmix"):
        raise ConfigError(f"--algorithm {config.algorithm}: must be another with --replay none: its Q* needs a target")
    if config.num_envs % config.batch_size:
        raise ConfigError(
            f"--batch_size {config.batch_size}: must divide --num_envs {config.num_envs} with --replay none, where a "
            "batch is a share of the environments"
        )


def _check_replay(config: Config) -> None:
    if config.epochs != Config.epochs:
        raise ConfigError(f"--epochs {config.epochs}: must not be given with --replay {config.replay}")
    if config.replay == "prioritised" and config.num_devices > 1:
        raise ConfigError(f"--replay prioritised: must be uniform with --num_devices {config.num_devices}")
    if config.sequence_start == "episode":
        if config.replay == "prioritised":
            raise ConfigError("--replay prioritised: must be uniform with --sequence_start episode")
        if config.burn_in:
            raise ConfigError(f"--burn_in {config.burn_in}: must be 0 with --sequence_start episode")
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


def _check_arguments(config: Config) -> None:
    """Refuse --env_args that are no arguments; what the constructor accepts is known only once it is imported."""
    names: set[str] = set()
    for word in config.env_args or ():
        name, equals, _ = word.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--env_args {word[:100]}: must be NAME=VALUE, with the name of an argument")
        if name in names:
            raise ConfigError(f"--env_args {word[:100]}: {name} must be named once")
        names.add(name)
    if config.env_args and config.env == Config.env:
        raise ConfigError(
            f"--env_args {config.env_args[0][:100]}: {config.env} has none; see --env_mode, --layout_seed and "
            "--max_steps_per_ep"
        )
