"""A trained policy loaded from its run, to call, jit or evaluate."""

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError, DamagedError, RunError
from qmix_jax.learning.learner import Learner, make_learner
from qmix_jax.runs.user_module import import_repeated
from qmix_jax.storage.checkpoint import BEST, FINAL, checkpoint_name, checkpoints, load_params
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.environment_record import check_environment
from qmix_jax.storage.hparams import read_config
from qmix_jax.training.environments import same_environment
from qmix_jax.training.exploration import greedy_action
from qmix_jax.training.pinning import pinned, seed_key
from qmix_jax.types import Array, Params

_NAMED = {"final": FINAL, "best": BEST}  # names used by --checkpoint


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """The greedy policy of a run: `policy(key, observations) -> actions`.

    Pure: jit, vmap or scan it. Batches may have any leading dimensions, written `...` here, or none. Observations are
    those of `environment`, followed by each agent's last action if the run had `--last_action`.

    Recurrent agents (`--agent gru`) carry a hidden state from step to step:

        memory = policy.init_memory()  # at the start of every episode
        actions, memory = policy.step(key, observations, memory)
    """

    config: Config
    environment: Environment  # what it was trained on
    params: Params
    learner: Learner

    @pinned()
    def __call__(self, key: Array, observations: Array, action_mask: Array | None = None) -> Array:
        """Return each agent's greedy action: [..., N, O] -> int32[..., N].

        Args:
            key: unused, because the policy is greedy.
            observations: [..., N, O], any dtype.
            action_mask: bool[..., N, A], allowed actions; None for all.

        Raises:
            ValueError: the agents are recurrent, or an array has the wrong shape.
        """
        if self.has_memory:
            raise ValueError("recurrent agents: use policy.step(key, observations, memory)")
        self._check_observations(observations)
        actions, _ = self.step(key, observations, self.init_memory(*observations.shape[:-2]), action_mask)
        return actions

    @property
    def has_memory(self) -> bool:
        """Whether the agents are recurrent."""
        return self.init_memory().size > 0

    @pinned()
    def init_memory(self, *batch: int) -> Array:
        """Return the initial hidden state: float32[*batch, N, H], H = 0 for feedforward agents."""
        memory = self.learner.init_memory(1)[0]
        return jnp.broadcast_to(memory, (*batch, *memory.shape))

    @pinned()
    def step(
        self, key: Array, observations: Array, memory: Array, action_mask: Array | None = None
    ) -> tuple[Array, Array]:
        """Return actions int32[..., N] and the new hidden state float32[..., N, H]; arguments as for calls.

        Raises:
            ValueError: an array has the wrong shape.
        """
        del key
        self._check_observations(observations)
        *batch, num_agents, _ = observations.shape
        self._check_shape("memory", memory, (*batch, *self.learner.init_memory(1).shape[1:]))
        if action_mask is not None:
            self._check_shape("action_mask", action_mask, (*batch, num_agents, self.environment.spec.num_actions))

        def flat(x: Array) -> Array:
            return x.reshape(math.prod(batch), *x.shape[len(batch) :])

        q_values, flat_memory = self.learner.q_values(self.params, flat(observations), flat(memory))
        q_values = jnp.swapaxes(q_values, 0, 1)
        mask = jnp.ones(q_values.shape, bool) if action_mask is None else flat(action_mask)
        actions = jax.vmap(jax.vmap(greedy_action))(q_values, mask)
        return actions.reshape(*batch, num_agents), flat_memory.reshape(memory.shape)

    def _check_observations(self, observations: Array) -> None:
        spec = self.environment.spec
        batch = jnp.shape(observations)[:-2]
        self._check_shape("observations", observations, (*batch, spec.num_agents, spec.observation_size))

    def _check_shape(self, name: str, array: Array, wanted: tuple[int, ...]) -> None:
        if jnp.shape(array) != wanted:
            shape = list(jnp.shape(array))
            raise ValueError(f"{name} {shape}: must be {list(wanted)}, by the sizes of {self.environment.spec.name}")


@pinned()
def load_policy(run_directory: str | Path, which: str = FINAL, environment: Environment | None = None) -> TrainedPolicy:
    """Load the greedy policy of a run's 'final_model', 'best_model' or 'checkpoint_ep<N>'.

    One line on stderr says if the environment has changed since the run was trained.

    Args:
        run_directory: `results/run_<i>`.
        which: the model.
        environment: the run's environment, if it was passed to `run` as an object or is named by a module; else None.

    Raises:
        ConfigError: the directory holds no run, or the run was trained on another environment.
        FileNotFoundError: the run has no such model.
        DamagedError: the model has changed since it was written, or does not match the run's networks.
    """
    directory = RunDirectory(Path(run_directory))
    if not directory.hparams.is_file():
        wanted = directory.hparams.relative_to(directory.path)
        raise ConfigError(f"{directory.path}: must be the folder of a run, with {wanted}")
    config = read_config(directory.hparams)
    environment = same_environment(config, environment)
    for line in check_environment(directory.hparams, environment):
        print(f"notice: {line}", file=sys.stderr)
    learner = make_learner(config, environment.spec)
    params = load_params(directory.path, which)
    params = check_params(params, learner, f"by hparams.json and {environment.spec.name}")
    return TrainedPolicy(config, environment, params, learner)


def check_params(params: Params, learner: Learner, reason: str) -> Params:
    """Return parameters as JAX arrays, after a check that they match the networks.

    Raises:
        DamagedError: naming the first difference.
    """
    expected = jax.eval_shape(learner.init, seed_key(0)).params
    found, wanted = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (params, expected))
    for path in [*wanted, *found]:
        is_at = [(leaves[path].shape, leaves[path].dtype) if path in leaves else None for leaves in (found, wanted)]
        if is_at[0] != is_at[1]:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise DamagedError(f"parameters {name} are {is_at[0]}, must be {is_at[1]} {reason}")
    return jax.tree.unflatten(jax.tree.structure(expected), [jnp.asarray(found[path]) for path in wanted])


def model_name(checkpoint: str) -> str | None:
    """Return the folder in models/ for 'final', 'best' or 'ep<N>'; None for anything else."""
    if re.fullmatch(r"ep[0-9]{1,18}", checkpoint):
        return checkpoint_name(int(checkpoint[2:]))
    return _NAMED.get(checkpoint)


def load_chosen(
    run: RunDirectory, checkpoint: str, environment: Environment | None = None, env: str | None = None
) -> TrainedPolicy:
    """Load the policy that `--checkpoint` names.

    Args:
        run: its run.
        checkpoint: final, best or ep<N>.
        environment: as for `load_policy`.
        env: the --env of the command line, see `user_module.import_repeated`.

    Raises:
        ConfigError: there is no such model, of which the message lists the existing ones, or the environment is not the
            run's.
        RunError: it is damaged.
    """
    name = model_name(checkpoint)
    try:
        if name is None:
            raise FileNotFoundError
        import_repeated(env, read_config(run.hparams).env)
        return load_policy(run.path, name, environment)
    except FileNotFoundError:
        raise ConfigError(f"--checkpoint {checkpoint}: must be one of {_listed(run)}") from None
    except DamagedError as error:
        raise RunError(str(error)) from None


def _listed(run: RunDirectory) -> str:
    """List the run's models by their --checkpoint names."""
    try:
        episodes = [path.name.rpartition("_")[2] for path in reversed(checkpoints(run.models))]
        named = [name for name, folder in _NAMED.items() if (run.models / folder).is_dir()]
    except OSError:
        named, episodes = [], []
    return ", ".join([*named, *episodes]) or f"those in {run.models}, but there are none"
